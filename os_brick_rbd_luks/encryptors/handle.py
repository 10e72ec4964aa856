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

"""An attachment by os-brick's file-like handle: Cinder's, when it copies.

librbd decrypts inside the open image, so the very handle reads and writes
plain text. Where librbd cannot load the volume, Python decrypts, slowly.

Source: ``os_brick.initiator.linuxrbd`` (``RBDVolumeIOWrapper``,
``RBDImageMetadata``, ``RBDVolume``), 6.1 to 7.1.
"""

from __future__ import annotations

import functools
import threading
from typing import Any, Callable, MutableMapping
import weakref

from os_brick_rbd_luks.encryptors import preparing
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.services import brick_errors
from os_brick_rbd_luks.services import threads

# os-brick makes a new encryptor for every call: only the handle itself lasts
# from one to the next, and it is os-brick's. So what we know of a handle is
# kept here, for as long as somebody has it.

#: Handle -> what makes it a handle on cipher text again.
_ATTACHED: MutableMapping[Any, Callable[[], None]] = (
    weakref.WeakKeyDictionary())

#: Handle -> its lock. Under eventlet these are green, as the service's are.
_LOCKS: MutableMapping[Any, threading.Lock] = weakref.WeakKeyDictionary()


class Handle:
    """One ``RBDVolumeIOWrapper``."""

    def __init__(self, wrapper: Any, name: str) -> None:
        self._wrapper = wrapper
        self._image = brick.over_handle(wrapper, name)
        self._lock = _LOCKS.setdefault(wrapper, threading.Lock())

    def attach(self, passphrase: bytes,
               format_options: preparing.FormatOptions) -> None:
        """Let the handle read and write plain text.

        :param format_options: called if the image has to be formatted
        :raises WrongPassphrase: it opens no keyslot
        """
        with self._lock:
            if self._wrapper not in _ATTACHED:
                _ATTACHED[self._wrapper] = threads.call(
                    self._load, passphrase, format_options)

    def detach(self) -> None:
        """Let the handle read and write cipher text again."""
        with self._lock:
            undo = _ATTACHED.pop(self._wrapper, None)
            if undo and not self._wrapper.closed:
                threads.call(undo)

    def extend(self) -> int:
        """Decrypted bytes."""
        return threads.call(self._size)

    def _size(self) -> int:
        if self._wrapper in _ATTACHED:
            return int(self._wrapper.rbd_image.size())
        return header_io.guest_size(self._image,
                                    header_io.read_header(self._image))

    def _load(self, passphrase: bytes,
              format_options: preparing.FormatOptions
              ) -> Callable[[], None]:
        header, opened = preparing.opened(self._image, passphrase,
                                          format_options)
        view = decryption.open_view(self._image, header, passphrase, opened)
        if isinstance(view, plaintext.Plaintext):
            return self._replace(view)
        # Not the wrapper: it would keep itself, and its image, for ever.
        return functools.partial(
            brick.reopen, self._wrapper.rbd_image,
            f"client.{self._wrapper.rbd_user}")

    def _replace(self, plain: plaintext.Plaintext) -> Callable[[], None]:
        """Put a view on *plain* where the wrapper has its image."""
        metadata = self._wrapper._rbd_volume
        volume = metadata.image
        metadata.image = _View(volume, plain)

        def undo() -> None:
            metadata.image = volume

        return undo


class _View:
    """What the wrapper uses of an ``rbd.Image``, over plain text.

    Nothing else: what it does not know would reach the cipher text.
    """

    def __init__(self, volume: Any, plain: plaintext.Plaintext) -> None:
        self._volume = volume
        self._plain = plain
        self.name = volume.name
        self.client = volume.client

    @brick_errors.raised
    def read(self, offset: int, length: int) -> bytes:
        """*length* bytes of plain text."""
        return threads.call(self._plain.read, offset, length)

    @brick_errors.raised
    def write(self, data: bytes, offset: int) -> int:
        """Write plain text; the number of bytes, as librbd gives it."""
        threads.call(self._plain.write, offset, bytes(data))
        return len(data)

    def size(self) -> int:
        """Decrypted bytes."""
        return self._plain.size()

    def flush(self) -> None:
        """Return when all that was written will survive a crash."""
        self._volume.flush()

    def require_not_closed(self) -> None:
        """Raise librbd's error if the image is closed."""
        self._volume.require_not_closed()

    def close(self) -> None:
        """Close the image."""
        self._volume.close()
