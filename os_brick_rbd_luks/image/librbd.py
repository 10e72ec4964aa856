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

"""The modules ``rbd`` and ``rados``, and their errors as ours."""

from __future__ import annotations

import contextlib
import errno
from typing import Any, Iterator

from os_brick_rbd_luks import exception


def bindings() -> Any:
    """The ``rbd`` module.

    :raises MissingDependency: it is not installed
    """
    try:
        import rbd
    except ImportError as error:
        raise exception.MissingDependency(
            name="python-rbd", package="python3-rbd (it comes with Ceph's "
            "packages, not from PyPI)") from error
    return rbd


def rados_bindings() -> Any:
    """The ``rados`` module.

    :raises MissingDependency: it is not installed
    """
    try:
        import rados
    except ImportError as error:
        raise exception.MissingDependency(
            name="python-rados", package="python3-rados (it comes with Ceph's "
            "packages, not from PyPI)") from error
    return rados


@contextlib.contextmanager
def translated(action: str, what: str, user: str, read_only: bool = True
               ) -> Iterator[None]:
    """Turn errors of rbd and rados into ours, whose causes they are.

    :param read_only: whether an image was opened for reading; one that was
        not is refused because of somebody else
    """
    rbd = bindings()
    import rados
    try:
        yield
    except (rbd.Error, rados.Error, OverflowError) as problem:
        raise _translation(problem, action, what, user, read_only
                           ) from problem


def _translation(problem: Exception, action: str, what: str, user: str,
                 read_only: bool) -> exception.ImageError:
    """Ours for an error of theirs, by its number: each says what it is."""
    if isinstance(problem, OverflowError):
        return exception.ImageIOError(
            action=action, reason="no image can be that large")
    number = getattr(problem, "errno", None)
    if number == errno.ENOENT:
        return exception.ImageNotFound(what=what)
    if number == errno.EEXIST:
        return exception.ImageExists(what=what)
    if number in (errno.EPERM, errno.EACCES):
        return exception.ImageAccessDenied(action=action, user=user)
    if number == errno.EROFS:
        if read_only:
            return exception.ImageReadOnly()
        # librbd's word for a lock that its owner does not hand over.
        return exception.ImageLocked(
            holders="a client that keeps its exclusive lock")
    if number in (errno.EBUSY, errno.ENOTEMPTY):
        return exception.ImageLocked(
            holders="another client, a clone or a snapshot")
    if number in (errno.ENOSPC, errno.EDQUOT):
        return exception.ImageFull(action=action)
    if number == errno.ETIMEDOUT:
        return exception.ImageTimedOut(action=action)
    if number == errno.ESHUTDOWN:
        return exception.ImageBlocklisted(action=action)
    return exception.ImageIOError(action=action, reason=str(problem))
