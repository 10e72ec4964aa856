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

"""Images as a store in memory keeps them: objects, snapshots and parents.

A write within one object is applied as a whole or not at all, as RADOS does
it; ``atomic=False`` makes images whose writes tear at any byte, as a plain
file's do.

Clones share objects with a snapshot until they write to them. As in librbd
they begin with a copy of the metadata of the image they are cloned from. A
snapshot with clones that is removed goes out of sight only: it gets another
name and is there until the last of them is gone (clones of the second
format).
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Dict, FrozenSet, List, Optional, Set, Tuple
import uuid

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.tests.fakes import clock as clocks
from os_brick_rbd_luks.tests.fakes import objects as kept
from os_brick_rbd_luks.tests.fakes import steps as stepping

_IDS = itertools.count(1)

#: As librbd's own locks: native threads wait for them, in any process.
_THREADING = native_threads.original("threading")


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
    objects: Dict[int, kept.Object] = dataclasses.field(default_factory=dict)
    snapshots: List[str] = dataclasses.field(default_factory=list)
    watchers: List[str] = dataclasses.field(default_factory=list)
    log: List[stepping.Event] = dataclasses.field(default_factory=list)
    #: offset and data of every write that was done
    written: List[Tuple[int, bytes]] = dataclasses.field(
        default_factory=list)
    #: open images
    handles: int = 0
    #: of those that are open for writing: watch -> number of the client
    watches: Dict[str, int] = dataclasses.field(default_factory=dict)
    #: who holds the header's lock, and until when
    holder: Any = None
    held_until: float = 0.0
    clock: clocks.Clock = dataclasses.field(default_factory=clocks.Clock)
    #: wakes those who wait for the lock
    released: Any = dataclasses.field(
        default_factory=_THREADING.Condition)
    #: what it is a clone of, that snapshot, and how many bytes of it count
    parent: Optional[base.Parent] = None
    below: Optional[Content] = None
    overlap: int = 0
    #: of a snapshot: its image, and its clones
    image: Optional[Content] = None
    clones: List[Content] = dataclasses.field(default_factory=list)
    #: of a clone: 1 if its parent had to be protected
    clone_format: int = 2
    #: of a snapshot: removed, and there for its clones only
    trashed: bool = False
    #: whether the image is in the trash
    in_trash: bool = False
    #: what of it cannot be opened from here: kind and description
    hidden: List[Tuple[str, str]] = dataclasses.field(default_factory=list)
    #: snapshots as they were taken; a test may name more in ``snapshots``
    frozen: Dict[str, Content] = dataclasses.field(default_factory=dict)
    #: names of the snapshots that are protected
    protected: Set[str] = dataclasses.field(default_factory=set)
    #: the image's metadata, which its snapshots share
    notes: Dict[str, str] = dataclasses.field(default_factory=dict)
    steps: stepping.Steps = dataclasses.field(
        default_factory=stepping.Steps)
    #: the open image that does not hand that over
    keeper: Any = None
    #: the open image that has librbd's exclusive lock
    owner: Any = None
    #: keeps writes of several threads apart
    guard: Any = dataclasses.field(default_factory=_THREADING.RLock)
    #: whether the OSDs tell holes from zeros, if they are asked to
    sparse_reads: bool = True
    #: whether its objects have several stretches of the image; only told
    interleaves: bool = False
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
            self._own(number).put(start, bytes(view[:count]))
            offset, view = offset + count, view[count:]

    def _own(self, number: int) -> kept.Object:
        """An object for writing, which has what the parent's has."""
        if number not in self.objects:
            copied = kept.Object()
            for begin, end in self.written_in(number):
                copied.put(begin, self.inherited(
                    number * self.object_size + begin, end - begin))
            self.objects[number] = copied
        return self.objects[number]

    def written_in(self, number: int, told: bool = True) -> kept.Extents:
        """What of an object is no hole, here or in the parent.

        As the OSDs tell it: only in bluestore is a hole before the end of an
        object known to be one.

        :param told: whether they are asked
        """
        found = self.objects.get(number)
        if found is None:
            if self.below is None:
                return []
            end = self.overlap - number * self.object_size
            return kept.without(self.below.written_in(number, told),
                                   max(end, 0), kept.MOST)
        if told and self.sparse_reads:
            return found.written
        return [(0, len(found))] if found else []

    def holder_of(self, number: int) -> Content:
        """The image that has an object: this one, or one below it."""
        if number in self.objects or self.below is None:
            return self
        return self.below.holder_of(number)

    def read_extents(self, number: int, length: int, threshold: int
                     ) -> kept.Extents:
        """What of an object a read of so many bytes gives.

        :param threshold: from how many bytes on librbd asks for holes
        """
        return self.written_in(number, length >= threshold)

    def resize(self, size: int) -> None:
        """Cut off or add zeros."""
        for number in [*self.objects]:
            start = number * self.object_size
            if start >= size:
                del self.objects[number]
            else:
                self.objects[number].truncate(size - start)
        self.size = size
        self.overlap = min(self.overlap, size)

    def rollback(self, snapshot: str) -> None:
        """Have what a snapshot has; metadata is not of a snapshot."""
        then = self.frozen[snapshot].copy()
        for field in ("size", "objects", "parent", "below", "overlap"):
            setattr(self, field, getattr(then, field))

    def zero(self, offset: int, length: int) -> None:
        """Discard, as much of it as librbd does."""
        end = min(offset + length, self.size)
        while offset < end:
            number, start = divmod(offset, self.object_size)
            stop = min(start + end - offset, self.object_size)
            self._discard(number, *kept.discarded(start, stop,
                                                     self.object_size))
            offset += stop - start

    def punch(self, offset: int, length: int) -> None:
        """Make a hole of every byte."""
        end = min(offset + length, self.size)
        while offset < end:
            number, start = divmod(offset, self.object_size)
            stop = min(start + end - offset, self.object_size)
            self._discard(number, start, stop)
            offset += stop - start

    def _discard(self, number: int, begin: int, end: int) -> None:
        if begin == end:
            return
        if end - begin == self.object_size:
            self.hide(number)
        elif number in self.objects or self.written_in(number):
            target = self._own(number)
            if end == self.object_size:
                target.truncate(begin)
            else:
                target.punch(begin, end)

    def hide(self, number: int) -> None:
        """Let an object be zeros, whatever the parent has there."""
        if number * self.object_size < self.overlap:
            # Empty, which hides the parent's.
            self.objects[number] = kept.Object()
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
                if content.written_in(number):
                    content._own(number)
        self.detach()

    def detach(self) -> None:
        """Be a clone no more."""
        below = self.below
        for content in (self, *self.frozen.values()):
            content.parent, content.below, content.overlap = None, None, 0
        if below:
            below.clones.remove(self)
            if below.trashed and not below.clones and below.image:
                below.image.forget(below)

    def copied_to(self, other: Content) -> None:
        """Copy it as librbd does: whole objects, but those of zeros."""
        other.notes.update(self.notes)
        for number in self.allocated():
            offset = number * self.object_size
            data = self.read(offset, min(self.object_size,
                                         self.size - offset))
            if not base.is_zero(data):
                other.write(offset, data)

    def freeze(self, snapshot: str) -> None:
        """Take a snapshot."""
        self.snapshots.append(snapshot)
        taken = self.copy()
        taken.name = f"{self.name}@{snapshot}"
        taken.image_id = f"{self.image_id}@{next(_IDS)}"
        taken.notes, taken.steps = self.notes, self.steps
        taken.image = self
        self.frozen[snapshot] = taken

    def thaw(self, snapshot: str) -> None:
        """Remove a snapshot; out of sight only, if it has clones."""
        taken = self.frozen[snapshot]
        self.protected.discard(snapshot)
        if not taken.clones:
            self.forget(taken)
            return
        name = str(uuid.uuid4())
        self.frozen[name] = self.frozen.pop(snapshot)
        self.snapshots[self.snapshots.index(snapshot)] = name
        taken.trashed = True
        for clone in taken.clones:
            for content in (clone, *clone.frozen.values()):
                if content.parent:
                    content.parent = content.parent._replace(snapshot=name)

    def forget(self, taken: Content) -> None:
        """Remove what was taken as a snapshot."""
        for name in [name for name, found in self.frozen.items()
                     if found is taken]:
            del self.frozen[name]
            self.snapshots.remove(name)

    def kept(self) -> Dict[str, str]:
        """Snapshots that are there for their clones only: what they were."""
        return {name: taken.name.rpartition("@")[2]
                for name, taken in self.frozen.items() if taken.trashed}

    def rename(self, name: str) -> None:
        """Get another name, which its snapshots and their clones know of."""
        self.name = name
        for taken in self.frozen.values():
            taken.name = f"{name}@{taken.name.rpartition('@')[2]}"
            for clone in taken.clones:
                for content in (clone, *clone.frozen.values()):
                    if content.parent and content.below is taken:
                        content.parent = content.parent._replace(
                            image=name.rpartition("/")[2])

    @property
    def children(self) -> int:
        """How many clones this snapshot has."""
        return len(self.clones)

    def threshold(self) -> int:
        """Bytes of the smallest read that asks the OSDs for holes."""
        return int(self.notes.get("conf_rbd_sparse_read_threshold_bytes",
                                  kept.THRESHOLD))

    def whole(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)

    @property
    def writers(self) -> int:
        """How many have it open for writing."""
        return len(self.watches)

    def close_all(self) -> None:
        """Do what Ceph does to the images of a dead client."""
        self.handles = 0
        self.watches.clear()

    def copy(self) -> Content:
        """An image with the same bytes; nothing has happened to it yet."""
        return Content(self.name, self.size, self.stripe_period,
                       self.object_size, self.features, self.atomic,
                       {number: found.copied()
                        for number, found in self.objects.items()},
                       parent=self.parent, below=self.below,
                       overlap=self.overlap, notes=dict(self.notes),
                       sparse_reads=self.sparse_reads, clock=self.clock,
                       interleaves=self.interleaves)

    def torn(self, offset: int, length: int, after: int) -> int:
        """How many bytes of a write that stops *after* so many stay."""
        after = min(after, length)
        if not self.atomic or after == length:
            return after
        return max((offset + after) // self.object_size * self.object_size
                   - offset, 0)
