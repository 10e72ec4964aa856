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

"""Where the keyslot areas and the payload of a new LUKS1 volume lie.

Source: LUKS1 On-Disk Format Specification 1.2.3, figure 4 ("keyslots are
4096-byte aligned" is cryptsetup's and QEMU's practice, ``LUKS_ALIGN_KEYSLOTS``
and ``QCRYPTO_BLOCK_LUKS_KEY_SLOT_OFFSET``).
"""

from __future__ import annotations

from typing import Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import ondisk

#: Bytes to which keyslot areas are aligned.
KEYSLOT_ALIGNMENT = 4096

#: The least data offset in bytes: that of librbd and of cryptsetup's own
#: alignment on an RBD device with default objects.
MIN_DATA_OFFSET = 4 * 1024 * 1024

#: Bytes; the first data offset that the header's field, of sectors, cannot
#: say.
MAX_DATA_OFFSET = 2 ** 32 * cipher.SECTOR


def keyslot_pitch(key_bytes: int) -> int:
    """Bytes from one keyslot area to the next."""
    return keymaterial.round_up(
        keymaterial.area_bytes(key_bytes, ondisk.STRIPES), KEYSLOT_ALIGNMENT)


def keyslot_offsets(key_bytes: int) -> Tuple[int, ...]:
    """Byte offset of each keyslot area."""
    return tuple(KEYSLOT_ALIGNMENT + number * keyslot_pitch(key_bytes)
                 for number in range(ondisk.KEYSLOTS))


def data_offset(stripe_period: int) -> int:
    """Bytes before the payload of a volume on such an image.

    librbd of Ceph >= 18 opens only a volume whose data offset is a multiple
    of the stripe period (``crypto/luks/LoadRequest.cc``).
    """
    return keymaterial.round_up(MIN_DATA_OFFSET, stripe_period)


def check_data_offset(offset: int) -> None:
    """Refuse a data offset that a header has no room for.

    :param offset: bytes
    :raises InvalidParameter: it is :data:`MAX_DATA_OFFSET` or more
    """
    if offset >= MAX_DATA_OFFSET:
        raise exception.InvalidParameter(
            name="data offset", value=offset,
            reason="is more than a LUKS1 header has room for; choose a "
                   "smaller stripe period, or luks2")
