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

"""The cluster in memory, with all that Cinder's own drivers ask of it.

Source: ``rbd.pyx`` of Ceph 16 and 18, as far as
``cinder.volume.drivers.rbd`` and ``cinder.backup.drivers.ceph`` use it.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple

from cinder.backup.drivers import ceph as backups
from cinder.volume.drivers import rbd as volumes
import fixtures

from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import content as kept
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import rados as clients
from os_brick_rbd_luks.tests.fakes import rbd as librbd

FSID = "8f2a5c1e-1d0b-4d6a-9d5c-0b7f3a1c2e4d"

#: Calls that raise errors of librados.
_OF_RADOS = ("connect", "lock", "aio_stat")


class CinderCeph(ceph.Ceph):
    """A cluster that Cinder's drivers use as well.

    :ivar trash: id -> pool, name and content of what was moved there
    :ivar fail_at: number of the call of ours that fails, from 0
    :ivar error: what it raises then
    :ivar calls: the names of our calls since :meth:`fail`
    :ivar starts: the images whose first bytes we have read since then
    """

    def __init__(self, *pools: str, **options: Any) -> None:
        super().__init__(*pools, **options)
        # Cinder's own driver closes snapshots and clones at once.
        self.hasty = True
        self.trash: Dict[str, Tuple[str, str, kept.Content]] = {}
        self.fail_at: Optional[int] = None
        self.error: Optional[BaseException] = None
        self.calls: List[str] = []
        self.starts: List[str] = []
        #: by pool and key
        self.objects: Dict[Tuple[str, str], bytes] = {}

    def _setUp(self) -> None:
        super()._setUp()
        for user in (volumes, backups):
            for module in (self.rados, self.rbd):
                self.useFixture(fixtures.MonkeyPatch(
                    f"{user.__name__}.{module.__name__}", module))

    def in_trash(self, pool: str) -> List[Dict[str, str]]:
        """See :class:`ceph.Ceph`; of what was moved there."""
        return [{"id": image_id, "name": name, "source": "USER"}
                for image_id, (there, name, _found) in self.trash.items()
                if there == pool]

    def _modules(self) -> Tuple[Any, Any]:
        rados, rbd = super()._modules()
        rados.Rados = lambda **options: Rados(self, **options)
        rados.Object = lambda ioctx, key: Object(self, ioctx, key)
        for name, fake in (("Image", Image), ("RBD", RBD)):
            members = {
                **vars(getattr(rbd, name)),
                **{member: value for member, value in vars(fake).items()
                   if not member.startswith("__")}}
            members.pop("__dict__", None)
            members.pop("__weakref__", None)
            setattr(rbd, name, type(name, (), members))
        rbd.RBD_OPERATION_FEATURE_CLONE_PARENT = 1
        return rados, rbd

    # Faults in what this package asks for, whatever it is

    @contextlib.contextmanager
    def fail(self, number: Optional[int], error: Any = "Timeout"
             ) -> Iterator[None]:
        """Let our call of that number fail; count them.

        What upstream's driver asks for does not count.

        :param error: a name of librbd's errors, or what to call instead
        """
        self.calls, self.fail_at, self.error = [], number, error
        self.starts = []
        try:
            yield
        finally:
            self.fail_at = self.error = None

    @property
    def has_failed(self) -> bool:
        """Whether the call that was to fail was made."""
        return self.fail_at is None or len(self.calls) > self.fail_at

    def count(self, rados: Any, name: str) -> None:
        """Count a call that was made by a connection of this package."""
        if not rados.is_ours:
            return
        self.calls.append(name)
        if self.fail_at == len(self.calls) - 1:
            raise (self.rados.TimedOut if name in _OF_RADOS else getattr(
                self.rbd, str(self.error)))(f"{name} was to fail")

    # Relations that the cluster keeps

    def trash_contents(self) -> List[kept.Content]:
        """The images in the trash."""
        return [found for _pool, _name, found in self.trash.values()]

    def children(self, snapshots: List[kept.Content]
                 ) -> List[Tuple[str, str]]:
        """Pool and name of the clones of these snapshots."""
        return [(pool, name) for pool, store in self.pools.items()
                for name, content in store.contents.items()
                if any(content.below is found for found in snapshots)]


class Rados(clients.Rados):
    """``rados.Rados``."""

    def __init__(self, cluster: CinderCeph, **options: Any) -> None:
        #: upstream names the user, we the client
        self.is_ours = "name" in options
        super().__init__(cluster, **options)
        self.conf["rbd_default_features"] = "61"

    def connect(self, timeout: int = 0) -> None:
        """Connect, if there is a monitor and a key."""
        self._ceph.count(self, "connect")  # type: ignore[attr-defined]
        super().connect(timeout)

    def get_fsid(self) -> str:
        """The cluster's id."""
        return FSID

    def mon_command(self, command: str, inbuf: bytes
                    ) -> Tuple[int, bytes, str]:
        """What pools have, and may have; and what :class:`clients.Rados` has.
        """
        answers: Dict[str, Any] = {
            "df": {"stats": {"total_bytes": 2 ** 40}, "pools": [
                {"name": name, "stats": {"stored": 0, "max_avail": 2 ** 40,
                                         "bytes_used": 0}}
                for name in self._ceph.pools]},
            "osd pool get-quota": {"quota_max_bytes": 0}}
        prefix = json.loads(command)["prefix"]
        if prefix in answers:
            return 0, json.dumps(answers[prefix]).encode(), ""
        return super().mon_command(command, inbuf)

    def open_ioctx(self, name: str) -> Ioctx:
        """A pool."""
        super().open_ioctx(name)
        return Ioctx(self._ceph, self, name)


class Ioctx(clients.Ioctx):
    """``rados.Ioctx``."""

    def aio_stat(self, key: str, callback: Callable[..., None]
                 ) -> clients.Completion:
        """Begin to look at an object."""
        completion = super().aio_stat(key, callback)
        self._ceph.count(self.connection, "aio_stat")  # type: ignore[attr-defined]
        return completion

    def lock_exclusive(self, *args: Any, **kwargs: Any) -> None:
        """Lock an object, or hold the lock for longer."""
        self._ceph.count(self.connection, "lock")  # type: ignore[attr-defined]
        super().lock_exclusive(*args, **kwargs)

    def execute(self, key: str, cls: str, method: str, data: bytes,
                length: int = 8192) -> Tuple[int, bytes]:
        """Change an image's metadata, whoever has its lock."""
        self._ceph.count(self.connection, method)  # type: ignore[attr-defined]
        return super().execute(key, cls, method, data, length)


class Object:
    """``rados.Object``, which upstream's backups have beside their images."""

    def __init__(self, ceph: CinderCeph, ioctx: Ioctx, key: str) -> None:
        self._ceph, self._place = ceph, (ioctx.pool, key)

    def _find(self) -> bytes:
        if self._place not in self._ceph.objects:
            raise self._ceph.rados.ObjectNotFound(self._place[1])
        return self._ceph.objects[self._place]

    def stat(self) -> Tuple[int, Any]:
        """Its size and time."""
        return len(self._find()), None

    def read(self) -> bytes:
        """All of it."""
        return self._find()

    def write(self, data: bytes) -> None:
        """Make it."""
        self._ceph.objects[self._place] = data

    def remove(self) -> None:
        """Remove it."""
        self._find()
        del self._ceph.objects[self._place]


class RBD:
    """Members of ``rbd.RBD``, in the place of those of :class:`librbd.RBD`."""

    ceph: CinderCeph

    def version(self) -> Tuple[int, int, int]:
        """Of librbd."""
        return 1, 16, 0

    def create(self, ioctx: Any, name: str, size: int,
               order: Optional[int] = None, old_format: bool = False,
               features: Optional[int] = None, **options: Any) -> None:
        """Make an image; what it is like is for the cluster to say."""
        self.ceph.count(ioctx.connection, "create")
        self.ceph.call("create")
        assert not old_format
        made = {"object_size": 1 << order,
                "stripe_period": 1 << order} if order else {}
        with self.ceph.as_librbd(), self.ceph.pools[ioctx.pool].create(
                name, size, **made):
            pass

    def clone(self, p_ioctx: Any, p_name: str, p_snapname: str,
              c_ioctx: Any, c_name: str, features: Optional[int] = None,
              order: Optional[int] = None) -> None:
        """Clone a snapshot; one of the first format has to be protected."""
        self.ceph.count(c_ioctx.connection, "clone")
        librbd.RBD.clone(self,  # type: ignore[arg-type]
                         p_ioctx, p_name, p_snapname, c_ioctx, c_name)

    def remove(self, ioctx: Any, name: str) -> None:
        """Remove an image without snapshots."""
        self.ceph.count(ioctx.connection, "remove")
        found = self.ceph.pools[ioctx.pool].contents.get(name)
        if found is not None and found.snapshots:
            raise self.ceph.rbd.ImageHasSnapshots("error removing image")
        librbd.RBD.remove(self, ioctx, name)  # type: ignore[arg-type]

    def rename(self, ioctx: Any, src: str, dest: str) -> None:
        """Give an image another name; its clones know that."""
        self.ceph.count(ioctx.connection, "rename")
        librbd.RBD.rename(self,  # type: ignore[arg-type]
                          ioctx, src, dest)
        found = self.ceph.pools[ioctx.pool].contents[dest]
        for snapshot in found.snapshots:
            before = f"{ioctx.pool}/{src}@{snapshot}"
            if before in self.ceph.protected:
                self.ceph.protected.remove(before)
                self.ceph.protected.add(f"{found.name}@{snapshot}")

    def trash_move(self, ioctx: Any, name: str, delay: int = 0) -> None:
        """Move an image to the trash, with its snapshots.

        Ceph lets those who have it open go on.
        """
        store = self.ceph.pools[ioctx.pool]
        if name not in store.contents:
            raise self.ceph.rbd.ImageNotFound("error moving to trash")
        found = store.contents.pop(name)
        self.ceph.trash[found.image_id] = (ioctx.pool, name, found)

    def trash_remove(self, ioctx: Any, image_id: str, force: bool = False
                     ) -> None:
        """Remove an image that is in the trash."""
        if image_id not in self.ceph.trash:
            raise self.ceph.rbd.ImageNotFound("error deleting from trash")
        _pool, name, found = self.ceph.trash[image_id]
        # Its name may be another one's by now.
        store, hidden = self.ceph.pools[ioctx.pool], f"(in the trash) {name}"
        store.contents[hidden] = found
        try:
            self.remove(ioctx, hidden)
        except BaseException:
            del store.contents[hidden]
            raise
        del self.ceph.trash[image_id]


class Image:
    """Members of ``rbd.Image``, likewise."""

    ceph: CinderCeph
    name: str
    content: kept.Content
    ioctx: Any
    _image: images.MemoryImage
    plain: Any
    _snapshot: Optional[str]

    def _usable(self, call: str) -> images.MemoryImage:
        if self.closed:  # type: ignore[attr-defined]
            raise self.ceph.rbd.InvalidArgument("image is closed")
        self.ceph.count(self.ioctx.connection, call)
        self.ceph.call(call)
        return self._image

    def read(self, offset: int, length: int) -> bytes:
        """Read; who reads a header begins at the start."""
        if not offset and self.ioctx.connection.is_ours:
            self.ceph.starts.append(self.name)
        return librbd.Image.read(self,  # type: ignore[arg-type]
                                 offset, length)

    def op_features(self) -> int:
        """That its clones are of the second format."""
        self._usable("op_features")
        return 1

    def stripe_unit(self) -> int:
        """Bytes; images here have no fancy striping."""
        return self._usable("stripe_unit").content.object_size

    def overlap(self) -> int:
        """How many bytes of the parent count."""
        content = self._usable("overlap").content
        if content.below is None:
            raise self.ceph.rbd.ImageNotFound("error getting overlap")
        return content.overlap

    def parent_info(self) -> Tuple[str, str, str]:
        """What it, or the snapshot that is chosen, is a clone of."""
        content = self._usable("parent").content
        if self._snapshot is not None:
            content = content.frozen[self._snapshot]
        if content.parent is None:
            raise self.ceph.rbd.ImageNotFound("error getting parent info")
        return (content.parent.pool, content.parent.image,
                content.parent.snapshot)

    def list_children(self) -> List[Tuple[str, str]]:
        """Clones of the snapshot that is chosen, or of all."""
        frozen = self._usable("children").content.frozen
        return self.ceph.children(
            [*frozen.values()] if self._snapshot is None
            else [frozen[self._snapshot]])

    def rollback_to_snap(self, name: str) -> None:
        """Make it what it was; metadata is not of a snapshot."""
        content = self._usable("rollback").content
        if name not in content.frozen:
            raise self.ceph.rbd.ImageNotFound("error rolling back")
        if self.ceph.watchers.get(content.name):
            raise self.ceph.rbd.ReadOnlyImage("error rolling back")
        content.rollback(name)
