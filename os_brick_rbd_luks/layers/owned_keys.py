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
"""Which keys of a key manager exist for an image besides its service's own.

A service stores one key id of each volume and deletes that key with it. Keys
of the layers below, and one that takes the place of another just now, are
noted on the image itself: whoever removes it deletes them. librbd copies
metadata to clones, so the note says which image it is of.
"""

from __future__ import annotations

from typing import List

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import chain

#: The metadata's key on an image.
NOTE = "rbd_luks.owned_keys"


def read(image: base.RBDImage) -> List[str]:
    """Key ids that are deleted with *image*.

    :raises OperationRefused: the note is not one of ours
    """
    return chain.noted(image, NOTE)


def write(image: base.RBDImage, keys: List[str]) -> None:
    """Note *keys* on *image*, in the place of all that were noted."""
    chain.write_note(image, NOTE, keys)
