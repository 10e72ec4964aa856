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

"""The 592-byte partition header and its records, byte for byte.

Fields have the specification's names. Text fields stay the bytes they were,
so that packing what was unpacked gives the same bytes.

Source: LUKS1 On-Disk Format Specification 1.2.3, figures 1 and 2.
"""

from __future__ import annotations

import dataclasses
import struct
from typing import Tuple

PHDR = struct.Struct(">6sH32s32s32sII20s32sI40s")
KEY_BLOCK = struct.Struct(">II32sII")
KEYSLOTS = 8

#: Bytes of the whole header.
SIZE = PHDR.size + KEYSLOTS * KEY_BLOCK.size

KEY_ENABLED = 0x00AC71F3
KEY_DISABLED = 0x0000DEAD
STRIPES = 4000

#: Byte offset of each field that an error may name.
OFFSETS = {
    "magic": 0, "version": 6, "cipher_name": 8, "cipher_mode": 40,
    "hash_spec": 72, "payload_offset": 104, "key_bytes": 108,
    "mk_digest": 112, "mk_digest_salt": 132, "mk_digest_iter": 164,
    "uuid": 168,
}

#: Where the UUID is, of LUKS2 as well.
UUID = slice(OFFSETS["uuid"], OFFSETS["uuid"] + 40)

_KEY_BLOCK_OFFSETS = {
    "active": 0, "iterations": 4, "salt": 8, "key_material_offset": 40,
    "stripes": 44,
}


def key_block_offset(number: int, field: str) -> int:
    """Byte offset of *field* in the record of keyslot *number*."""
    return (PHDR.size + number * KEY_BLOCK.size
            + _KEY_BLOCK_OFFSETS[field])


@dataclasses.dataclass(frozen=True)
class KeyBlock:
    """The record of one keyslot; *key_material_offset* is in sectors."""

    active: int
    iterations: int
    salt: bytes
    key_material_offset: int
    stripes: int


@dataclasses.dataclass(frozen=True)
class Phdr:
    """The partition header; *payload_offset* is in sectors."""

    magic: bytes
    version: int
    cipher_name: bytes
    cipher_mode: bytes
    hash_spec: bytes
    payload_offset: int
    key_bytes: int
    mk_digest: bytes
    mk_digest_salt: bytes
    mk_digest_iter: int
    uuid: bytes
    key_blocks: Tuple[KeyBlock, ...]

    def pack(self) -> bytes:
        """The :data:`SIZE` bytes of the header."""
        fields = [getattr(self, field.name)
                  for field in dataclasses.fields(self)]
        blocks = fields.pop()
        return PHDR.pack(*fields) + b"".join(
            KEY_BLOCK.pack(block.active, block.iterations, block.salt,
                           block.key_material_offset, block.stripes)
            for block in blocks)


def unpack(data: bytes) -> Phdr:
    """Split the first :data:`SIZE` bytes of *data* into fields.

    :raises ValueError: *data* is shorter
    """
    if len(data) < SIZE:
        raise ValueError(f"a LUKS1 header has {SIZE} bytes, not {len(data)}")
    blocks = tuple(KeyBlock(*block) for block in KEY_BLOCK.iter_unpack(
        data[PHDR.size:SIZE]))
    return Phdr(*PHDR.unpack_from(data), blocks)  # type: ignore[call-arg]
