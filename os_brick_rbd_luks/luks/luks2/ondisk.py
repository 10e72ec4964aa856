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

"""The 4096-byte binary header, byte for byte, and its checksum.

It is there twice, each time followed by the JSON area. Fields have the
specification's names.

Source: LUKS2 On-Disk Format Specification 1.1.4, figure 2; librbd
``crypto/luks/Magic.cc`` for a clone's header: only the magics differ, the
checksums are those with LUKS's own.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import struct

from os_brick_rbd_luks.luks import detect

BINARY = struct.Struct(">6sHQQ48s32s64s40s48sQ184s64s3584s")

#: Bytes of the binary header; the JSON area is the rest of a copy.
SIZE = BINARY.size
SALT_SIZE = 64
UUID_SIZE = 40

#: Where the last of its fields ends; what follows is zeros.
FIELDS_END = 512

#: The copy at the start of the image.
PRIMARY = "primary"
#: The copy behind it.
SECONDARY = "secondary"

#: Magic -> the one that the checksum is made with.
_PLAIN = {detect.CLONE_MAGIC: detect.MAGIC,
          detect.SECONDARY_CLONE_MAGIC: detect.SECONDARY_MAGIC}

#: Which copy, and whether a clone's -> magic.
MAGICS = {(PRIMARY, False): detect.MAGIC,
          (PRIMARY, True): detect.CLONE_MAGIC,
          (SECONDARY, False): detect.SECONDARY_MAGIC,
          (SECONDARY, True): detect.SECONDARY_CLONE_MAGIC}

#: Byte offset of each field that an error may name.
OFFSETS = {
    "magic": 0, "version": 6, "hdr_size": 8, "seqid": 16, "label": 24,
    "csum_alg": 72, "salt": 104, "uuid": 168, "subsystem": 208,
    "hdr_offset": 256, "csum": 448, "json": SIZE,
}


@dataclasses.dataclass(frozen=True)
class Binary:
    """One copy's binary header; *hdr_size* and *hdr_offset* are bytes."""

    magic: bytes
    version: int
    hdr_size: int
    seqid: int
    label: bytes
    csum_alg: bytes
    salt: bytes
    uuid: bytes
    subsystem: bytes
    hdr_offset: int
    padding: bytes = dataclasses.field(repr=False)
    csum: bytes
    padding4096: bytes = dataclasses.field(repr=False)

    @property
    def clone(self) -> bool:
        """Whether librbd marked it as a clone's own."""
        return self.magic in _PLAIN

    def pack(self) -> bytes:
        """The :data:`SIZE` bytes of the binary header."""
        return BINARY.pack(*(getattr(self, field.name)
                             for field in dataclasses.fields(self)))

    def checksum(self, json_area: bytes) -> bytes:
        """What *csum* has to be with that JSON area.

        :raises ValueError: a hash that hashlib does not know
        """
        algorithm = str(self.csum_alg.partition(b"\0")[0], "ascii")
        plain = dataclasses.replace(
            self, magic=_PLAIN.get(self.magic, self.magic), csum=bytes(64))
        done = hashlib.new(algorithm, plain.pack())
        done.update(json_area)
        return done.digest().ljust(64, b"\0")

    def verify(self, json_area: bytes) -> bool:
        """Whether the copy is as it was written."""
        return hmac.compare_digest(self.csum, self.checksum(json_area))

    def seal(self, json_area: bytes) -> Binary:
        """The binary header with the checksum for that JSON area."""
        return dataclasses.replace(self, csum=self.checksum(json_area))


def new(hdr_size: int, uuid: str, salt: bytes, *, clone: bool) -> Binary:
    """The primary binary header of a new volume, not sealed yet."""
    return Binary(
        magic=MAGICS[PRIMARY, clone], version=2, hdr_size=hdr_size, seqid=1,
        label=bytes(48), csum_alg=b"sha256".ljust(32, b"\0"), salt=salt,
        uuid=uuid.encode().ljust(40, b"\0"), subsystem=bytes(48),
        hdr_offset=0, padding=bytes(184), csum=bytes(64),
        padding4096=bytes(3584))


def unpack(data: bytes) -> Binary:
    """Split the first :data:`SIZE` bytes of *data* into fields.

    :raises ValueError: *data* is shorter
    """
    if len(data) < SIZE:
        raise ValueError(f"a LUKS2 binary header has {SIZE} bytes, not "
                         f"{len(data)}")
    return Binary(*BINARY.unpack_from(data))
