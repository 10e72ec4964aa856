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

"""Errors of the system, about a file: ours, which say what to do."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import Iterator

from os_brick_rbd_luks import exception


@contextlib.contextmanager
def translated(action: str, name: str) -> Iterator[None]:
    """Make errors of the system ours.

    :param action: what is done, for the error's text
    :param name: of the file, likewise
    :raises ImageError: one of them
    """
    try:
        yield
    except (OSError, OverflowError) as problem:
        raise _translation(problem, action, name) from problem


def _translation(problem: Exception, action: str, name: str
                 ) -> exception.ImageError:
    """Ours for an error of the system."""
    number = getattr(problem, "errno", None)
    error: exception.ImageError
    if number == errno.ENOENT:
        return exception.ImageNotFound(what=f"file {name}")
    if number == errno.EEXIST:
        return exception.ImageExists(what=f"file {name}")
    if number in (errno.EPERM, errno.EACCES):
        error = exception.FileAccessDenied(action=action,
                                           user=f"uid {os.geteuid()}")
    elif number in (errno.ENOSPC, errno.EDQUOT):
        error = exception.FileSystemFull(action=action)
    elif number == errno.EROFS:
        error = exception.ImageIOError(
            action=action, reason="it is on a file system, or a device, that "
            "is mounted or set read-only")
    elif isinstance(problem, OverflowError):
        error = exception.ImageIOError(action=action,
                                       reason="no file can be that large")
    else:
        error = exception.ImageIOError(action=action, reason=os.strerror(
            number) if number else str(problem))
    error.image = f"file:{name}"
    return error
