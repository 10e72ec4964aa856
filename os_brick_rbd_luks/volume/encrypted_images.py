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
"""Glance images of encrypted volumes, as they come.

Where an image is kept decides how it is read: a snapshot of Ceph's at any
place, what Glance sends and files in order. Either is asked for its header
first, and then is a source of its bytes, or of those of its volume.
"""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Iterator, Optional, Protocol

from os_brick_rbd_luks.copies import encrypted_stream
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import glance_images


class Found(Protocol):
    """An encrypted image, of whose header a thread knows."""

    header: header_io.Header

    def size(self) -> Optional[int]:
        """Bytes of it, decrypted."""

    def unlock(self, passphrase: bytes) -> Any:
        """Find the volume key.

        :raises WrongPassphrase: it opens no keyslot
        """

    def raw(self) -> transfer.Source:
        """All of it as it is."""

    def plain(self, opened: Any) -> transfer.Source:
        """Its payload.

        :param opened: what :meth:`unlock` gave
        """


# Enter what it gives in a native thread.
Opener = Callable[[], contextlib.AbstractContextManager[Found]]


@contextlib.contextmanager
def arriving(image: glance_images.Image, volume: encrypted.Volume
             ) -> Iterator[Opener]:
    """An encrypted image, for one copy of it into *volume*.

    Enter it in a green thread.

    :raises ImageUnacceptable: see
        :func:`~os_brick_rbd_luks.volume.glance_images.opened`
    """
    with glance_images.opened(image, volume) as source:
        if isinstance(source, glance_images.RBDSource):
            yield lambda: _in_ceph(source)
        elif isinstance(source, glance_images.Stream):
            yield lambda: _sent(source)
        else:
            yield lambda: _stored(source)


class _InCeph:
    """A snapshot that is open."""

    def __init__(self, pool: base.Pool, parent: base.Parent,
                 image: base.RBDImage) -> None:
        self._pool, self._parent, self._image = pool, parent, image
        self.header = header_io.read_header(image)

    def size(self) -> Optional[int]:
        return header_io.decrypted_size(self.header, self._image.size())

    def unlock(self, passphrase: bytes) -> bytes:
        # Each source opens it for itself.
        unlocking.unlock_header(self._image, self.header, passphrase)
        return passphrase

    def raw(self) -> transfer.Source:
        return sources.RawSource(self._pool, self._parent.image,
                                 self._parent.snapshot, self._image)

    def plain(self, opened: bytes) -> transfer.Source:
        return sources.VolumeSource(
            self._pool, self._parent.image, self._parent.snapshot,
            self._image, opened, None)


@contextlib.contextmanager
def _in_ceph(source: glance_images.RBDSource) -> Iterator[Found]:
    with source.opened() as (pool, image):
        yield _InCeph(pool, source.parent, image)


class _InOrder:
    """A stream, and what to ask at its end."""

    def __init__(self, stream: encrypted_stream.EncryptedStream,
                 check: Callable[[], None]) -> None:
        self._stream, self._check = stream, check
        self.header = stream.header

    def size(self) -> Optional[int]:
        return self._stream.decrypted_size

    def unlock(self, passphrase: bytes) -> unlocking.Unlocked:
        return self._stream.unlock(passphrase)

    def raw(self) -> transfer.Source:
        return _Checked(self._stream.raw(), self._check)

    def plain(self, opened: unlocking.Unlocked) -> transfer.Source:
        return _Checked(self._stream.plain(opened), self._check)


class _Checked:
    """A source that is asked at its end whether that was all."""

    def __init__(self, source: transfer.Source, check: Callable[[], None]
                 ) -> None:
        self._source, self._check = source, check
        self.name, self.size = source.name, source.size
        self.holes = source.holes

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        self._source.check_target(target)

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        self._source.pour(target, report)
        self._check()


@contextlib.contextmanager
def _sent(source: glance_images.Stream) -> Iterator[Found]:
    with source.reader() as stream:
        yield _InOrder(encrypted_stream.EncryptedStream(
            stream, source.size, source.name), source.check)


@contextlib.contextmanager
def _stored(source: Any) -> Iterator[Found]:
    """In a file, whose size was compared with the image's."""
    with open(source.path, "rb") as stream:
        yield _InOrder(encrypted_stream.EncryptedStream(
            stream, source.size, source.name), source.verify)
