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

"""The lock by which header operations on an RBD image keep each other out.

It is one of their own, on the image's header object. librbd's exclusive lock
is taken by librbd at the first write and handed over on request; taking it by
hand (``lock_acquire``) would make it refuse a guest that runs on the image,
whose write then fails with EROFS.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING
import uuid

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd

if TYPE_CHECKING:
    import rados

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
        with librbd.translated("renew the header's lock", self._key,
                               self._user):
            try:
                self.acquire(_MUST_RENEW)
            except (rados.ObjectBusy, rados.ObjectNotFound) as error:
                raise locked() from error

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        import rados
        with contextlib.suppress(rados.ObjectNotFound):
            self._ioctx.unlock(self._key, LOCK_NAME, self._cookie)


def locked() -> exception.ImageLocked:
    """The error of who does not get the lock."""
    return exception.ImageLocked(
        holders=f"another header operation (if that one died, its lock ends "
                f"{LOCK_DURATION} s after it)")
