#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""Read what a guest would read, of a volume or of a clone."""

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks import exception


def first_sector(store, name, passphrase):
    """The first 512 bytes of the plain text, None if it cannot be told.

    :param store: a pool
    """
    try:
        with sources.opened(store, name, passphrase=passphrase) as volume, \
                volume.view() as view:
            return view.read(0, 512)
    except exception.WrongPassphrase:
        return None                  # ask for another one
    except exception.HeaderError as error:
        print("damaged, or no volume:", error)
    except exception.ImageError as error:
        print("the store, try again:", error)
    return None
