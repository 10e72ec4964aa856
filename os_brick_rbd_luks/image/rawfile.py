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

"""An image in a plain file: exports, header experiments, interoperability."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import itertools
import os
import stat
import time
from typing import Any, Dict, FrozenSet, Iterator, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import file_errors
from os_brick_rbd_luks.image import partial

#: Seconds to wait for another header operation on the same file.
LOCK_WAIT = 10.0

#: What a file system without hard links says of one.
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK)


class FileLock:
    """A held ``flock``: it lasts until it is given back."""

    def renew(self) -> None:
        """Nothing to do: the kernel keeps it."""


class RawFile:
    """An open plain file or block device."""

    is_rbd = False

    def __init__(self, path: str, descriptor: int, writable: bool) -> None:
        self.name = f"file:{path}"
        self._path = path
        self._descriptor = descriptor
        self._writable = writable

    def __enter__(self) -> RawFile:
        return self

    def __exit__(self, *exc_info: object) -> None:
        os.close(self._descriptor)

    def size(self) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; block devices have
        no ``st_size``.
        """
        return os.lseek(self._descriptor, 0, os.SEEK_END)

    def stripe_period(self) -> int:
        """That of an RBD image with default objects: exports fit there."""
        return base.DEFAULT_OBJECT_SIZE

    def interleaves(self) -> bool:
        """False: a file has no stripes."""
        return False

    def is_deep_clone(self) -> bool:
        """False: a file has no parent."""
        return False

    def identity(self) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        return _identity(os.fstat(self._descriptor))

    def features(self) -> FrozenSet[str]:
        """A file has none."""
        return frozenset()

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        parts = []
        with file_errors.translated("read", self._path):
            while length > 0:
                part = os.pread(self._descriptor, length, offset)
                if not part:
                    break
                parts.append(part)
                offset += len(part)
                length -= len(part)
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; a file's write is
        not all or nothing.
        """
        if not self._writable:
            raise exception.ImageReadOnly()
        if offset + len(data) > self.size():
            raise exception.ImageTooSmall(size=self.size(),
                                          needed=offset + len(data))
        view = memoryview(data)
        with file_errors.translated("write", self._path):
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset += written
                view = view[written:]

    def flush(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with file_errors.translated("flush", self._path):
            os.fsync(self._descriptor)

    def resize(self, size: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        if not self._writable:
            raise exception.ImageReadOnly()
        with file_errors.translated("resize", self._path):
            os.ftruncate(self._descriptor, size)

    def has_data(self, offset: int = 0) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; data extents that
        hold zeros count not.

        Copying tools fill holes with zeros, so extents alone say little.
        """
        position, end = self._next_data(offset), self.size()
        while position < end:
            part = self.read(position, base.DEFAULT_OBJECT_SIZE)
            if not base.is_zero(part):
                return True
            position = self._next_data(position + len(part))
        return False

    def _next_data(self, position: int) -> int:
        """Where the next data extent begins; the size if there is none."""
        with file_errors.translated("look for data", self._path):
            try:
                return os.lseek(self._descriptor, position, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return self.size()
                # No support for SEEK_DATA (block device): read it all.
                if error.errno != errno.EINVAL:
                    raise
                return position

    def history(self) -> List[str]:
        """A file has none."""
        return []

    def snapshots(self) -> List[str]:
        """A file has none."""
        return []

    def watchers(self) -> List[str]:
        """Unknown: who has a file open is not to be found out reliably."""
        return []

    def claim(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; it is locked."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _identity(os.stat(self._path)) == self.identity():
                return
        except (BlockingIOError, FileNotFoundError):
            pass
        raise exception.ImageLocked(holders="another run")

    @contextlib.contextmanager
    def lock(self) -> Iterator[FileLock]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise exception.ImageLocked(
                        holders="another process that has the file "
                                "locked") from None
                time.sleep(0.05)
        try:
            yield FileLock()
        finally:
            fcntl.flock(self._descriptor, fcntl.LOCK_UN)


def _identity(status: os.stat_result) -> str:
    return f"{status.st_dev}:{status.st_ino}"


class FileStore:
    """Plain files by path."""

    def __init__(self) -> None:
        #: see :class:`~os_brick_rbd_luks.image.base.ImageStore`
        self.made: Dict[str, Optional[str]] = {}

    def stripe_period(self, **options: Any) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        return base.DEFAULT_OBJECT_SIZE

    def create(self, name: str, size: int, **options: Any) -> RawFile:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`; the file is
        sparse.
        """
        self.made.pop(name, None)
        opened: List[int] = []
        try:
            with file_errors.translated("create", name):
                # No handler of a signal comes between the two, see Pool.
                opened.extend(itertools.starmap(functools.partial(
                    os.open, name, os.O_RDWR | os.O_CREAT | os.O_EXCL
                    | os.O_CLOEXEC, 0o600), ((),)))
            image = RawFile(name, opened[0], writable=True)
            self.made[name] = image.identity()
            image.resize(size)
            return image
        except BaseException:
            if opened:
                self.made[name] = _identity(os.fstat(opened[0]))
                os.close(opened[0])
                partial.discard(self, name)
            raise

    def open(self, name: str, read_only: bool = False) -> RawFile:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        flags = os.O_RDONLY if read_only else os.O_RDWR
        with file_errors.translated("open", name):
            descriptor = os.open(name, flags | os.O_CLOEXEC)
        mode = os.fstat(descriptor).st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            os.close(descriptor)
            raise exception.InvalidParameter(
                name="file", value=name,
                reason="is neither a plain file nor a block device")
        return RawFile(name, descriptor, writable=not read_only)

    def remove(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        with file_errors.translated("remove", name):
            os.unlink(name)

    def rename(self, name: str, new_name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`.

        A rename would put the file in another one's place, a link does not.
        """
        with file_errors.translated("rename", new_name):
            try:
                os.link(name, new_name, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self.require_free(new_name)
                os.rename(name, new_name)
            else:
                os.unlink(name)

    def partial_name(self, name: str) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        return name + partial.SUFFIX

    def require_free(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        if os.path.lexists(name):
            raise exception.ImageExists(what=f"file {name}")

    def makers(self, name: str) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`; who makes
        a file holds a lock.
        """
        with file_errors.translated("open", name):
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return ["another process that has the file locked"]
        finally:
            os.close(descriptor)
        return []

    def evict(self, name: str) -> None:
        """Nothing: a process that was killed writes no more."""
