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

"""Small pieces of bytes by name, each there complete or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import ContextManager, Iterator, List, Protocol
import urllib.parse

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import file_errors
from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.image import partial

#: What the file of a record ends with.
SUFFIX = ".rbd-luks-header"

_LOCK = ".rbd-luks.lock"


class Records(Protocol):
    """Where records are kept, in groups; names may have any characters."""

    #: For messages.
    name: str

    def groups(self) -> List[str]:
        """Names of the groups that there are, sorted."""

    def names(self, group: str) -> List[str]:
        """Names of a group's records, sorted; none of a group without any."""

    def read(self, group: str, name: str, length: int) -> bytes:
        """The first *length* bytes of a record, or all that there are.

        :raises ImageNotFound: there is no such record
        """

    def write(self, group: str, name: str, data: bytes) -> None:
        """Make a record; when it returns, a crash does not undo it.

        The lock has to be held.

        :raises ImageExists: there is one of that name
        """

    def remove(self, group: str, name: str) -> None:
        """Remove a record; the lock has to be held.

        :raises ImageNotFound: there is no such record
        """

    def lock(self) -> ContextManager[None]:
        """Keep other writers out, and remove what killed ones left half made.

        :raises ImageLocked: there is one
        """


class Folder:
    """Records in a folder of files: a subfolder for each group.

    Files that are none of ours are left alone.
    """

    def __init__(self, path: str) -> None:
        """Take a folder that exists.

        :raises ImageNotFound: it does not
        """
        self.name = f"folder {path}"
        self._path = path
        self._making = native_threads.original("threading").Lock()
        with file_errors.translated("open", path):
            os.close(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def groups(self) -> List[str]:
        """See :class:`Records`."""
        with file_errors.translated("list", self._path), os.scandir(
                self._path) as found:
            return sorted(urllib.parse.unquote(entry.name) for entry in found
                          if entry.is_dir() and _is_quoted(entry.name))

    def names(self, group: str) -> List[str]:
        """See :class:`Records`."""
        return sorted(
            urllib.parse.unquote(name[:-len(SUFFIX)])
            for name in self._files(group)
            if name.endswith(SUFFIX) and _is_quoted(name[:-len(SUFFIX)]))

    def read(self, group: str, name: str, length: int) -> bytes:
        """See :class:`Records`."""
        path = self._file(group, name)
        with file_errors.translated("read", path), open(path, "rb") as stream:
            return stream.read(length)

    def write(self, group: str, name: str, data: bytes) -> None:
        """See :class:`Records`."""
        folder, path = self._folder(group), self._file(group, name)
        half = path + partial.SUFFIX
        with file_errors.translated("write", path):
            # Another thread that finds it waits until it is on the disk.
            with self._making, contextlib.suppress(FileExistsError):
                os.mkdir(folder, 0o700)
                _sync(self._path)
            try:
                descriptor = os.open(half, os.O_WRONLY | os.O_CREAT
                                     | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with open(descriptor, "wb") as stream:
                    stream.write(data)
                    stream.flush()
                    os.fsync(descriptor)
                if os.path.lexists(path):
                    raise exception.ImageExists(what=f"file {path}")
                os.rename(half, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(half)
                raise
            _sync(folder)

    def remove(self, group: str, name: str) -> None:
        """See :class:`Records`."""
        path = self._file(group, name)
        with file_errors.translated("remove", path):
            os.unlink(path)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """See :class:`Records`."""
        path = os.path.join(self._path, _LOCK)
        with file_errors.translated("lock", path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
                                 0o600)
        try:
            try:
                with file_errors.translated("lock", path):
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except exception.ImageIOError as error:
                if not isinstance(error.__cause__, BlockingIOError):
                    raise
                raise exception.ImageLocked(
                    holders="another run that writes there") from None
            self._remove_half_made()
            yield
        finally:
            os.close(descriptor)

    def _remove_half_made(self) -> None:
        for group in self.groups():
            names = self._files(group)
            if not names:
                # Whoever made it was killed, perhaps before this.
                with file_errors.translated("lock", self._path):
                    _sync(self._path)
            for name in names:
                if name.endswith(SUFFIX + partial.SUFFIX):
                    path = os.path.join(self._folder(group), name)
                    with file_errors.translated("remove", path):
                        os.unlink(path)

    def _files(self, group: str) -> List[str]:
        folder = self._folder(group)
        with file_errors.translated("list", folder), contextlib.suppress(
                FileNotFoundError):
            return os.listdir(folder)
        return []

    def _folder(self, group: str) -> str:
        return os.path.join(self._path, _quoted(group))

    def _file(self, group: str, name: str) -> str:
        return os.path.join(self._folder(group), _quoted(name) + SUFFIX)


def _quoted(name: str) -> str:
    """A name as that of a file in the folder: neither hidden nor above it."""
    quoted = urllib.parse.quote(name, safe="")
    return "%2E" + quoted[1:] if quoted.startswith(".") else quoted


def _is_quoted(name: str) -> bool:
    """Whether a file's name is one that :func:`_quoted` gives."""
    return name.isascii() and _quoted(urllib.parse.unquote(name)) == name


def _sync(folder: str) -> None:
    """Return when the names in a folder will survive a crash."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
