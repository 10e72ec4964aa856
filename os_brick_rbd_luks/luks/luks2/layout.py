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

"""Where the copies of the header, keyslot areas and the payload lie.

Source: LUKS2 On-Disk Format Specification 1.1.4, "LUKS2 On-Disk Format";
sizes as cryptsetup and librbd choose them.
"""

from __future__ import annotations

from typing import Iterable, Optional, Tuple

from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import ondisk

#: Stripes of the anti-forensic split; no other number is in use.
STRIPES = 4000

#: Bytes to which keyslot areas are aligned.
AREA_ALIGNMENT = 4096

#: Bytes of one copy of a new header, JSON area included.
HDR_SIZE = detect.LUKS2_SIZES[0]

#: The least data offset in bytes: that of librbd and cryptsetup.
MIN_DATA_OFFSET = 16 * 1024 * 1024

Area = Tuple[int, int]


def data_offset(stripe_period: int) -> int:
    """Bytes before the payload of a volume on such an image.

    librbd of Ceph >= 18 opens only a volume whose data offset is a multiple
    of the stripe period (``crypto/luks/LoadRequest.cc``).
    """
    return keymaterial.round_up(MIN_DATA_OFFSET, stripe_period)


def json_size(hdr_size: int) -> int:
    """Bytes of the JSON area."""
    return hdr_size - ondisk.SIZE


def keyslots_size(hdr_size: int, data_offset: int) -> int:
    """Bytes of the keyslots area of a new volume: all up to the payload."""
    size = (data_offset - 2 * hdr_size) // AREA_ALIGNMENT * AREA_ALIGNMENT
    return min(size, limits.MAX_KEYSLOTS_SIZE)


def area_size(key_bytes: int) -> int:
    """Bytes to reserve for the keyslot area of a key."""
    return keymaterial.round_up(keymaterial.area_bytes(key_bytes, STRIPES),
                                AREA_ALIGNMENT)


def find_gap(areas: Iterable[Area], start: int, end: int,
             length: int) -> Optional[int]:
    """The first place for *length* bytes from *start* to *end*.

    :param areas: offset and length of those in use
    :returns: its offset, aligned; None when there is no room
    """
    offset = start
    for used, size in sorted(areas):
        if offset + length <= used:
            break
        offset = max(offset, keymaterial.round_up(used + size, AREA_ALIGNMENT))
    return offset if offset + length <= end else None
