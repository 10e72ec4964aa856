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

"""Images in memory: a store that behaves, fails when told, and keeps a log.

A write within one object is applied as a whole or not at all, as RADOS does
it; ``atomic=False`` makes a store whose writes tear at any byte, as a plain
file's do.

Clones share objects with a snapshot until they write to them. As in librbd
they begin with a copy of the metadata of the image they are cloned from.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import threading
from typing import (Any, Callable, Dict, FrozenSet, Iterator, List,
                    NamedTuple, Optional, Set, Tuple, Union)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect

#: Seconds to wait for another holder of an image's lock.
LOCK_WAIT = 10.0

_IDS = itertools.count(1)

#: The magic of a clone's own header -> that of a volume without a parent.
_WITHOUT_PARENT = {detect.CLONE_MAGIC: detect.MAGIC,
                   detect.SECONDARY_CLONE_MAGIC: detect.SECONDARY_MAGIC}


class Event(NamedTuple):
    """One line of an image's log."""

    #: lock, unlock, renew, write, flush or resize
    kind: str
    offset: int = 0
    length: int = 0


@dataclasses.dataclass
class Fault:
    """What goes wrong, and when.

    :ivar write: number of the write that fails, counted from 0 as of when
        the fault is set
    :ivar error: what it raises
    :ivar after: how many bytes of it reach the image; None for all, as when
        the answer gets lost
    :ivar dies: whether everything after it fails as well
    """

    write: int
    error: BaseException
    after: Optional[int] = 0
    dies: bool = False
    seen: int = 0
    happened: bool = False


class Steps:
    """What a store and its images were asked to do, one by one.

    :ivar done: names of the calls, in order
    :ivar faults: name of a call, or its number in ``done`` -> what it
        raises instead of doing anything, once
    :ivar before: name of a call -> what happens before it, once
    """

    def __init__(self) -> None:
        self.done: List[str] = []
        self.faults: Dict[Union[str, int], BaseException] = {}
        self.before: Dict[str, Callable[[], None]] = {}

    def step(self, name: str) -> None:
        """Note a call; let happen what a test planned for it."""
        number = len(self.done)
        self.done.append(name)
        before = self.before.pop(name, None)
        if before:
            before()
        for key in (name, number):
            error = self.faults.pop(key, None)
            if error:
                raise error


@dataclasses.dataclass(eq=False)
class Content:
    """An image as the store keeps it; several handles may have it open."""

    name: str
    size: int
    stripe_period: int
    object_size: int
    features: FrozenSet[str]
    atomic: bool
    #: by number; those never written to are not there
    objects: Dict[int, bytearray] = dataclasses.field(default_factory=dict)
    snapshots: List[str] = dataclasses.field(default_factory=list)
    watchers: List[str] = dataclasses.field(default_factory=list)
    log: List[Event] = dataclasses.field(default_factory=list)
    #: offset and data of every write that was done
    written: List[Tuple[int, bytes]] = dataclasses.field(
        default_factory=list)
    fault: Optional[Fault] = None
    #: called before the lock is taken and before it is renewed
    before_lock: Optional[Callable[[], None]] = None
    before_renew: Optional[Callable[[], None]] = None
    handles: int = 0
    mutex: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    #: what it is a clone of, that snapshot, and how many bytes of it count
    parent: Optional[base.Parent] = None
    below: Optional[Content] = None
    overlap: int = 0
    #: of a snapshot: how many clones it has
    children: int = 0
    #: snapshots as they were taken; a test may name more in ``snapshots``
    frozen: Dict[str, Content] = dataclasses.field(default_factory=dict)
    #: names of the snapshots that are protected
    protected: Set[str] = dataclasses.field(default_factory=set)
    #: the image's metadata, which its snapshots share
    notes: Dict[str, str] = dataclasses.field(default_factory=dict)
    steps: Steps = dataclasses.field(default_factory=Steps)
    #: the open image that has librbd's exclusive lock
    owner: Any = None
    #: keeps writes of several threads apart
    guard: Any = dataclasses.field(default_factory=threading.RLock)
    #: of Ceph, for what librbd can encrypt
    release: Optional[int] = 18
    #: whether the OSDs tell holes from zeros, if they are asked to
    sparse_reads: bool = True
    #: those who keep it open, waited for or blocklisted
    staying: List[str] = dataclasses.field(default_factory=list)
    #: of a snapshot, its own behind that of its image
    image_id: str = dataclasses.field(
        default_factory=lambda: f"id{next(_IDS)}")

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the image, or of its parent; holes are zeros."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            number, start = divmod(offset, self.object_size)
            count = min(end - offset, self.object_size - start)
            found = self.objects.get(number)
            parts.append(self.inherited(offset, count) if found is None else
                         bytes(found[start:start + count]).ljust(count,
                                                                 b"\0"))
            offset += count
        return b"".join(parts)

    def inherited(self, offset: int, length: int) -> bytes:
        """What the parent has there; zeros without one."""
        count = max(0, min(length, self.overlap - offset))
        found = self.below.read(offset, count) if self.below else b""
        return found.ljust(length, b"\0")

    def write(self, offset: int, data: bytes) -> None:
        """Write, without any log or fault."""
        with self.guard:
            self._write(offset, data)

    def _write(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            number, start = divmod(offset, self.object_size)
            count = min(len(view), self.object_size - start)
            target = self.objects.get(number)
            if target is None:
                target = bytearray(self.inherited(
                    number * self.object_size, self.object_size))
            elif not target:
                target = bytearray(self.object_size)
            self.objects[number] = target
            target[start:start + count] = view[:count]
            offset, view = offset + count, view[count:]

    def resize(self, size: int) -> None:
        """Cut off or add zeros."""
        for number in [*self.objects]:
            start = number * self.object_size
            if start >= size:
                del self.objects[number]
            elif start + self.object_size > size and self.objects[number]:
                rest = start + self.object_size - size
                self.objects[number][size - start:] = bytes(rest)
        self.size = size
        self.overlap = min(self.overlap, size)

    def zero(self, offset: int, length: int) -> None:
        """Discard the whole objects there; parts of objects stay."""
        for number in range(-(-offset // self.object_size),
                            (offset + length) // self.object_size):
            if number * self.object_size < self.overlap:
                # Empty, which hides the parent's.
                self.objects[number] = bytearray()
            else:
                self.objects.pop(number, None)

    def allocated(self) -> List[int]:
        """Numbers of the objects there are, here or in what counts of the
        parent.
        """
        found = {*self.objects}
        if self.below:
            found.update(number for number in self.below.allocated()
                         if number * self.object_size < self.overlap)
        return sorted(found)

    def flatten(self) -> None:
        """Copy what the parent has, into the snapshots as well."""
        for content in (self, *self.frozen.values()):
            for number in range(-(-content.overlap // self.object_size)):
                data = content.inherited(number * self.object_size,
                                         self.object_size)
                if number not in content.objects and data.strip(b"\0"):
                    content.objects[number] = bytearray(data)
        self.detach()

    def detach(self) -> None:
        """Be a clone no more."""
        if self.below:
            self.below.children -= 1
        for content in (self, *self.frozen.values()):
            content.parent, content.below, content.overlap = None, None, 0

    def freeze(self, snapshot: str) -> None:
        """Take a snapshot."""
        self.snapshots.append(snapshot)
        taken = self.copy()
        taken.name = f"{self.name}@{snapshot}"
        taken.image_id = f"{self.image_id}@{next(_IDS)}"
        taken.notes, taken.steps = self.notes, self.steps
        self.frozen[snapshot] = taken

    def whole(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)

    def copy(self) -> Content:
        """An image with the same bytes; nothing has happened to it yet."""
        return Content(self.name, self.size, self.stripe_period,
                       self.object_size, self.features, self.atomic,
                       {number: bytearray(data)
                        for number, data in self.objects.items()},
                       parent=self.parent, below=self.below,
                       overlap=self.overlap, notes=dict(self.notes),
                       release=self.release, sparse_reads=self.sparse_reads)

    def torn(self, offset: int, length: int, after: int) -> int:
        """How many bytes of a write that stops *after* so many stay."""
        after = min(after, length)
        if not self.atomic or after == length:
            return after
        return max((offset + after) // self.object_size * self.object_size
                   - offset, 0)


class MemoryLock:
    """The held lock of an image."""

    def __init__(self, content: Content) -> None:
        self._content = content

    def renew(self) -> None:
        """See :class:`base.HeldLock`."""
        if self._content.before_renew:
            self._content.before_renew()
        self._content.log.append(Event("renew"))


class MemoryImage:
    """An open image of a :class:`MemoryStore`."""

    def __init__(self, content: Content, read_only: bool = False) -> None:
        self.name = content.name
        self.content = content
        self._read_only = read_only
        self._open = True
        self._plain: Any = None
        #: whether holes are asked for: librbd looks when an image is opened
        self.asks_for_holes = content.notes.get(
            "conf_rbd_sparse_read_threshold_bytes") == "1"
        content.handles += 1

    def __enter__(self) -> MemoryImage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._open:
            self._open = False
            self.content.handles -= 1
            if not any(exc_info):
                self.content.steps.step("close")

    def _usable(self) -> Content:
        if not self._open:
            raise ValueError(f"{self.name} is closed")
        fault = self.content.fault
        if fault and fault.dies and fault.happened:
            raise fault.error
        return self.content

    def _writable(self) -> Content:
        content = self._usable()
        if self._read_only:
            raise exception.ImageReadOnly()
        return content

    def size(self) -> int:
        """See :class:`base.Image`."""
        content = self._usable()
        return self._plain.size() if self._plain else content.size

    def stripe_period(self) -> int:
        """See :class:`base.Image`."""
        return self._usable().stripe_period

    def is_deep_clone(self) -> bool:
        """See :class:`base.Image`."""
        content = self._usable()
        return content.below is not None and (
            content.overlap < content.size
            or content.below.below is not None)

    def features(self) -> FrozenSet[str]:
        """See :class:`base.Image`."""
        return self._usable().features

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`base.Image`."""
        if self._plain:
            return self._plain.read(offset, length)
        return self.read_raw(offset, length)

    def read_raw(self, offset: int, length: int) -> bytes:
        """Read cipher text also with the encryption loaded."""
        content = self._usable()
        content.steps.step("read")
        return content.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`base.Image`."""
        if self._plain:
            self._plain.write(offset, data)
        else:
            self.write_raw(offset, data)

    def write_raw(self, offset: int, data: bytes) -> None:
        """Write cipher text also with the encryption loaded."""
        content = self._writable()
        with content.guard:
            self._write(content, offset, data)

    def _write(self, content: Content, offset: int, data: bytes) -> None:
        content.steps.step("write")
        if offset + len(data) > content.size:
            raise exception.ImageTooSmall(size=content.size,
                                          needed=offset + len(data))
        fault = content.fault
        if fault and not fault.happened:
            fault.happened = fault.seen == fault.write
            fault.seen += 1
            if fault.happened:
                count = content.torn(
                    offset, len(data),
                    len(data) if fault.after is None else fault.after)
                content.write(offset, data[:count])
                raise fault.error
        content.log.append(Event("write", offset, len(data)))
        content.written.append((offset, bytes(data)))
        content.write(offset, data)

    def flush(self) -> None:
        """See :class:`base.Image`."""
        content = self._usable()
        content.steps.step("flush")
        content.log.append(Event("flush"))

    def resize(self, size: int) -> None:
        """See :class:`base.Image`."""
        content = self._writable()
        content.steps.step("resize")
        content.log.append(Event("resize", 0, size))
        content.resize(size)

    def has_data(self, offset: int = 0) -> bool:
        """See :class:`base.Image`."""
        content = self._usable()
        content.steps.step("has_data")
        number = -(-offset // content.object_size)
        head = content.read(offset, number * content.object_size - offset)
        return head.count(0) != len(head) or any(
            found >= number for found in content.allocated())

    def snapshots(self) -> List[str]:
        """See :class:`base.Image`."""
        return list(self._usable().snapshots)

    def watchers(self) -> List[str]:
        """See :class:`base.Image`."""
        return list(self._usable().watchers)

    @contextlib.contextmanager
    def lock(self) -> Iterator[MemoryLock]:
        """See :class:`base.Image`."""
        content = self._usable()
        content.steps.step("lock")
        if content.before_lock:
            content.before_lock()
        if not content.mutex.acquire(timeout=LOCK_WAIT):
            raise exception.ImageLocked(holders="another header operation")
        content.log.append(Event("lock"))
        try:
            yield MemoryLock(content)
        finally:
            content.log.append(Event("unlock"))
            content.mutex.release()

    # as a layered image

    def identity(self) -> str:
        """See :class:`base.LayeredImage`."""
        content = self._usable()
        content.steps.step("identity")
        return content.image_id

    def parent(self) -> Optional[base.Parent]:
        """See :class:`base.LayeredImage`."""
        content = self._usable()
        content.steps.step("parent")
        return content.parent

    def _snapshot(self, snapshot: str) -> Content:
        content = self._usable()
        if snapshot not in content.snapshots:
            raise exception.ImageNotFound(what=f"snapshot {snapshot}")
        return content.frozen[snapshot]

    def children(self, snapshot: str) -> int:
        """See :class:`base.LayeredImage`."""
        self._usable().steps.step("children")
        return self._snapshot(snapshot).children

    def create_snapshot(self, snapshot: str) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("create_snapshot")
        if snapshot in content.snapshots:
            raise exception.ImageExists(what=f"snapshot {snapshot}")
        content.freeze(snapshot)

    def protect_snapshot(self, snapshot: str) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("protect_snapshot")
        self._snapshot(snapshot)
        content.protected.add(snapshot)

    def remove_snapshot(self, snapshot: str) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("remove_snapshot")
        if self._snapshot(snapshot).children:
            raise exception.ImageLocked(holders="a clone")
        content.protected.discard(snapshot)
        content.snapshots.remove(snapshot)
        del content.frozen[snapshot]

    def extents(self) -> Iterator[Tuple[int, int]]:
        """See :class:`base.LayeredImage`."""
        content = self._usable()
        content.steps.step("extents")
        for number in content.allocated():
            offset = number * content.object_size
            yield offset, min(content.object_size, content.size - offset)

    def load_encryption(self, header_type: str, *passphrases: bytes) -> None:
        """See :class:`base.LayeredImage`."""
        # It opens images itself.
        from os_brick_rbd_luks.tests.fakes import encrypted
        content = self._usable()
        content.steps.step("load_encryption")
        try:
            self._plain = encrypted.load(self, content.release, header_type,
                                         *passphrases)
        except ValueError as error:
            raise exception.ImageIOError(action="load the encryption",
                                         reason=str(error)) from error

    def zero(self, offset: int, length: int) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("zero")
        content.zero(offset, length)

    def flatten(self) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("flatten")
        if self._plain is None:
            content.flatten()
            return
        # librbd encrypts what it copies, with the image's own volume key.
        for offset in range(0, self._plain.size(), content.object_size):
            data = self._plain.read(offset, content.object_size)
            if data.strip(b"\0"):
                self._plain.write(offset, data)
        content.detach()
        # And takes the mark of a clone away, in both copies of the header.
        start = content.read(0, detect.START)
        for offset in (0, *detect.secondaries(start)):
            mark = content.read(offset, len(detect.MAGIC))
            content.write(offset, _WITHOUT_PARENT.get(mark, mark))

    def note(self, key: str) -> Optional[str]:
        """See :class:`base.LayeredImage`."""
        content = self._usable()
        content.steps.step("note")
        return content.notes.get(key)

    def set_note(self, key: str, value: Optional[str]) -> None:
        """See :class:`base.LayeredImage`."""
        content = self._writable()
        content.steps.step("set_note")
        content.notes.pop(key, None)
        if value is not None:
            content.notes[key] = value


class MemoryStore:
    """Images by name, which can be cloned.

    As in a pool, one that is open or has snapshots cannot be removed.

    :ivar stores: the pools of the cluster, by name; only this one at first
    :ivar steps: what the store and its images were asked
    """

    def __init__(self, *, stripe_period: int = base.DEFAULT_OBJECT_SIZE,
                 object_size: int = base.DEFAULT_OBJECT_SIZE,
                 features: FrozenSet[str] = frozenset(),
                 atomic: bool = True,
                 announced_stripe_period: Optional[int] = None,
                 fault: Optional[Fault] = None, name: str = "memory",
                 release: Optional[int] = 18,
                 sparse_reads: bool = True) -> None:
        """Say what new images are like.

        :param announced_stripe_period: what :meth:`stripe_period` tells, if
            not the truth
        :param fault: for the first image that is made
        :param release: of Ceph, for what librbd can encrypt; None for none
        :param sparse_reads: see :class:`Content`
        """
        self.name = name
        self.release = release
        self.steps = Steps()
        self.stores: Dict[str, MemoryStore] = {name: self}
        self.contents: Dict[str, Content] = {}
        self._made: Dict[str, Any] = {
            "stripe_period": stripe_period, "object_size": object_size,
            "features": features, "atomic": atomic, "release": release,
            "sparse_reads": sparse_reads}
        self._announced = announced_stripe_period
        self._fault = fault

    def images(self) -> List[str]:
        """Names of all images, sorted."""
        return sorted(self.contents)

    def stripe_period(self, **options: Any) -> int:
        """See :class:`base.ImageStore`."""
        return self._announced or {**self._made, **options}["stripe_period"]

    def create(self, name: str, size: int, **options: Any) -> MemoryImage:
        """See :class:`base.ImageStore`.

        :param options: ``stripe_period``, ``object_size``, ``features`` and
            ``atomic`` of this image
        """
        self.steps.step("create")
        return self._make(name, size=size, **{**self._made, **options})

    def _make(self, name: str, **options: Any) -> MemoryImage:
        if name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{name}")
        content = Content(name=f"{self.name}/{name}", steps=self.steps,
                          **options)
        content.fault, self._fault = self._fault, None
        self.contents[name] = content
        return MemoryImage(content)

    def open(self, name: str, read_only: bool = False) -> MemoryImage:
        """See :class:`base.ImageStore`."""
        return self.open_layered(name, read_only)

    def remove(self, name: str) -> None:
        """See :class:`base.ImageStore`."""
        self.steps.step("remove")
        content = self._content(name)
        if content.handles or content.watchers or content.snapshots:
            raise exception.ImageLocked(
                holders="a client that has it open, or a snapshot")
        content.detach()
        del self.contents[name]

    def _content(self, name: str) -> Content:
        if name not in self.contents:
            raise exception.ImageNotFound(what=f"image {self.name}/{name}")
        return self.contents[name]

    # as a store of clones

    def parent(self, image: str, snapshot: str) -> base.Parent:
        """See :class:`base.CloneStore`."""
        pool, _slash, namespace = self.name.partition("/")
        return base.Parent(pool, namespace, image, snapshot)

    def open_layered(self, name: str, read_only: bool = False,
                     snapshot: Optional[str] = None) -> MemoryImage:
        """See :class:`base.CloneStore`."""
        self.steps.step("open")
        if snapshot is None:
            return MemoryImage(self._content(name), read_only)
        return MemoryImage(self._frozen(name, snapshot), read_only=True)

    def _frozen(self, name: str, snapshot: str) -> Content:
        found = self._content(name).frozen.get(snapshot)
        if found is None:
            raise exception.ImageNotFound(
                what=f"image {self.name}/{name}@{snapshot}")
        return found

    def _store_of(self, parent: base.Parent) -> MemoryStore:
        name = "/".join(part for part in parent[:2] if part)
        if name not in self.stores:
            raise exception.ImageNotFound(what=f"pool {name}")
        return self.stores[name]

    def open_snapshot(self, parent: base.Parent) -> MemoryImage:
        """See :class:`base.CloneStore`."""
        self.steps.step("open_snapshot")
        return self._store_of(parent).open_layered(
            parent.image, snapshot=parent.snapshot)

    def open_source(self, parent: base.Parent) -> MemoryImage:
        """See :class:`base.CloneStore`."""
        self.steps.step("open_source")
        return self._store_of(parent).open_layered(parent.image)

    def clone(self, parent: base.Parent, name: str) -> MemoryImage:
        """See :class:`base.CloneStore`."""
        self.steps.step("clone")
        source = self._store_of(parent)._frozen(parent.image,
                                                parent.snapshot)
        image = self._make(
            name, size=source.size, stripe_period=source.stripe_period,
            object_size=source.object_size, features=source.features,
            atomic=source.atomic, release=source.release,
            sparse_reads=source.sparse_reads, parent=parent, below=source,
            overlap=source.size, notes=dict(source.notes))
        source.children += 1
        return image

    def encryption_release(self) -> Optional[int]:
        """See :class:`base.CloneStore`."""
        return self.release

    # as a store of what QEMU opens

    def rename(self, name: str, new_name: str) -> None:
        """See :class:`base.BlockStore`."""
        self.steps.step("rename")
        content = self._content(name)
        if new_name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{new_name}")
        del self.contents[name]
        content.name = f"{self.name}/{new_name}"
        self.contents[new_name] = content

    def evict(self, name: str) -> None:
        """See :class:`base.BlockStore`."""
        self.steps.step("evict")
        self._leave(self._content(name))

    @staticmethod
    def _leave(content: Content) -> None:
        """Whoever does not stay is gone, kept away or by himself."""
        content.watchers[:] = content.staying
        if content.staying:
            raise exception.ImageLocked(holders=", ".join(content.staying))

    def wait_alone(self, name: str) -> None:
        """See :class:`base.BlockStore`."""
        self.steps.step("wait_alone")
        self._leave(self._content(name))

    def block_options(self, name: str, snapshot: Optional[str] = None
                      ) -> base.BlockOptions:
        """See :class:`base.BlockStore`."""
        pool, _slash, namespace = self.name.partition("/")
        found: base.BlockOptions = {"driver": "rbd", "pool": pool,
                                    "image": name}
        for option, value in (("namespace", namespace),
                              ("snapshot", snapshot)):
            if value:
                found[option] = value
        return found

    def environment(self) -> Dict[str, str]:
        """See :class:`base.BlockStore`."""
        return {"CEPH_ARGS": f"--of={self.name}"}


def take_snapshot(image: MemoryImage, name: str) -> None:
    """Take a snapshot, unnoticed by the image's log and faults."""
    image.content.freeze(name)
