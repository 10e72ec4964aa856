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

"""What the first bytes of an image say it is.

Source: LUKS1 and LUKS2 On-Disk Format Specifications (magic, version);
librbd ``crypto/luks/Magic.cc`` for the mark of a clone with its own header.
"""

from __future__ import annotations

import enum
import struct

from os_brick_rbd_luks import exception

#: Bytes that :func:`detect` looks at.
LENGTH = 8

MAGIC = b"LUKS\xba\xbe"
CLONE_MAGIC = b"RBDL\xba\xbe"

_START = struct.Struct(">6sH")


class Format(enum.Enum):
    """The value is the name for users."""

    NONE = "none"
    LUKS1 = "luks1"
    LUKS2 = "luks2"
    LUKS1_CLONE = "luks1 (librbd clone)"
    LUKS2_CLONE = "luks2 (librbd clone)"


_KNOWN = {
    (MAGIC, 1): Format.LUKS1,
    (MAGIC, 2): Format.LUKS2,
    (CLONE_MAGIC, 1): Format.LUKS1_CLONE,
    (CLONE_MAGIC, 2): Format.LUKS2_CLONE,
}


def detect(start: bytes) -> Format:
    """Name the format of an image that begins with *start*.

    :param start: at least :data:`LENGTH` bytes; fewer are no header
    :raises UnsupportedHeader: LUKS of a version that nobody defined
    """
    if len(start) < LENGTH:
        return Format.NONE
    magic, version = _START.unpack_from(start)
    if magic not in (MAGIC, CLONE_MAGIC):
        return Format.NONE
    if (magic, version) not in _KNOWN:
        raise exception.UnsupportedHeader(
            what=f"LUKS version {version}", supported="1 and 2")
    return _KNOWN[magic, version]
