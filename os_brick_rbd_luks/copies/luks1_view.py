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

"""A volume's data as the bytes of a LUKS1 image that is nowhere.

LUKS1 is the only encrypted format that newer releases of Glance take as an
image, and the only one that upstream's Cinder reads.

Source: ``oslo_utils.imageutils.format_inspector`` (``LUKSInspector``).
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Iterator

from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.luks import cipher

_CHUNK = 4 * 1024 * 1024


class _Luks1(io.RawIOBase):
    """Encrypts what is read of it, with a volume key of its own."""

    def __init__(self, view: decryption.View, passphrase: bytes,
                 options: formatting.Options, data_offset: int) -> None:
        volume_key = options.random(options.key_bytes)
        self._header = formatting.header_area(
            passphrase, options, data_offset, volume_key)
        self._cipher = cipher.SectorCipher(options.cipher_spec, volume_key)
        self._view = view
        # Zeros, of which a stripe may have hundreds of MiB.
        self._data_offset = data_offset
        self._size = data_offset + view.size()
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position,
                 io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        length = min(len(buffer), self._size - self._position)
        found = self._bytes(self._position, length) if length > 0 else b""
        buffer[:len(found)] = found
        self._position += len(found)
        return len(found)

    def _bytes(self, offset: int, length: int) -> bytes:
        if offset < self._data_offset:
            length = min(length, self._data_offset - offset)
            return self._header[offset:offset + length].ljust(length, b"\0")
        offset -= self._data_offset
        before = offset % cipher.SECTOR
        after = -(offset + length) % cipher.SECTOR
        start = offset - before
        data = self._cipher.encrypt(
            self._view.read(start, before + length + after),
            start // cipher.SECTOR)
        return data[before:before + length]


@contextlib.contextmanager
def opened(store: base.Pool, name: str, passphrase: bytes,
           iterations: int) -> Iterator[io.BufferedReader]:
    """Open an encrypted image for reading it as LUKS1.

    Its holes are read as what a guest sees there. It may be in use: then what
    is read is as good as the data of a machine that lost power.

    :param passphrase: that opens the image, and what is read of it
    :param iterations: of PBKDF2, for that
    :raises WrongPassphrase: it does not open the image
    """
    with store.open(name, read_only=True) as image:
        opened_image = unlocking.unlock(image, passphrase)
        header = opened_image.header
        options = formatting.Options(
            cipher_spec=header.cipher_spec, iterations=iterations,
            key_bytes=len(opened_image.volume_key))
        offset = formatting.data_offset(image.stripe_period(), options)
        view = decryption.open_view(image, header, passphrase, opened_image)
        yield io.BufferedReader(
            _Luks1(view, passphrase, options, offset), _CHUNK)


def is_needed(image: base.Image) -> bool:
    """Whether an encrypted image is not LUKS1 as it is."""
    return header_io.read_header(image).type != "luks1"
