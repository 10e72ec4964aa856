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
"""The names of what a killed service leaves of a volume that it was making.

They follow from the volume's, so it belongs to the volume: who makes that
again begins anew, and who deletes it removes this as well.
"""

from __future__ import annotations

from typing import Iterator

from os_brick_rbd_luks.image import partial

#: Behind the name of an encrypted image that comes as it is, before it has
#: the volume's passphrase, size and name.
INCOMING = ".incoming"


def names(name: str) -> Iterator[str]:
    """The images that there may be of a volume that is not complete.

    :param name: of its image
    """
    incoming = name + INCOMING
    yield incoming
    for final in (name, incoming):
        yield partial.PREFIX + final
