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

"""Plain text of an image as librbd shows it once its encryption is loaded.

What is behind the end of an object is zeros. A hole before it is noise, unless
the OSDs tell of holes and were asked for them. Clones are of Ceph 18; older
librbd decrypts what it has of a parent with the clone's own key.

Source: librbd ``crypto/LoadRequest.cc``, ``crypto/luks/LoadRequest.cc``,
``crypto/CryptoObjectDispatch.cc``.
"""

from __future__ import annotations

from typing import Iterator, Optional, Tuple, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import layers


def load(image: images.MemoryImage, release: Optional[int], kind: str,
         *passphrases: bytes) -> Union[Plaintext, layers.Plaintext]:
    """The plain text of an open image.

    :param release: of Ceph
    :param kind: luks1, luks2, or luks for either
    :raises WrongPassphrase: one of them opens no keyslot of its layer
    :raises ValueError: this librbd does not open it
    """
    if not release:
        raise ValueError("this librbd has no encryption")
    if "journaling" in image.features():
        raise ValueError("the image has the journaling feature")
    try:
        if image.content.below and release >= 18:
            found = layers.Plaintext(image.content, *passphrases)
            _check_kind(kind, found.type)
            return found
        if len(passphrases) != 1:
            raise ValueError("there is one layer, or one passphrase only")
        opened = unlocking.unlock(image, *passphrases)
    except (exception.ImageError, exception.WrongPassphrase):
        raise
    except exception.RBDLuksError as error:
        raise ValueError(str(error)) from error
    header = opened.header
    _check_kind(kind, header.type)
    if header.cipher_spec != "aes-xts-plain64" or header.clone:
        raise ValueError("the cipher or the magic is not known")
    if release >= 18 and header.data_offset % image.stripe_period():
        raise ValueError("the payload is not aligned")
    return Plaintext(image, opened)


def _check_kind(kind: str, found: str) -> None:
    if kind not in ("luks", found):
        raise ValueError(f"the header is {found}")


class Plaintext:
    """A volume that is one layer, or whose layers have one volume key."""

    def __init__(self, image: images.MemoryImage, opened: unlocking.Unlocked
                 ) -> None:
        self._image = image
        self._offset = opened.header.data_offset
        self._sector = opened.header.sector_size
        self._cipher = cipher.SectorCipher(
            opened.header.cipher_spec, opened.volume_key, self._sector)

    def size(self) -> int:
        """Decrypted bytes, whole sectors."""
        size = self._image.content.size - self._offset
        return size - size % self._sector

    def read(self, offset: int, length: int) -> bytes:
        """Decrypted bytes, up to the end."""
        length = min(length, self.size() - offset)
        if length <= 0:
            return b""
        start = offset - offset % self._sector
        end = -(-(offset + length) // self._sector) * self._sector
        found = b"".join(
            self._decrypted(*part) for part in self._parts(start, end))
        return found[offset - start:offset - start + length]

    def _parts(self, start: int, end: int
               ) -> Iterator[Tuple[int, int, int]]:
        """Number of an object, offset and length in the payload."""
        size = self._image.content.object_size
        while start < end:
            number, inside = divmod(self._offset + start, size)
            count = min(end - start, size - inside)
            yield number, start, count
            start += count

    def _decrypted(self, number: int, offset: int, length: int) -> bytes:
        content = self._image.content
        data = self._image.read_raw(self._offset + offset, length)
        # A parent's object is read as its own image says.
        keeper = content.holder_of(number)
        return layers.without_holes(
            self._cipher.decrypt(data, offset // cipher.SECTOR),
            (self._offset + offset) % content.object_size, self._sector,
            content.read_extents(
                number, length, self._image.threshold
                if keeper is content else keeper.threshold()))

    def write(self, offset: int, data: bytes) -> None:
        """Write; a sector written in part is read before."""
        if offset + len(data) > self.size():
            raise exception.ImageTooSmall(size=self.size(),
                                          needed=offset + len(data))
        start = offset - offset % self._sector
        end = -(-(offset + len(data)) // self._sector) * self._sector
        plain = bytearray(data)
        if (start, end) != (offset, offset + len(data)):
            plain = bytearray(self.read(start, end - start))
            plain[offset - start:offset - start + len(data)] = data
        self._image.write_raw(self._offset + start, self._cipher.encrypt(
            bytes(plain), start // cipher.SECTOR))
