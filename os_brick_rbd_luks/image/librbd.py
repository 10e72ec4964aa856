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

"""An image in a Ceph pool, over an open ``rbd.Image``.

Writes go out as they come (:mod:`~os_brick_rbd_luks.image.cluster` switches
librbd's cache off), so one within a RADOS object is applied by RADOS as a
whole or not at all.

Header operations lock each other out with a lock of their own on the
image's header object. librbd's exclusive lock is taken by librbd at the
first write and handed over on request; taking it by hand
(``lock_acquire``) would make it refuse a guest that runs on the image, whose
write then fails with EROFS.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import time
from typing import Any, FrozenSet, Iterator, List, Optional, TYPE_CHECKING
import uuid

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

if TYPE_CHECKING:
    import rados
    import rbd

LOG = logging.getLogger(__name__)

#: The lock's name on the header object.
LOCK_NAME = "rbd_luks.header"

#: Seconds after which a lock whose holder died ends by itself. Longer than
#: any single write can take: one may have to wait until the cluster gives up
#: an exclusive lock's dead owner (30 s), and then for its own time-out. A lock
#: that ended under a write would let somebody else fill the same keyslot.
LOCK_DURATION = 180

#: Seconds to wait for another header operation on the same image.
LOCK_WAIT = 10.0

# LIBRADOS_LOCK_FLAG_MUST_RENEW: fail if the lock is not held any more.
_MUST_RENEW = 2

_FEATURES = {
    "layering": "RBD_FEATURE_LAYERING",
    "striping": "RBD_FEATURE_STRIPINGV2",
    "exclusive-lock": "RBD_FEATURE_EXCLUSIVE_LOCK",
    "object-map": "RBD_FEATURE_OBJECT_MAP",
    "fast-diff": "RBD_FEATURE_FAST_DIFF",
    "deep-flatten": "RBD_FEATURE_DEEP_FLATTEN",
    "journaling": "RBD_FEATURE_JOURNALING",
    "data-pool": "RBD_FEATURE_DATA_POOL",
}


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
def translated(action: str, what: str, user: str) -> Iterator[None]:
    """Turn errors of rbd and rados into ours."""
    rbd = bindings()
    import rados
    try:
        yield
    except (rbd.ImageNotFound, rbd.ObjectNotFound, rados.ObjectNotFound):
        error: exception.ImageError = exception.ImageNotFound(what=what)
    except (rbd.ImageExists, rbd.ObjectExists):
        error = exception.ImageExists(what=what)
    except (rbd.PermissionError, rados.PermissionError,
            rados.PermissionDeniedError):
        error = exception.ImageAccessDenied(action=action, user=user)
    except rbd.ReadOnlyImage:
        error = exception.ImageReadOnly()
    except (rbd.ImageBusy, rbd.ImageHasSnapshots):
        error = exception.ImageLocked(
            holders="another client, a clone or a snapshot")
    except (rbd.NoSpace, rbd.DiskQuotaExceeded, rados.NoSpace):
        error = exception.ImageFull(action=action)
    except (rbd.Timeout, rados.TimedOut):
        error = exception.ImageIOError(
            action=action, reason="the cluster did not answer in time; "
            "check that the pool is not full and its OSDs are up")
    except OverflowError:
        error = exception.ImageIOError(
            action=action, reason="no image can be that large")
    except (rbd.Error, rados.Error) as problem:
        error = exception.ImageIOError(action=action, reason=str(problem))
    else:
        return
    raise error


class ObjectLock:
    """A held lock on the header object; it ends by itself if not renewed."""

    def __init__(self, ioctx: rados.Ioctx, key: str,
                 user: str = "the Ceph user") -> None:
        self._ioctx = ioctx
        self._key = key
        self._user = user
        self._cookie = str(uuid.uuid4())

    def acquire(self, flags: int = 0) -> None:
        """Take the lock once.

        :raises rados.ObjectBusy: somebody else has it
        """
        self._ioctx.lock_exclusive(
            self._key, LOCK_NAME, self._cookie, "a LUKS header operation",
            LOCK_DURATION, flags)

    def renew(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.HeldLock`."""
        import rados
        with translated("renew the header's lock", self._key, self._user):
            try:
                self.acquire(_MUST_RENEW)
            except (rados.ObjectBusy, rados.ObjectNotFound) as error:
                raise _locked() from error

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        import rados
        with contextlib.suppress(rados.ObjectNotFound):
            self._ioctx.unlock(self._key, LOCK_NAME, self._cookie)


def _locked() -> exception.ImageLocked:
    return exception.ImageLocked(
        holders=f"another header operation (if that one died, its lock ends "
                f"{LOCK_DURATION} s after it)")


class LibrbdImage:
    """An open RBD image."""

    def __init__(self, image: rbd.Image, ioctx: rados.Ioctx, name: str,
                 user: str, client_id: Optional[int] = None,
                 read_only: bool = False) -> None:
        """Take over *image*, which is closed with this object.

        :param ioctx: of the image's pool and namespace
        :param name: as the user wrote it
        :param user: Ceph user, for messages
        :param client_id: RADOS instance id of this client
        :param read_only: opened for reading, which leaves no watch
        """
        self.name = name
        self._image = image
        self._ioctx = ioctx
        self._user = user
        self._client_id = client_id
        self._read_only = read_only

    def __enter__(self) -> LibrbdImage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            with self._translated("close"):
                self._image.close()
        except exception.ImageError as error:
            if not any(exc_info):
                raise
            # The error that ended the work says more.
            LOG.warning("%s: %s", self.name, error)

    def _translated(self, action: str) -> Any:
        return translated(action, self.name, self._user)

    def size(self) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("read the size"):
            return int(self._image.size())

    def stripe_period(self) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("read the striping"):
            return int(self._image.stripe_count()
                       * self._image.stat()["obj_size"])

    def features(self) -> FrozenSet[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        rbd = bindings()
        with self._translated("read the features"):
            mask = self._image.features()
        return frozenset(name for name, constant in _FEATURES.items()
                         if mask & getattr(rbd, constant))

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        length = min(length, self.size() - offset)
        if length <= 0:
            return b""
        with self._translated("read"):
            return bytes(self._image.read(offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        size = self.size()
        if offset + len(data) > size:
            raise exception.ImageTooSmall(size=size,
                                          needed=offset + len(data))
        with self._translated("write"):
            self._image.write(data, offset)

    def load_encryption(self, header_type: str, *passphrases: bytes) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        rbd = bindings()
        formats = {"luks1": rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                   "luks2": rbd.RBD_ENCRYPTION_FORMAT_LUKS2}
        first, *others = passphrases
        with self._translated("load the encryption"):
            try:
                if others:
                    self._image.encryption_load2((
                        (formats[header_type], first),
                        *((rbd.RBD_ENCRYPTION_FORMAT_LUKS, passphrase)
                          for passphrase in others)))
                else:
                    self._image.encryption_load(formats[header_type], first)
            except rbd.PermissionError as error:
                raise exception.WrongPassphrase() from error

    def flush(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("flush"):
            self._image.flush()

    def resize(self, size: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("resize"):
            self._image.resize(size)

    def has_data(self, offset: int = 0) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; quick with the
        fast-diff feature.
        """
        rbd = bindings()
        found: List[int] = []
        # Whole objects are looked for: not one that began before.
        begin = offset + -offset % self.stripe_period()
        if not base.is_zero(self.read(offset, begin - offset)):
            return True
        length = self.size() - begin
        if length <= 0:
            return False

        def stop_at_first(offset: int, _length: int, exists: bool) -> int:
            if exists:
                found.append(offset)
                return -errno.ECANCELED
            return 0

        with self._translated("look for data"):
            try:
                self._image.diff_iterate(
                    begin, length, None, stop_at_first,
                    include_parent=True, whole_object=True)
            except rbd.Error:
                if not found:
                    raise
        return bool(found)

    def snapshots(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("list the snapshots"):
            return [snapshot["name"]
                    for snapshot in self._image.list_snaps()]

    def watchers(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("list the watchers"):
            found = sorted(
                (watcher["id"] != self._client_id, watcher["id"],
                 watcher["addr"])
                for watcher in self._image.watchers_list())
        if not self._read_only and found and not found[0][0]:
            # This object's own watch. This client may have the image open
            # once more, which is a watcher like any other.
            del found[0]
        return [f"client.{number} at {address}"
                for _foreign, number, address in found]

    @contextlib.contextmanager
    def lock(self) -> Iterator[ObjectLock]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        bindings()
        import rados
        with self._translated("lock the header"):
            key = f"rbd_header.{self._image.id()}"
        lock = ObjectLock(self._ioctx, key, self._user)
        deadline = time.monotonic() + LOCK_WAIT
        while True:
            with self._translated("lock the header"):
                try:
                    lock.acquire()
                    break
                except rados.ObjectBusy as error:
                    if time.monotonic() > deadline:
                        raise _locked() from error
            time.sleep(0.1)
        try:
            yield lock
        finally:
            self._release(lock)

    def _release(self, lock: ObjectLock) -> None:
        """Give *lock* back, or say that it ends by itself.

        An error would hide how the operation under the lock ended: that it
        was done, or what stopped it.
        """
        try:
            with self._translated("unlock the header"):
                lock.release()
        except exception.ImageError as error:
            LOG.warning("%s: %s; the lock ends by itself within %d s",
                        self.name, error, LOCK_DURATION)
