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
"""An encrypted image that comes in order: from a service, or of a file.

Its header is read first. The rest is copied as it is, or decrypted in Python
while it comes: neither librbd nor QEMU reads what cannot be read again.
"""

from __future__ import annotations

from typing import Any, cast, IO, Optional

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher

#: Bytes before a payload that are kept in memory: LUKS2 has two headers of up
#: to 4 MiB; what cryptsetup makes has up to 16 MiB in all.
_MOST = 64 * 1024 ** 2


class EncryptedStream:
    """An encrypted image up to the end of a stream.

    Take :meth:`raw` or :meth:`plain` of it, once.
    """

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        """Read the header.

        :param stream: stays its owner's
        :param size: bytes of all that is to come
        :raises HeaderError: it is none that we can use
        """
        self._stream, self._size, self._name = stream, size, name
        self._start = cast(Any, _Start(stream, size, name))
        self.header = header_io.read_header(self._start)
        reason = engines.odd_payload(self.header, size) or (
            "the own header of a clone" if self.header.clone else "")
        if reason:
            with exception.about(name):
                raise exception.UnsupportedHeader(
                    what=reason, supported="one crypt segment")

    def unlock(self, passphrase: bytes) -> unlocking.Unlocked:
        """Find the volume key.

        :raises WrongPassphrase: it opens no keyslot
        """
        return unlocking.unlock_header(self._start, self.header, passphrase)

    @property
    def decrypted_size(self) -> Optional[int]:
        """Bytes of its payload, None if its header does not say."""
        return header_io.decrypted_size(self.header, self._size)

    def raw(self) -> importing.StreamSource:
        """All of it as it is, header included."""
        return _Sized(importing.Rest(self._start.data, self._stream),
                      self._name, self._size)

    def plain(self, opened: unlocking.Unlocked) -> importing.StreamSource:
        """Its payload as plain text.

        :param opened: what :meth:`unlock` gave
        """
        offset = self.header.data_offset
        # Keyslots may end before that.
        self._start.read(0, offset)
        rest = importing.Rest(self._start.data[offset:], self._stream)
        return _Sized(_Decrypted(rest, opened), self._name,
                      self.decrypted_size)


class _Sized(importing.StreamSource):
    """A stream whose size is known."""

    def __init__(self, stream: Any, name: str, size: Optional[int]) -> None:
        super().__init__(stream, name)
        self.size = size  # type: ignore[assignment]


class _Start:
    """What has come, as an image of which only the start can be read."""

    is_rbd = False

    def __init__(self, stream: IO[bytes], size: int, name: str) -> None:
        self.name = name
        self._stream, self._size = stream, size
        self.data = b""

    def size(self) -> int:
        return self._size

    def read(self, offset: int, length: int) -> bytes:
        end = min(offset + length, self._size)
        if end > _MOST:
            raise exception.HeaderLimitExceeded(
                field="header of a stream", value=end, limit=_MOST)
        if len(self.data) < end:
            self.data += copying.read_full(self._stream,
                                           end - len(self.data))
        return self.data[offset:end]


class _Decrypted:
    """A payload that is decrypted as it is read.

    Cipher text of zeros was never written, so it is read as zeros. To a guest
    of LUKS1 it was noise that nobody could rely on.
    """

    def __init__(self, payload: importing.Rest, opened: unlocking.Unlocked
                 ) -> None:
        self._payload = payload
        self._sector = opened.header.sector_size
        self._cipher = cipher.SectorCipher(
            opened.header.cipher_spec, opened.volume_key, self._sector)
        self._offset = 0
        #: cipher text of less than a sector; plain text that nobody took
        self._cut, self._left = b"", b""

    def read(self, length: int) -> bytes:
        """Up to *length* bytes, none at the end only.

        A part of a sector at the end of the image belongs to no volume.
        """
        while not self._left:
            part = self._payload.read(max(length, self._sector))
            data = self._cut + part
            whole = len(data) - len(data) % self._sector
            self._cut = data[whole:]
            if whole:
                self._left = self._decrypt(data[:whole])
                self._offset += whole
            if not part:
                break
        found, self._left = self._left[:length], self._left[length:]
        return found

    def _decrypt(self, data: bytes) -> bytes:
        """Whole sectors."""
        if base.is_zero(data):
            return data
        size, hole = self._sector, bytes(self._sector)
        plain = self._cipher.decrypt(data, self._offset // cipher.SECTOR)
        if hole not in data:
            return plain
        return b"".join(
            hole if data[at:at + size] == hole else plain[at:at + size]
            for at in range(0, len(data), size))
