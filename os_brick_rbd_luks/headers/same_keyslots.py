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

"""Whether what opens a volume opens another image of it, without a key.

A snapshot has the header of its time. Where each keyslot of the volume's
present header is in that one as well, byte for byte and of the same volume
key, no passphrase has to be tried: whatever opens the one opens the other.

Source: LUKS1 On-Disk Format Specification, "key slot"; LUKS2 On-Disk Format
Specification, "Keyslots Object".
"""

from __future__ import annotations

import contextlib
from typing import Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks import whole


def opens_alike(then: base.Image, now: base.Image) -> bool:
    """Whether every passphrase that opens *now* opens *then* as well.

    :param then: a snapshot, or a clone as it was made
    :param now: the volume
    :returns: False also where that is not known: a passphrase tells
    :raises ImageError: one cannot be read
    """
    present, former = _read(now), _read(then)
    if present is None or former is None:
        return False
    (header, areas), (other, others) = present, former
    if not header.same_volume(other) or not _asks_alike(header, other):
        return False
    there = {(slot.number, slot.kdf, slot.length, slot.bound)
             for slot in other.keyslots if not slot.damage}
    mine = [slot for slot in header.keyslots if not slot.damage]
    return bool(mine) and all(
        (slot.number, slot.kdf, slot.length, slot.bound) in there
        and areas[slot.number] == others[slot.number] for slot in mine)


def _read(image: base.Image
          ) -> Optional[Tuple[header_io.Header, whole.Areas]]:
    with contextlib.suppress(exception.HeaderError):
        header = header_io.read_header(image)
        return header, header_backup.read_areas(image, header)
    return None


def _asks_alike(header: header_io.Header, other: header_io.Header) -> bool:
    """Whether programs that can use one header can use the other."""
    if not (isinstance(header, luks2.Luks2Header)
            and isinstance(other, luks2.Luks2Header)):
        return True
    return header.metadata.requirements == other.metadata.requirements
