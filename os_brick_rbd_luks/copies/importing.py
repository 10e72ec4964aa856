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
"""Import an image, of a file or a stream, into an encrypted volume."""

from __future__ import annotations

from typing import Any, IO, Optional

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import image_file
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher


class FileSource:
    """An image file in any format that Glance holds; QEMU reads it."""

    holes = zeros.Holes.ZEROS

    def __init__(self, path: str, file_format: Optional[str] = None) -> None:
        """See :func:`~os_brick_rbd_luks.copies.image_file.inspect`."""
        self.path = path
        self._file = image_file.inspect(path, file_format)
        self.name = f"file {path}"
        self.size = self._file.size

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        if self.size:
            qemu_img.try_opening(target.block_options(),
                                 environment=target.store.environment())
            qemu_img.try_opening(self._file.block_options())
        self.verify()

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        if self.size:
            qemu_img.convert(
                self._file.block_options(), target.block_options(),
                size=self.size, policy=target.policy,
                report=report, check=target.check_qemu,
                environment=target.store.environment())
        self.verify()

    def verify(self) -> None:
        """Raise unless nobody has written to the file.

        :raises SourceChanged: somebody has
        """
        self._file.verify()


class Rest:
    """What comes from an offset of a stream on, of which a part has come."""

    def __init__(self, came: bytes, stream: Any) -> None:
        """Take what has come, and a stream that stays its owner's."""
        self._came, self._stream = came, stream

    def read(self, length: int) -> bytes:
        """Up to *length* bytes, none at the end only."""
        if not self._came:
            return bytes(self._stream.read(length))
        part, self._came = self._came[:length], self._came[length:]
        return part


class StreamSource:
    """Raw data up to its end."""

    size = None
    holes = zeros.Holes.ZEROS

    def __init__(self, stream: IO[bytes], name: str = "the stream") -> None:
        """Take a stream that stays its owner's."""
        self.name = name
        self._stream: Any = stream

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`.

        :raises EmptySource: the stream ends before its first byte
        """
        with target.view():
            pass
        # A program before us in a pipe that fails has written nothing.
        came = self._stream.read(1)
        if not came:
            raise exception.EmptySource(source=self.name)
        self._stream = Rest(came, self._stream)

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        sector = (target.header.sector_size if target.header
                  else cipher.SECTOR)
        with target.view() as view:
            copying.copy_in(self._stream, view.write, view.size(), sector,
                            policy=target.policy, report=report)
            view.flush()
