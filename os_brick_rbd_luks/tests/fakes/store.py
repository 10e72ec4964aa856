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

"""A store of images in memory, which can be cloned: a pool."""

from __future__ import annotations

import contextlib
import copy
from typing import Any, Dict, FrozenSet, Iterator, List, Optional, Set

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.fakes import clock as clocks
from os_brick_rbd_luks.tests.fakes import content as contents
from os_brick_rbd_luks.tests.fakes import image as handles
from os_brick_rbd_luks.tests.fakes import rights as permissions
from os_brick_rbd_luks.tests.fakes import steps as stepping


class MemoryStore:
    """Images by name, which can be cloned.

    As in a pool, one that is open for writing or has snapshots cannot be
    removed.

    :ivar rights: what the user may do there, and whether there is space
    :ivar clock: by which locks end
    :ivar stores: the pools of the cluster, by name; only this one at first
    :ivar steps: what the store and its images were asked
    :ivar trash: id -> image that was moved to the trash
    :ivar trash_is_known: whether the bindings know all that is in there
    """

    def __init__(self, *, stripe_period: int = base.DEFAULT_OBJECT_SIZE,
                 object_size: int = base.DEFAULT_OBJECT_SIZE,
                 features: FrozenSet[str] = frozenset(),
                 atomic: bool = True,
                 announced_stripe_period: Optional[int] = None,
                 name: str = "memory",
                 release: Optional[int] = 18,
                 sparse_reads: bool = True, interleaves: bool = False,
                 clock: Optional[clocks.Clock] = None) -> None:
        """Say what new images are like.

        :param announced_stripe_period: what :meth:`stripe_period` tells, if
            not the truth
        :param release: of Ceph, for what librbd can encrypt; None for none
        :param sparse_reads: see :class:`contents.Content`
        :param interleaves: likewise
        """
        self.name = name
        self.release = release
        self.steps = stepping.Steps()
        self.stores: Dict[str, MemoryStore] = {name: self}
        self.rights = permissions.Rights()
        self.clock = clock or clocks.Clock()
        self.contents: Dict[str, contents.Content] = {}
        self._client = next(handles.CLIENTS)
        self.half_removed: Set[str] = set()
        self.trash: Dict[str, contents.Content] = {}
        self.trash_is_known = True
        #: see :class:`base.ImageStore`
        self.made: Dict[str, Optional[str]] = {}
        self._made: Dict[str, Any] = {
            "stripe_period": stripe_period, "object_size": object_size,
            "features": features, "atomic": atomic,
            "sparse_reads": sparse_reads, "interleaves": interleaves}
        self._announced = announced_stripe_period

    def other_client(self) -> MemoryStore:
        """The same pool, over another connection."""
        other = copy.copy(self)
        other._client = next(handles.CLIENTS)
        other.made = {}
        return other

    def images(self) -> List[str]:
        """Names of all images, sorted; those half removed are some."""
        return sorted({*self.contents, *self.half_removed})

    def remove_half(self, name: str) -> None:
        """Do as a client that is killed while librbd removes an image.

        It is in the trash then, from which librbd removes images, and has its
        name in lists; who removes it again completes that.
        """
        self._content(name).detach()
        del self.contents[name]
        self.half_removed.add(name)

    def stripe_period(self, **options: Any) -> int:
        """See :class:`base.Pool`."""
        return self._announced or {**self._made, **options}["stripe_period"]

    def create(self, name: str, size: int, **options: Any
               ) -> handles.MemoryImage:
        """See :class:`base.Pool`.

        :param options: ``stripe_period``, ``object_size``, ``features``,
            ``atomic`` and ``data_pool`` of this image
        """
        self.steps.step("create")
        self.rights.check(f"create {name}")
        made = {**self._made, **options}
        data_pool = made.pop("data_pool", None)
        if data_pool is not None:
            if data_pool not in self.stores:
                raise exception.ImageNotFound(what=f"data pool {data_pool}")
            made["features"] = made["features"] | {"data-pool"}
        return self._make(name, size=size, **made)

    def _make(self, name: str, **options: Any) -> handles.MemoryImage:
        self.made.pop(name, None)
        if name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{name}")
        content = contents.Content(
            name=f"{self.name}/{name}", steps=self.steps, clock=self.clock,
            **options)
        self.contents[name] = content
        self.made[name] = content.image_id
        return handles.MemoryImage(content, rights=self.rights,
                                   librbd=self._librbd, client=self._client)

    def namespaces(self) -> List[str]:
        """As ``image.rbd_pool.Pool.namespaces``."""
        return sorted(name.partition("/")[2] for name in self.stores
                      if name.startswith(f"{self.name}/"))

    def remove(self, name: str) -> None:
        """See :class:`base.Pool`."""
        self.steps.step("remove")
        if name not in self.contents and name in self.half_removed:
            self.half_removed.discard(name)
            return
        content = self._content(name)
        self.rights.check(f"remove {name}", frees=True)
        if content.writers or content.watchers or content.snapshots:
            raise exception.ImageLocked(
                holders="a client that has it open, or a snapshot")
        content.detach()
        del self.contents[name]

    def _content(self, name: str) -> contents.Content:
        if name not in self.contents:
            raise exception.ImageNotFound(what=f"image {self.name}/{name}")
        return self.contents[name]

    # as a store of clones

    def parent(self, image: str, snapshot: str) -> base.Parent:
        """See :class:`base.Pool`."""
        pool, _slash, namespace = self.name.partition("/")
        return base.Parent(pool, namespace, image, snapshot)

    def _librbd(self) -> capabilities.Librbd:
        return capabilities.Librbd(self.release)

    @property
    def librbd(self) -> capabilities.Librbd:
        """See :class:`base.Pool`."""
        return self._librbd()

    def open(self, name: str, read_only: bool = False,
             snapshot: Optional[str] = None) -> handles.MemoryImage:
        """See :class:`base.Pool`."""
        return self._open(name, read_only, snapshot, self)

    def _open(self, name: str, read_only: bool, snapshot: Optional[str],
              client: MemoryStore) -> handles.MemoryImage:
        """Open an image for who has *client*, whose librbd it is."""
        self.steps.step("open")
        if snapshot is not None:
            return handles.MemoryImage(self._frozen(name, snapshot),
                                       True, self.rights, client._librbd)
        content = self._content(name)
        if not read_only:
            # It leaves a watch, which is a write.
            self.rights.check(f"open {name}")
        return handles.MemoryImage(content, read_only, self.rights,
                                   client._librbd, client._client)

    def _frozen(self, name: str, snapshot: str) -> contents.Content:
        found = self._content(name).frozen.get(snapshot)
        if found is None or found.trashed:
            raise exception.ImageNotFound(
                what=f"image {self.name}/{name}@{snapshot}")
        return found

    def _store_of(self, parent: base.Parent) -> MemoryStore:
        name = "/".join(part for part in parent[:2] if part)
        if name not in self.stores:
            raise exception.ImageNotFound(what=f"pool {name}")
        return self.stores[name]

    def open_snapshot(self, parent: base.Parent) -> handles.MemoryImage:
        """See :class:`base.Pool`."""
        self.steps.step("open_snapshot")
        return self._store_of(parent)._open(
            parent.image, False, parent.snapshot, self)

    def open_source(self, parent: base.Parent) -> handles.MemoryImage:
        """See :class:`base.Pool`."""
        self.steps.step("open_source")
        return self._store_of(parent)._open(parent.image, False, None, self)

    def clone(self, parent: base.Parent, name: str) -> handles.MemoryImage:
        """See :class:`base.Pool`."""
        self.steps.step("clone")
        source = self._store_of(parent)._frozen(parent.image,
                                                parent.snapshot)
        self.rights.check(f"clone {parent} to {name}")
        image = self._make(
            name, size=source.size, stripe_period=source.stripe_period,
            object_size=source.object_size, features=source.features,
            interleaves=source.interleaves,
            atomic=source.atomic, sparse_reads=source.sparse_reads,
            parent=parent, below=source, overlap=source.size,
            notes=dict(source.notes))
        source.clones.append(image.content)
        return image

    def copy(self, image: Any, name: str) -> handles.MemoryImage:
        """See :class:`base.Pool`."""
        self.steps.step("copy")
        self.rights.check(f"copy {image.name} to {name}")
        source = image.content
        if not image._read_only:
            raise ValueError("librbd would copy nothing that a parent has")
        made = self._make(
            name, size=source.size, stripe_period=source.stripe_period,
            object_size=source.object_size, features=source.features,
            interleaves=source.interleaves, atomic=source.atomic,
            sparse_reads=self._made["sparse_reads"])
        try:
            source.copied_to(made.content)
        except BaseException:
            # As librbd, which leaves the image.
            made.__exit__()
            raise
        return made

    # as a part of a cluster

    def cluster_pools(self) -> List[str]:
        """See :class:`census.Pool`."""
        self.steps.step("cluster_pools")
        return sorted({name.partition("/")[0] for name in self.stores})

    @contextlib.contextmanager
    def elsewhere(self, name: str, namespace: str = ""
                  ) -> Iterator[MemoryStore]:
        """See :class:`census.Pool`."""
        if name not in {full.partition("/")[0] for full in self.stores}:
            raise exception.ImageNotFound(what=f"pool {name}")
        full = f"{name}/{namespace}" if namespace else name
        found = self.stores.get(full)
        if found is None:
            # A namespace is opened whether it is there or not.
            found = MemoryStore(name=full)
            found.stores = self.stores
        yield found

    def entries(self) -> List[census.Entry]:
        """See :class:`census.Pool`."""
        self.steps.step("entries")
        self.rights.check_read()
        if "/" in self.name and self.name not in self.stores:
            raise exception.ImageNotFound(what=f"namespace {self.name}")
        return [self._entry(name, content)
                for name, content in sorted(self.contents.items())]

    def trashed(self) -> census.Trash:
        """See :class:`census.Pool`."""
        self.steps.step("trashed")
        self.rights.check_read()
        return census.Trash(
            [self._entry(content.name.rpartition("/")[2], content)
             for content in self.trash.values()], self.trash_is_known)

    def _entry(self, name: str, content: contents.Content) -> census.Entry:
        return census.Entry(*self.parent(name, "")[:3], content.image_id,
                            content.in_trash)

    def open_entry(self, entry: census.Entry) -> handles.MemoryImage:
        """See :class:`census.Pool`."""
        self.steps.step("open_entry")
        for content in (*self.contents.values(), *self.trash.values()):
            if content.image_id == entry.id:
                return handles.MemoryImage(content, True, self.rights,
                                           self._librbd)
        raise exception.ImageNotFound(what=f"image {entry.named()}")

    def move_to_trash(self, name: str) -> str:
        """Move an image to the trash, as ``rbd trash mv``.

        :returns: its id
        """
        content = self._content(name)
        del self.contents[name]
        content.in_trash = True
        self.trash[content.image_id] = content
        return content.image_id

    def restore(self, image_id: str, name: str) -> None:
        """Give one in the trash a name, as ``rbd trash restore``."""
        if name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{name}")
        content = self.trash.pop(image_id)
        content.in_trash = False
        content.rename(f"{self.name}/{name}")
        self.contents[name] = content

    def purge(self, image_id: str) -> None:
        """Remove one that is in the trash, as ``rbd trash rm``."""
        content = self.trash[image_id]
        if content.writers or content.watchers or content.snapshots:
            raise exception.ImageLocked(
                holders="a client that has it open, or a snapshot")
        content.detach()
        del self.trash[image_id]

    # as a store of what QEMU opens

    def rename(self, name: str, new_name: str) -> None:
        """See :class:`base.Pool`."""
        self.steps.step("rename")
        content = self._content(name)
        self.rights.check(f"rename {name} to {new_name}")
        if new_name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{new_name}")
        del self.contents[name]
        content.rename(f"{self.name}/{new_name}")
        self.contents[new_name] = content

    def partial_name(self, name: str) -> str:
        """See :class:`base.ImageStore`."""
        return partial.PREFIX + name

    def require_free(self, name: str) -> None:
        """See :class:`base.ImageStore`."""
        with contextlib.suppress(exception.ImageNotFound):
            self.open(name, read_only=True).__exit__()
            raise exception.ImageExists(what=f"image {self.name}/{name}")

    def makers(self, name: str) -> List[str]:
        """See :class:`base.ImageStore`; each open image is a watcher."""
        self.steps.step("makers")
        content = self._content(name)
        return [*content.watchers,
                *["client.0 at 127.0.0.1"] * content.writers]

    def evict(self, name: str) -> None:
        """See :class:`base.Pool`."""
        self.steps.step("evict")
        self._leave(self._content(name))

    @staticmethod
    def _leave(content: contents.Content) -> None:
        """Whoever does not stay is gone, kept away or by himself."""
        content.watchers[:] = content.staying
        if content.staying:
            raise exception.ImageLocked(holders=", ".join(content.staying))

    def wait_alone(self, name: str) -> None:
        """See :class:`base.Pool`."""
        self.steps.step("wait_alone")
        self._leave(self._content(name))

    def block_options(self, name: str, snapshot: Optional[str] = None
                      ) -> base.BlockOptions:
        """See :class:`base.Pool`."""
        pool, _slash, namespace = self.name.partition("/")
        found: base.BlockOptions = {"driver": "rbd", "pool": pool,
                                    "image": name}
        for option, value in (("namespace", namespace),
                              ("snapshot", snapshot)):
            if value:
                found[option] = value
        return found

    def environment(self) -> Dict[str, str]:
        """See :class:`base.Pool`."""
        return {"CEPH_ARGS": f"--of={self.name}"}


def take_snapshot(image: handles.MemoryImage, name: str) -> None:
    """Take a snapshot, unnoticed by the image's log and faults."""
    image.content.freeze(name)
