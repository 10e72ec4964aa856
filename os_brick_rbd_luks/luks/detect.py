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

"""What the first bytes of an image say it is, and how many tell all.

Source: LUKS1 and LUKS2 On-Disk Format Specifications (magic, version, table
1 of the latter); librbd ``crypto/luks/Magic.cc`` for the marks of a clone
with its own header, in both copies of a LUKS2 header.
"""

from __future__ import annotations

import enum
import struct
from typing import Tuple

from os_brick_rbd_luks import exception

#: Bytes that :func:`detect` looks at first.
LENGTH = 8

#: Bytes that tell whether a second copy of a LUKS2 header begins there.
PEEK = 16

#: Bytes that hold all of the headers that programs make by default.
START = 32768

MAGIC = b"LUKS\xba\xbe"
CLONE_MAGIC = b"RBDL\xba\xbe"

#: The second copy of a LUKS2 header begins with the same letters reversed.
SECONDARY_MAGIC = b"SKUL\xba\xbe"
SECONDARY_CLONE_MAGIC = b"LDBR\xba\xbe"

#: Bytes of one copy of a LUKS2 header, and so where its second copy may be.
LUKS2_SIZES = tuple(16384 << power for power in range(9))

_START = struct.Struct(">6sH")
_SIZE = struct.Struct(">Q")


class Format(enum.Enum):
    """The value is the name for users."""

    NONE = "none"
    LUKS1 = "luks1"
    LUKS2 = "luks2"
    LUKS1_CLONE = "luks1 (librbd clone)"
    LUKS2_CLONE = "luks2 (librbd clone)"


LUKS1 = (Format.LUKS1, Format.LUKS1_CLONE)
LUKS2 = (Format.LUKS2, Format.LUKS2_CLONE)

_KNOWN = {
    (MAGIC, 1): Format.LUKS1,
    (MAGIC, 2): Format.LUKS2,
    (CLONE_MAGIC, 1): Format.LUKS1_CLONE,
    (CLONE_MAGIC, 2): Format.LUKS2_CLONE,
}
_SECONDARY = {
    (SECONDARY_MAGIC, 2): Format.LUKS2,
    (SECONDARY_CLONE_MAGIC, 2): Format.LUKS2_CLONE,
}


def detect(start: bytes) -> Format:
    """Name the format of an image that begins with *start*.

    By its first bytes alone, as QEMU, librbd and a guest do: a second copy of
    a LUKS2 header is data to them, and anybody who may write to a plain image
    can put one there.

    :param start: fewer than :data:`LENGTH` bytes are no header
    :raises UnsupportedHeader: LUKS of a version that nobody defined
    """
    if len(start) < LENGTH:
        return Format.NONE
    found = _START.unpack_from(start)
    if found in _KNOWN:
        return _KNOWN[found]
    if found[0] in (MAGIC, CLONE_MAGIC):
        raise exception.UnsupportedHeader(
            what=f"LUKS version {found[1]}", supported="1 and 2")
    return Format.NONE


def secondary(start: bytes, offset: int) -> Format:
    """Name the format that the second copy at *offset* in *start* is of.

    :param offset: one of :func:`secondaries`
    """
    return _SECONDARY[_START.unpack_from(start, offset)]


def secondaries(start: bytes) -> Tuple[int, ...]:
    """Where second copies of a LUKS2 header may begin in *start*."""
    return tuple(
        offset for offset in LUKS2_SIZES
        if len(start) >= offset + LENGTH
        and is_secondary(start[offset:offset + PEEK], offset))


def is_secondary(block: bytes, offset: int) -> bool:
    """Whether *block* begins like a second copy that belongs at *offset*."""
    return (len(block) >= PEEK
            and _START.unpack_from(block) in _SECONDARY
            and _SIZE.unpack_from(block, LENGTH) == (offset,))


def wanted(start: bytes) -> int:
    """Bytes from the start of the image that both copies of a header take.

    :param start: at least :data:`PEEK` bytes
    :returns: :data:`START` unless it is a LUKS2 header that says more
    """
    if len(start) >= PEEK and _KNOWN.get(_START.unpack_from(start)) in LUKS2:
        size, = _SIZE.unpack_from(start, LENGTH)
        if size in LUKS2_SIZES:
            return max(START, 2 * int(size))
    return START
