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

"""What an erasure has to have destroyed, byte by byte.

To be remembered before it, and looked for behind it. Of a keyslot, a single
sector of its key material that stays is too much: how much of a volume key
follows from a part of the stripes is not for a test to judge.
"""

from __future__ import annotations

import base64
import dataclasses
from typing import Any, Callable, Dict, List, Set, Tuple

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.tests import units

#: Bytes of the only header of LUKS1.
_LUKS1_HEADER = 592

Read = Callable[[int, int], bytes]


@dataclasses.dataclass(frozen=True)
class Remembered:
    """What a volume had.

    :ivar areas: number of a keyslot -> offset and bytes of its key material
    :ivar salts: number of a keyslot -> its KDF's salt
    :ivar copies: offset of a copy of the header -> its size
    :ivar end: bytes before the payload
    """

    areas: Dict[int, Tuple[int, bytes]]
    salts: Dict[int, bytes]
    copies: Dict[int, int]
    end: int

    def left(self, read: Read) -> List[str]:
        """What of it is there still, a line each.

        :param read: gives bytes of the image, by offset and length
        """
        start = b"".join(read(offset, min(units.MIB, self.end - offset))
                         for offset in range(0, self.end, units.MIB))
        there = _sectors(start)
        found = []
        for number, (offset, area) in self.areas.items():
            same = len(_sectors(area) & there)
            if same:
                found.append(f"keyslot {number}: {same} sectors")
            now = start[offset:offset + len(area)]
            if len(now) - now.count(0) < len(now) // 2:
                found.append(f"keyslot {number}: a hole")
        for offset, size in self.copies.items():
            copy = start[offset:offset + size]
            found += [f"header at {offset}: keyslot {number}"
                      for number, salt in self.salts.items()
                      if salt in copy or base64.b64encode(salt) in copy]
            if _keyslots(start, offset):
                found.append(f"header at {offset}: it has keyslots")
        return found


def _sectors(data: bytes) -> Set[bytes]:
    """All sectors but those of zeros."""
    return {data[at:at + cipher.SECTOR]
            for at in range(0, len(data), cipher.SECTOR)
            } - {bytes(cipher.SECTOR)}


def _keyslots(start: bytes, offset: int) -> int:
    """How many keyslots one copy of the header has, by itself."""
    if header_io.format_of(start).value == "luks1":
        return len(header_io.parse(start, 2 ** 60).keyslots)
    which = header_copies.SECONDARY if offset else header_copies.PRIMARY
    copy = header_copies.read(start, which, offset)
    return len(records.parse(copy.json_area, ondisk.SIZE).keyslots)


def remember(image: Any) -> Remembered:
    """Look at a volume before it is erased."""
    header = header_io.read_header(image)
    copies = {0: _LUKS1_HEADER}
    if isinstance(header, luks2.Luks2Header):
        size = header.primary.hdr_size
        copies = {0: size, size: size}
    return Remembered(
        {slot.number: (slot.offset, image.read(slot.offset, slot.length))
         for slot in header.keyslots},
        {slot.number: slot.kdf.salt for slot in header.keyslots if slot.kdf},
        copies, header.data_offset)
