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

"""An image in a Ceph pool: who has it open, its snapshots, clones and parents.

Clones are of RBD's second format, whose parents need no protection.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import (Callable, Iterable, Iterator, List, Optional, Tuple,
                    TYPE_CHECKING)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import note_beside
from os_brick_rbd_luks.image import opening
from os_brick_rbd_luks.image import places
from os_brick_rbd_luks.image import rbd_data
from os_brick_rbd_luks.image import relatives

if TYPE_CHECKING:
    import rados
    import rbd

LOG = logging.getLogger(__name__)

#: Opens a snapshot by its image's id, for the image that has the other id and
#: is a clone of it.
Layers = Callable[[str, base.Parent, str], "RBDImage"]


class RBDImage(rbd_data.RBDData):
    """An open RBD image; see
    :class:`~os_brick_rbd_luks.image.base.RBDImage`.
    """

    is_rbd = True

    #: The snapshot that was opened, None for the image itself.
    snapshot: Optional[str] = None
    #: Ceph's id of it, where its name does not tell: of one in the trash.
    snapshot_id: Optional[int] = None

    def __init__(self, image: rbd.Image, ioctx: rados.Ioctx, name: str,
                 user: str, client_id: Optional[int] = None,
                 read_only: bool = False,
                 layer: Optional[Layers] = None) -> None:
        """Take over *image*, which is closed with this object.

        :param ioctx: of the image's pool and namespace
        :param name: as the user wrote it
        :param user: Ceph user, for messages
        :param client_id: RADOS instance id of this client
        :param read_only: opened for reading, which leaves no watch
        :param layer: opens what it is a clone of, by that image's id
        """
        super().__init__(image, name, user, read_only)
        self._ioctx = ioctx
        self._client_id = client_id
        self._layer = layer

    def load_encryption(self, header_type: str, *passphrases: bytes) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        rbd = librbd.bindings()
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
                self._require_to_read()
                raise exception.WrongPassphrase() from error

    def _require_to_read(self, action: str = "read") -> None:
        """Refuse what this user may not read, here or in a parent.

        librbd has one number for that and for a wrong passphrase.

        :raises ImageAccessDenied: he may not
        """
        with self._translated(action):
            self._image.read(0, 1)
        parent = self.parent()
        if parent is None or self._layer is None:
            return
        action = f"read {parent}, which it is a clone of"
        with self._translated(action):
            below = self.open_parent()
        if below is not None:
            with below:
                below._require_to_read(action)

    def snapshots(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("list the snapshots"):
            return [snapshot["name"]
                    for snapshot in self._image.list_snaps()]

    def history(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("list the snapshots"):
            return relatives.history(self._image)

    def watchers(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        found = sorted((number != self._client_id, number, address)
                       for number, address in self._watches())
        if not self._read_only and found and not found[0][0]:
            # This object's own watch. This client may have the image open
            # once more, which is a watcher like any other.
            del found[0]
        return [_watch(number, address) for _foreign, number, address in found]

    def _watches(self) -> List[Tuple[int, str]]:
        """Number and address of all clients that have it open for writing."""
        with self._translated("list the watchers"):
            return [(watcher["id"], watcher["addr"])
                    for watcher in self._image.watchers_list()]

    def others(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`; none of an
        image whose own client is not known.
        """
        return sorted(_watch(number, address)
                      for number, address in self._watches()
                      if self._client_id not in (None, number))

    def keep_others_out(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`.

        The lock is not given back before the image is closed: librbd would
        not take it again for a write of this one.
        """
        if "exclusive-lock" not in self.features():
            return False
        with self._translated("take the exclusive lock"):
            self._image.lock_acquire(
                librbd.bindings().RBD_LOCK_MODE_EXCLUSIVE)
        return True

    def own_watch(self) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        for number, address in self._watches():
            if number == self._client_id:
                return _watch(number, address)
        raise exception.ImageIOError(
            action="find the own watch", reason="this client has none; open "
            "the image for writing again")

    def has_watch(self, watch: str) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        return any(_watch(*found) == watch for found in self._watches())

    def claim(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; it has a watcher
        while it is open.
        """
        others = self.watchers()
        if others:
            raise exception.ImageLocked(holders=", ".join(others))

    @contextlib.contextmanager
    def lock(self) -> Iterator[header_lock.ObjectLock]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        librbd.bindings()
        import rados
        with self._translated("lock the header"):
            key = f"rbd_header.{self._image.id()}"
        lock = header_lock.ObjectLock(self._ioctx, key, self._user)
        deadline = time.monotonic() + header_lock.LOCK_WAIT
        while True:
            with self._translated("lock the header"):
                try:
                    lock.acquire()
                    break
                except rados.ObjectBusy as error:
                    if time.monotonic() > deadline:
                        raise header_lock.locked() from error
            time.sleep(0.1)
        try:
            yield lock
        finally:
            self._release(lock)

    def _release(self, lock: header_lock.ObjectLock) -> None:
        """Give *lock* back, or say that it ends by itself.

        It stays where a change may be done yet: an OSD does not do what a
        client asked for once that has gone, and commands go long before the
        lock ends (see the contributor's decision on changes in doubt). An
        error would hide how the operation under the lock ended: that it was
        done, or what stopped it.
        """
        if self._in_doubt:
            LOG.warning("%s: a change timed out and may be done yet, so the "
                        "lock on the header stays; it ends by itself within "
                        "%d s", self.name, header_lock.LOCK_DURATION)
            return
        try:
            with self._translated("unlock the header"):
                lock.release()
        except exception.ImageError as error:
            LOG.warning("%s: %s; the lock ends by itself within %d s",
                        self.name, error, header_lock.LOCK_DURATION)

    def identity(self) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated("read the id"):
            number = str(self._image.id())
            if self.snapshot is not None:
                found = (self.snapshot_id if self.snapshot_id is not None
                         else self._image.snap_get_id(self.snapshot))
                number += f"@{found}"
        return number

    def set_note(self, key: str, value: Optional[str]) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`.

        What others have to be told of is for librbd, whoever has it open: an
        option of the image, or a change that a journal has.
        """
        if (key.startswith("conf_") or "journaling" in self.features()
                or not self.others()):
            super().set_note(key, value)
            return
        reason = places.unusable(self._image)
        if reason is not None:
            raise reason
        if value is not None or self.note(key) is not None:
            with self._changing("write the metadata"):
                note_beside.write(self._ioctx, str(self._image.id()), key,
                                  value)

    def parent(self) -> Optional[base.Parent]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated("look for a parent"):
            return parent_of(self._image)

    def open_parent(self) -> Optional[RBDImage]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        parent = self.parent()
        if parent is None:
            return None
        if self._layer is None:
            raise exception.OperationRefused(
                reason="whoever opened it keeps its connection, without "
                       f"which its parent {parent} cannot be looked at")
        with self._translated("look for its parent"):
            image_id = str(self._image.parent_id())
            own_id = str(self._image.id())
        return self._layer(image_id, parent, own_id)

    def is_deep_clone(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; before encryption
        is loaded.
        """
        below = self.open_parent()
        if below is None:
            return False
        with below:
            with self._translated("look how much it has of its parent"):
                larger = self._image.overlap() < self._image.size()
            return bool(larger or below.parent())

    def children(self, snapshot: str) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        return len(self.clones(snapshot))

    def clones(self, snapshot: str) -> List[base.Parent]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated("look for clones"):
            self._image.set_snap(snapshot)
            try:
                return [base.Parent(found["pool"], found["pool_namespace"],
                                    found["image"], "")
                        for found in self._image.list_children2()]
            finally:
                self._image.set_snap(None)

    def all_snapshots(self) -> List[census.Snapshot]:
        """See :class:`~os_brick_rbd_luks.image.census.Image`."""
        with self._translated("list the snapshots"):
            return relatives.snapshots(self._image)

    @contextlib.contextmanager
    def at(self, snapshot: int) -> Iterator[None]:
        """See :class:`~os_brick_rbd_luks.image.census.Image`."""
        with self._translated("look at a snapshot",
                              f"snapshot {snapshot} of {self.name}"):
            self._image.set_snap_by_id(snapshot)
            # Setting it opens a parent, and may open an object map.
            opening.settle(self._ioctx, self._image)
        try:
            yield
        finally:
            with self._translated("look at the image again"):
                self._image.set_snap(None)
                opening.settle(self._ioctx, self._image)

    def all_clones(self) -> List[census.Entry]:
        """See :class:`~os_brick_rbd_luks.image.census.Image`."""
        with self._translated("look for clones"):
            return relatives.clones(self._image)

    def hidden(self) -> List[Tuple[str, str]]:
        """See :class:`~os_brick_rbd_luks.image.census.Image`."""
        with self._translated("ask whether it is mirrored"):
            return relatives.hidden(self._image)

    def create_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        # The advice to remove what exists already is not for the image.
        with self._translated(f"take snapshot {snapshot}",
                              f"snapshot {self.name}@{snapshot}"):
            self._image.create_snap(snapshot)

    def protect_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated(f"protect snapshot {snapshot}"):
            self._image.protect_snap(snapshot)

    def remove_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated(f"remove snapshot {snapshot}"):
            if self._image.is_protected_snap(snapshot):
                self._image.unprotect_snap(snapshot)
            self._image.remove_snap(snapshot)

    def flatten(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._changing("flatten"):
            self._image.flatten()

    def copy_to(self, ioctx: rados.Ioctx, name: str) -> None:
        """For :meth:`~os_brick_rbd_luks.image.rbd_pool.Pool.copy`."""
        if not self._read_only:
            raise ValueError(f"{self.name} is open for writing: librbd would "
                             "copy nothing that its parent has")
        self._image.copy(ioctx, name)


def close_all(images: Iterable[RBDImage]) -> None:
    """Close what nobody else will, whatever becomes of it."""
    for image in [*images]:
        with contextlib.suppress(exception.ImageError):
            image.__exit__()


def parent_of(image: rbd.Image) -> Optional[base.Parent]:
    """What an image of librbd's is a clone of.

    :raises rbd.Error: librbd cannot tell
    """
    try:
        found = image.get_parent_image_spec()
    except librbd.bindings().ImageNotFound:
        return None
    return base.Parent(found["pool_name"], found["pool_namespace"],
                       found["image_name"], found["snap_name"])


def _watch(number: int, address: str) -> str:
    return f"client.{number} at {address}"
