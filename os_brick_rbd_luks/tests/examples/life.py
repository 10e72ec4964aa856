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

"""The life of a volume: made, re-keyed, grown, backed up, destroyed."""

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.headers import unlocking

MIB = 1024 ** 2


def live(store, name):
    """Lead *store*'s image *name* through its life.

    :param store: a ``rawfile.FileStore()``, as here, or a pool:
        ``cluster.connect(user="cinder")`` gives a cluster, whose
        ``pool("volumes")`` is one
    """
    creating.create(store, name, 32 * MIB, b"the first")
    with store.open(name) as image:
        keyslots.replace(image, b"the first", b"the second")
        resizing.resize(image, 64 * MIB)
        saved = header_backup.backup(image)
        try:
            unlocking.unlock(image, b"the first")
        except exception.WrongPassphrase as error:
            print(error)            # names the image, never a passphrase
        erase.erase(image)          # nothing opens it any more ...
        header_backup.restore(image, saved, force=True)
        return unlocking.unlock(image, b"the second")    # ... but a backup
