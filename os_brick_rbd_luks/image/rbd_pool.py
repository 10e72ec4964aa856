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

"""The images of a Ceph pool, over an open ``rados.Ioctx``."""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import (Any, Callable, cast, ContextManager, Dict, Iterator, List,
                    Optional, TYPE_CHECKING)
import weakref

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.image import evict
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import opening
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import places
from os_brick_rbd_luks.image import qemu_options
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import releases

if TYPE_CHECKING:
    import rados
    import rbd


class Pool:
    """The images of a pool, or of a namespace of it."""

    def __init__(self, handle: rados.Rados, ioctx: rados.Ioctx, name: str,
                 user: str, pools: Callable[[str, str], ContextManager[Pool]],
                 client: qemu_options.Client,
                 opened: weakref.WeakSet[rbd_image.RBDImage]) -> None:
        self.name = name
        self._pools = pools
        self._opened = opened
        self._client = client
        self._handle = handle
        self._ioctx = ioctx
        self._user = user
        #: see :class:`~os_brick_rbd_luks.image.base.ImageStore`
        self.made: Dict[str, Optional[str]] = {}

    def _translated(self, action: str, name: str) -> Any:
        return librbd.translated(f"{action} {self.name}/{name}",
                                 f"image {self.name}/{name}", self._user)

    def images(self) -> List[str]:
        """Names of all images, sorted."""
        rbd = librbd.bindings()
        with librbd.translated(f"list the images of {self.name}", self.name,
                               self._user):
            found = sorted(rbd.RBD().list(self._ioctx))
            # Of a namespace that is not there, Ceph lists nothing.
            missing = None if found else places.namespace_missing(
                self._ioctx, self.name)
        if missing is not None:
            raise missing
        return found

    def trash(self) -> Dict[str, str]:
        """Ids of the images in the trash, with the names that they had.

        That is, of those that somebody has put there.
        """
        with librbd.translated(f"list the trash of {self.name}", self.name,
                               self._user):
            return places.in_trash(self._ioctx)

    def trashed(self) -> census.Trash:
        """See :class:`~os_brick_rbd_luks.image.census.Pool`."""
        with librbd.translated(f"list the trash of {self.name}", self.name,
                               self._user):
            found, complete = places.whole_trash(self._ioctx)
        return census.Trash([self._entry(name, image_id, True)
                             for image_id, name in found.items()], complete)

    def entries(self) -> List[census.Entry]:
        """See :class:`~os_brick_rbd_luks.image.census.Pool`."""
        with librbd.translated(f"list the images of {self.name}", self.name,
                               self._user):
            found = sorted((listed["name"], listed["id"]) for listed in
                           librbd.bindings().RBD().list2(self._ioctx))
            missing = None if found else places.namespace_missing(
                self._ioctx, self.name)
        if missing is not None:
            raise missing
        return [self._entry(name, image_id) for name, image_id in found]

    def _entry(self, name: str, image_id: str, in_trash: bool = False
               ) -> census.Entry:
        pool, namespace, _image, _snapshot = self.parent("", "")
        return census.Entry(pool, namespace, name, image_id, in_trash)

    def open_entry(self, entry: census.Entry) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.census.Pool`."""
        image: Optional[rbd.Image] = None
        try:
            with librbd.translated(f"open {entry.named()}",
                                   f"image {entry.named()}", self._user):
                image = (opening.open_by_id(self._ioctx, entry.id)
                         if entry.id else opening.open_image(
                             self._ioctx, entry.image, read_only=True))
            opened = rbd_image.RBDImage(
                image, self._ioctx, entry.named(), self._user,
                self._handle.get_instance_id(), True, self.open_layer)
            self._opened.add(opened)
            return opened
        except BaseException:
            # As in ``open``.
            if image is not None:
                image.close()
            raise

    def cluster_pools(self) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.census.Pool`."""
        with librbd.translated("list the pools", "cluster", self._user):
            return sorted(name for name in self._handle.list_pools()
                          if self._may_have_images(name))

    def _may_have_images(self, name: str) -> bool:
        """Whether a pool is for RBD, or for nothing in particular."""
        try:
            with self._handle.open_ioctx(name) as ioctx:
                applications = ioctx.application_list()
        except librbd.rados_bindings().ObjectNotFound:
            # It was removed since it was listed.
            return False
        return not applications or "rbd" in applications

    def elsewhere(self, name: str, namespace: str = ""
                  ) -> ContextManager[Pool]:
        """See :class:`~os_brick_rbd_luks.image.census.Pool`."""
        return self._pools(name, namespace)

    def parent_in_trash(self, image_id: str) -> Optional[base.Parent]:
        """What an image in the trash is a clone of, None if of nothing.

        :raises ImageNotFound: it is not there any more
        """
        with self._translated("open", f"(in the trash) {image_id}"):
            image = opening.open_by_id(self._ioctx, image_id)
            try:
                return rbd_image.parent_of(image)
            finally:
                image.close()

    def namespaces(self) -> List[str]:
        """Names of the pool's namespaces, sorted; not the pool itself."""
        rbd = librbd.bindings()
        with librbd.translated(f"list the namespaces of {self.name}",
                               self.name, self._user):
            return sorted(rbd.RBD().namespace_list(self._ioctx))

    def stripe_period(self, *, order: Optional[int] = None,
                      stripe_count: Optional[int] = None,
                      **_options: Any) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`; takes what
        :meth:`create` takes.
        """
        order = order or int(self._handle.conf_get("rbd_default_order"))
        count = stripe_count or int(
            self._handle.conf_get("rbd_default_stripe_count"))
        return int(max(count, 1) << order)

    def create(self, name: str, size: int, **options: Any
               ) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`.

        :param options: ``order``, ``features``, ``stripe_unit``,
            ``stripe_count`` and ``data_pool`` of ``rbd.RBD().create``
        """
        return self._make(name, "create", functools.partial(
            librbd.bindings().RBD().create, self._ioctx, name, size,
            old_format=False, **options), options.get("data_pool"))

    def _make(self, name: str, action: str, call: Callable[[], None],
              data_pool: Optional[str] = None) -> rbd_image.RBDImage:
        """Make an image by a *call* of librbd, note that, and open it."""
        self.made.pop(name, None)
        try:
            with places.fit(self._handle, self._ioctx, self.name, data_pool), \
                    self._translated(action, name):
                # A signal that comes while librbd works is handled when
                # Python's next instruction is due. There is none between the
                # end of librbd's call and the entry in the table, which are
                # one call of C: what was made is there, and what was refused,
                # because somebody else has made it, is not.
                self.made.update(zip((name,), itertools.starmap(
                    call, ((),))))
            image = self.open(name)
            self.made[name] = image.identity()
            return image
        except BaseException:
            partial.discard(self, name)
            raise

    def open(self, name: str, read_only: bool = False,
             snapshot: Optional[str] = None) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        full = f"{name}@{snapshot}" if snapshot else name
        read_only = read_only or bool(snapshot)
        image: Optional[rbd.Image] = None
        try:
            with self._finding(name), self._translated("open", full):
                image = opening.open_image(self._ioctx, name, snapshot,
                                           read_only)
            opened = rbd_image.RBDImage(
                image, self._ioctx, f"{self.name}/{full}", self._user,
                self._handle.get_instance_id(), read_only, self.open_layer)
            self._opened.add(opened)
            opened.snapshot = snapshot
            return opened
        except BaseException:
            # Nobody gets it who could close it.
            if image is not None:
                image.close()
            raise

    @contextlib.contextmanager
    def _finding(self, name: str) -> Iterator[None]:
        """Say where an image is that is not found here, if that is known."""
        try:
            yield
        except exception.ImageNotFound as error:
            found = places.missing(self._ioctx, self.name, name)
            if found is None:
                raise
            raise found from error

    def open_layer(self, image_id: str, parent: base.Parent, clone_id: str
                   ) -> rbd_image.RBDImage:
        """Open, wherever it is, a snapshot that something is a clone of.

        :param image_id: of the snapshot's image, which may be in the trash
        :param parent: the snapshot's name, as librbd gives it for a clone
        :param clone_id: of the image that is a clone of it
        """
        image: Optional[rbd.Image] = None
        try:
            with self._pools(parent.pool, parent.namespace) as pool:
                with self._translated("open what it is a clone of:",
                                      str(parent)):
                    image, number = opening.open_layer(
                        pool._ioctx, image_id, parent.snapshot, clone_id)
                opened = rbd_image.RBDImage(
                    image, pool._ioctx, str(parent), self._user,
                    self._handle.get_instance_id(), True, pool.open_layer)
                self._opened.add(opened)
            opened.snapshot, opened.snapshot_id = parent.snapshot, number
            return opened
        except BaseException:
            # As in ``open``.
            if image is not None:
                image.close()
            raise

    def parent(self, image: str, snapshot: str) -> base.Parent:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        pool, _slash, namespace = self.name.partition("/")
        return base.Parent(pool, namespace, image, snapshot)

    def open_snapshot(self, parent: base.Parent) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self._pools(parent.pool, parent.namespace) as pool:
            return pool.open(parent.image, snapshot=parent.snapshot)

    def open_source(self, parent: base.Parent) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self._pools(parent.pool, parent.namespace) as pool:
            return pool.open(parent.image)

    def clone(self, parent: base.Parent, name: str) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`; parents need
        no protection.
        """
        with self._pools(parent.pool, parent.namespace) as pool:
            return self._make(name, f"clone {parent} to", functools.partial(
                librbd.bindings().RBD().clone, pool._ioctx, parent.image,
                parent.snapshot, self._ioctx, name))

    def copy(self, image: base.RBDImage, name: str) -> rbd_image.RBDImage:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        source = cast(rbd_image.RBDImage, image)
        return self._make(name, f"copy {image.name} to", functools.partial(
            source.copy_to, self._ioctx, name))

    @property
    def librbd(self) -> capabilities.Librbd:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return releases.installed()

    def remove(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        rbd = librbd.bindings()
        # Or else a full pool would not let go of what fills it.
        self._ioctx.set_osdmap_full_try()
        try:
            with self._translated("remove", name):
                rbd.RBD().remove(self._ioctx, name)
        except exception.ImageNotFound:
            # What librbd says when a quota keeps it from its own trash.
            if name in self.images():
                raise exception.ImageFull(
                    action=f"remove {self.name}/{name}") from None
            raise
        except exception.ImageError as error:
            if isinstance(error.__cause__, (
                    rbd.ImageBusy, rbd.ImageHasSnapshots,
                    rbd.InvalidArgument)):
                with exception.about(f"{self.name}/{name}"):
                    places.explain_removal(self._ioctx, name, error)
            raise
        finally:
            self._ioctx.unset_osdmap_full_try()

    def rename(self, name: str, new_name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        rbd = librbd.bindings()
        with self._translated(f"rename {name} to", new_name):
            rbd.RBD().rename(self._ioctx, name, new_name)

    def partial_name(self, name: str) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        return partial.PREFIX + name

    def require_free(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        # The objects that an image of either format has by its name: to look
        # for one that is not there by opening it takes ten times as long.
        for key in (f"rbd_id.{name}", f"{name}.rbd"):
            with contextlib.suppress(exception.ImageNotFound), \
                    self._translated("look for", name):
                self._ioctx.stat(key)
                raise exception.ImageExists(what=f"image {self.name}/{name}")

    def makers(self, name: str) -> List[str]:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`."""
        with self.open(name, read_only=True) as image:
            return image.watchers()

    @property
    def client_number(self) -> int:
        """By which others see this client, as a watcher."""
        return int(self._handle.get_instance_id())

    def evict(self, name: str, only: Optional[int] = None) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.ImageStore`; their
        addresses are blocklisted.

        :param only: number of the only client to be evicted
        """
        # And what a signal kept from being closed here.
        full = f"{self.name}/{name}"
        rbd_image.close_all(image for image in self._opened
                            if image.name == full)
        with self.open(name, read_only=True) as image, \
                self._translated("evict other clients of", name):
            evict.all_from(self._handle, image, only)

    def wait_alone(self, name: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        with self.open(name, read_only=True) as image, \
                self._translated("wait for other clients of", name):
            evict.wait(self._handle, image)

    def block_options(self, name: str, snapshot: Optional[str] = None
                      ) -> base.BlockOptions:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return self._client.options(self.name, name, snapshot)

    def environment(self) -> Dict[str, str]:
        """See :class:`~os_brick_rbd_luks.image.base.Pool`."""
        return self._client.environment()
