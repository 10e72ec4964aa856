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

"""Plain text of clones, as librbd of Ceph 18 reads and writes it.

Passphrases go to the layers in order, the image's own first. The last one is
for all layers below as well, until one is plain.

Source: librbd ``crypto/LoadRequest.cc``.
"""

from __future__ import annotations

from typing import List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests.fakes import content as contents
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import objects

#: Bytes that every sector size divides.
_BLOCK = 4096


class Plaintext:
    """An image, and all that it is a clone of, decrypted."""

    def __init__(self, image: contents.Content, *passphrases: bytes) -> None:
        """Open every layer.

        :raises WrongPassphrase: one of them opens no keyslot of its layer
        :raises ValueError: there are more of them than layers
        """
        layer: Optional[contents.Content] = image
        self._layers: List[_Layer] = []
        found = self._layers
        while layer is not None:
            last = len(found) >= len(passphrases)
            try:
                found.append(_Encrypted(
                    layer, passphrases[-1 if last else len(found)]))
            except exception.NotLuks:
                if not last:
                    raise
                found.append(_Layer(layer))
                break
            layer = layer.below
        if len(passphrases) > len(found):
            raise ValueError(f"there are no {len(passphrases)} layers")
        for above, below in zip(found, found[1:]):
            above.below = below

    @property
    def type(self) -> str:
        """Of the image's own header: luks1 or luks2."""
        return self._layers[0].type

    def size(self) -> int:
        """Decrypted bytes."""
        return self._layers[0].size()

    def read(self, offset: int, length: int) -> bytes:
        """Decrypted bytes, up to the end; holes are zeros."""
        length = min(length, self.size() - offset)
        start = offset - offset % _BLOCK
        found = self._layers[0].read(start, offset + length - start)
        return found[offset - start:]

    def write(self, offset: int, data: bytes) -> None:
        """Write to the image's own layer, which copies up whole objects."""
        self._layers[0].write(offset, data)


class _Layer:
    """One that is plain, and all below it: nobody writes to it."""

    type = "none"
    below: Optional[_Layer] = None

    def __init__(self, content: contents.Content) -> None:
        self.content = content
        self.offset = 0

    def size(self) -> int:
        return self.content.size - self.offset

    def read(self, offset: int, length: int) -> bytes:
        return self.content.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        raise NotImplementedError


class _Encrypted(_Layer):

    def __init__(self, content: contents.Content, passphrase: bytes) -> None:
        super().__init__(content)
        with images.MemoryImage(content, read_only=True) as image:
            opened = unlocking.unlock(image, passphrase)
        self.type = opened.header.type
        self.offset = opened.header.data_offset
        if self.offset % content.stripe_period:
            raise ValueError("the payload is not aligned")
        self._sector = opened.header.sector_size
        self._threshold = content.threshold()
        self._cipher = cipher.SectorCipher(
            opened.header.cipher_spec, opened.volume_key, self._sector)

    def read(self, offset: int, length: int) -> bytes:
        """Read from a block's start on."""
        size = self.content.object_size
        parts = []
        end = min(offset + length, self.size())
        while offset < end:
            number, start = divmod(self.offset + offset, size)
            count = min(end - offset, size - start)
            parts.append(self._own(offset, count)
                         if number in self.content.objects
                         else self._inherited(offset, count))
            offset += count
        return b"".join(parts)

    def _own(self, offset: int, length: int) -> bytes:
        number, inside = divmod(self.offset + offset,
                                self.content.object_size)
        data = self.content.read(self.offset + offset,
                                 length + -length % _BLOCK)
        return without_holes(
            self._cipher.decrypt(data, offset // cipher.SECTOR), inside,
            self._sector, self.content.read_extents(
                number, length, self._threshold))[:length]

    def _inherited(self, offset: int, length: int) -> bytes:
        # As many bytes as the images have in common, the header included.
        count = max(0, min(
            length, self.content.overlap - self.offset - offset))
        found = self.below.read(offset, count) if self.below else b""
        return found.ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        # Of two that copy up one object at once, librbd lets one wait.
        with self.content.guard:
            self._copy_up(offset, data)

    def _copy_up(self, offset: int, data: bytes) -> None:
        size = self.content.object_size
        first = offset - offset % size
        last = min(-(-(offset + len(data)) // size) * size, self.size())
        plain = bytearray(self.read(first, last - first))
        plain[offset - first:offset - first + len(data)] = data
        # Not what a plain copy-up would find there.
        for at in range(first, last, size):
            self.content.hide((self.offset + at) // size)
        self.content.write(self.offset + first, self._cipher.encrypt(
            bytes(plain), first // cipher.SECTOR))


def without_holes(plain: bytes, start: int, sector: int,
                  extents: objects.Extents) -> bytes:
    """Decrypted bytes of an object, whose holes are zeros.

    :param start: where in the object they begin, a whole number of sectors
    :param sector: bytes that are decrypted as a whole, if anything is there
    :param extents: of the object, what is no hole
    """
    kept = bytearray(len(plain))
    for begin, end in extents:
        first = max(begin - begin % sector - start, 0)
        last = max(end + -end % sector - start, 0)
        kept[first:last] = plain[first:last]
    return bytes(kept[:len(plain)])
