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
"""Copy a volume to a file or a stream."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
from typing import Callable, IO, Iterator, Optional

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import rawfile

LOG = logging.getLogger(__name__)

#: Of the names of files that are being written.
SUFFIX = partial.SUFFIX


def to_file(volume: sources.RawSource, path: str, *,
            file_format: str = "raw", force: bool = False,
            report: Optional[progress.Report] = None) -> None:
    """Write a new file, sparse where the volume has zeros.

    :param volume: as plain text, or as it is, header included: so Cinder
        uploads encrypted volumes
    :param file_format: raw or qcow2
    :param force: replace a file, and what an interrupted run left
    :raises ImageExists: there is such a file, and not *force*; also one that
        was made meanwhile
    :raises InvalidParameter: it is a device or a pipe
    """
    with _new_file(path, force) as half:
        if file_format == "qcow2":
            qemu_img.save_qcow2(
                volume.block_options(), half, size=volume.size,
                report=report, check=volume.check_qemu,
                environment=volume.store.environment())
        else:
            with volume.view() as view:
                _write_raw(volume.reader(view.read), volume.size,
                           volume.extents(), half, report)
        volume.verify()


def to_stream(volume: sources.RawSource, stream: IO[bytes],
              report: Optional[progress.Report] = None) -> None:
    """Write in order what :func:`to_file` does, zeros included."""
    with volume.view() as view:
        copying.copy_out(volume.reader(view.read), volume.size,
                         volume.extents(), _sink(stream), report)
    stream.flush()
    volume.verify()


def _sink(stream: IO[bytes]) -> Callable[[int, bytes], None]:
    def write(_offset: int, data: bytes) -> None:
        # An unbuffered one may take a part.
        view = memoryview(data)
        while view:
            view = view[stream.write(view):]
    return write


def _write_raw(read: copying.Read, size: int,
               extents: copying.Extents, path: str,
               report: Optional[progress.Report]) -> None:
    with _translated(path), open(path, "r+b", buffering=0) as stream:
        stream.truncate(size)

        def write(offset: int, data: bytes) -> None:
            view = memoryview(data)
            while view:
                written = os.pwrite(stream.fileno(), view, offset)
                offset, view = offset + written, view[written:]

        copying.copy(read, write, size, extents, policy=zeros.skipped(),
                     report=report)


@contextlib.contextmanager
def _new_file(path: str, force: bool) -> Iterator[str]:
    """An empty file beside *path* that becomes it at the end."""
    path = os.path.abspath(path)
    half = path + SUFFIX
    with _translated(path):
        _refuse_special(path)
        if os.path.isdir(path) or os.path.lexists(path) and not force:
            raise exception.ImageExists(what=f"file {path}")
        if os.path.lexists(half):
            _refuse_running(half)
            if not force:
                raise exception.HalfMade(partial=f"file {half}")
            os.unlink(half)
        descriptor = os.open(half, os.O_CREAT | os.O_EXCL | os.O_RDWR,
                             0o600)
    try:
        # Tells other runs that this one lives.
        with _translated(path):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield half
        with _translated(path):
            os.fsync(descriptor)
        _name(half, path, force)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        raise
    finally:
        os.close(descriptor)


def _refuse_special(path: str) -> None:
    """Refuse what a file would take the place of, and be none of it.

    :raises InvalidParameter: it is, or links to, a device, a pipe or a socket
    """
    if os.path.exists(path) and not (os.path.isfile(path)
                                     or os.path.isdir(path)):
        raise exception.InvalidParameter(
            name="file", value=path,
            reason="is no plain file, and would be one afterwards; for a "
                   "device or a pipe, name the file - and redirect stdout")


def _name(half: str, path: str, force: bool) -> None:
    """Give a complete file its name.

    :raises ImageExists: somebody has made another one meanwhile, and not
        *force*
    """
    # One that somebody has made meanwhile may be no file, either.
    _refuse_special(path)
    if not force:
        rawfile.FileStore().rename(half, path)
        return
    with _translated(path):
        os.replace(half, path)


def _refuse_running(half: str) -> None:
    """Raise if the run that makes a file is not dead.

    :raises ImageLocked: it lives
    """
    if not os.path.isfile(half):
        return
    with open(half, "rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise exception.ImageLocked(
                holders=f"another run, which writes {half}") from None


@contextlib.contextmanager
def _translated(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise exception.CopyFailed(
            reason=f"file {path}: {error.strerror}") from error
