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

"""A file that is there complete, or not, or as it was before."""

from __future__ import annotations

import contextlib
import os
import tempfile
from typing import IO, Iterator


@contextlib.contextmanager
def replaced(path: str) -> Iterator[IO[str]]:
    """What is written becomes the file at the end, unless something fails.

    :raises ImageError: it cannot be written, see
        :func:`~os_brick_rbd_luks.image.file_errors.translated`
    """
    from os_brick_rbd_luks.image import file_errors
    from os_brick_rbd_luks.image import partial
    # A link goes on to be one.
    path = os.path.realpath(path)
    half = path + partial.SUFFIX
    with file_errors.translated("write", path):
        if os.path.isdir(path):
            raise IsADirectoryError(21, "Is a directory")
        if os.path.exists(path) and not os.path.isfile(path):
            # A device would be a file afterwards.
            raise OSError("it is no regular file")
        # What a killed run left.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(half)
        stream = open(half, "x", encoding="utf-8",  # noqa: SIM115
                      errors="backslashreplace")
    try:
        with stream:
            yield stream
            with file_errors.translated("write", path):
                stream.flush()
                os.fsync(stream.fileno())
        with file_errors.translated("write", path):
            os.replace(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise


@contextlib.contextmanager
def new(path: str) -> Iterator[IO[bytes]]:
    """What is written becomes a new file at the end, unless something fails.

    Only its owner may read it.

    :raises ImageExists: there is such a file
    :raises ImageError: it cannot be written, see
        :func:`~os_brick_rbd_luks.image.file_errors.translated`
    """
    from os_brick_rbd_luks.image import file_errors
    from os_brick_rbd_luks.image import partial
    from os_brick_rbd_luks.image import rawfile
    store = rawfile.FileStore()
    store.require_free(path)
    folder, name = os.path.split(path)
    with file_errors.translated("write", path):
        descriptor, half = tempfile.mkstemp(
            partial.SUFFIX, f"{name}.", folder or ".")
    try:
        with file_errors.translated("write", path), \
                open(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(descriptor)
        store.rename(half, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(half)
        raise
