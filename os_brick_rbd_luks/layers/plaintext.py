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

"""The payload of an unlocked volume as plain text, decrypted in Python.

For volumes that librbd cannot load: a data offset that it refuses, the
journaling feature, a CBC cipher; and for clones, which that of Ceph 16 cannot
close. Everything else should let librbd do it, which is many times faster.
"""

from __future__ import annotations

from typing import Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher

#: Bytes that one step decrypts, so that memory stays small.
_CHUNK = 4 * 1024 * 1024


class Plaintext:
    """Reads and writes plain text; offsets count from the payload's start.

    What was never written is what it is to the guests of such a volume: of
    LUKS1 noise, as in QEMU; of LUKS2, which only librbd gives to guests,
    zeros. There each sector of zeros is taken for a hole, for no cipher text
    is all zeros, also where librbd lacks what tells it so
    (:mod:`~os_brick_rbd_luks.layers.holes`).
    """

    def __init__(self, image: base.Image, opened: unlocking.Unlocked,
                 holes: Optional[bool] = None) -> None:
        """Take the volume key of *opened*; *image* stays its owner's.

        :param holes: whether sectors of zeros are holes, and read as zeros;
            by default, of LUKS2. librbd shows them so in LUKS1, too.
        :raises UnsupportedHeader: a payload that only cryptsetup knows, or
            the parent of a clone with a header of its own
        """
        header = opened.header
        reason = engines.odd_payload(header) or (
            "the own header of a clone" if header.clone else "")
        if reason:
            raise exception.UnsupportedHeader(
                what=f"decrypting a payload in Python: {reason}",
                supported="one crypt segment")
        self._image = image
        self._offset = header.data_offset
        self._sector = header.sector_size
        self._holes = header.type == "luks2" if holes is None else holes
        self._cipher = cipher.SectorCipher(
            header.cipher_spec, opened.volume_key, self._sector)

    def size(self) -> int:
        """Decrypted bytes, whole sectors."""
        size = self._image.size() - self._offset
        return size - size % self._sector

    def read(self, offset: int, length: int) -> bytes:
        """*length* bytes, or those up to the end."""
        length = min(length, self.size() - offset)
        if length <= 0:
            return b""
        start = offset - offset % self._sector
        end = -(-(offset + length) // self._sector) * self._sector
        plain = b"".join(
            self._sectors(position, min(_CHUNK, end - position))
            for position in range(start, end, _CHUNK))
        return plain[offset - start:offset - start + length]

    def _sectors(self, offset: int, length: int) -> bytes:
        data = self._image.read(self._offset + offset, length)
        if self._holes and base.is_zero(data):
            return bytes(len(data))
        plain = self._cipher.decrypt(data, offset // cipher.SECTOR)
        hole = bytes(self._sector)
        if not self._holes or hole not in data:
            return plain
        return b"".join(
            hole if data[at:at + self._sector] == hole
            else plain[at:at + self._sector]
            for at in range(0, len(data), self._sector))

    def write(self, offset: int, data: bytes) -> None:
        """Write; a sector written in part is read before.

        :raises ImageTooSmall: *data* does not lie within the payload
        """
        if offset + len(data) > self.size():
            raise exception.ImageTooSmall(size=self.size(),
                                          needed=offset + len(data))
        if not data:
            return
        view = memoryview(data)
        head = offset % self._sector
        before = self._sectors(offset - head, self._sector)[:head] if (
            head) else b""
        tail = -(offset + len(data)) % self._sector
        after = self._sectors(
            offset + len(data) + tail - self._sector,
            self._sector)[self._sector - tail:] if tail else b""
        position = offset - head
        whole = memoryview(b"".join((before, view, after)))
        for start in range(0, len(whole), _CHUNK):
            self._image.write(
                self._offset + position + start, self._cipher.encrypt(
                    bytes(whole[start:start + _CHUNK]),
                    (position + start) // cipher.SECTOR))

    def flush(self) -> None:
        """Return when all that was written will survive a crash."""
        self._image.flush()
