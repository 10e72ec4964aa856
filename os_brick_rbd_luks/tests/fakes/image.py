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
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from typing import (Any, Callable, Dict, FrozenSet, Iterator, List,
                    NamedTuple, Optional, Tuple)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

#: Seconds to wait for another holder of an image's lock.
LOCK_WAIT = 10.0


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


@dataclasses.dataclass
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

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the image; holes are zeros."""
        end = min(offset + length, self.size)
        parts = []
        while offset < end:
            number, start = divmod(offset, self.object_size)
            count = min(end - offset, self.object_size - start)
            found = self.objects.get(number)
            parts.append(bytes(found[start:start + count]) if found
                         else bytes(count))
            offset += count
        return b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write, without any log or fault."""
        view = memoryview(data)
        while view:
            number, start = divmod(offset, self.object_size)
            count = min(len(view), self.object_size - start)
            target = self.objects.setdefault(number,
                                             bytearray(self.object_size))
            target[start:start + count] = view[:count]
            offset, view = offset + count, view[count:]

    def resize(self, size: int) -> None:
        """Cut off or add zeros."""
        for number in [*self.objects]:
            start = number * self.object_size
            if start >= size:
                del self.objects[number]
            elif start + self.object_size > size:
                rest = start + self.object_size - size
                self.objects[number][size - start:] = bytes(rest)
        self.size = size

    def whole(self) -> bytes:
        """All of it."""
        return self.read(0, self.size)

    def copy(self) -> Content:
        """An image with the same bytes; nothing has happened to it yet."""
        return Content(self.name, self.size, self.stripe_period,
                       self.object_size, self.features, self.atomic,
                       {number: bytearray(data)
                        for number, data in self.objects.items()})

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
        content.handles += 1

    def __enter__(self) -> MemoryImage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._open:
            self._open = False
            self.content.handles -= 1

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
        return self._usable().size

    def stripe_period(self) -> int:
        """See :class:`base.Image`."""
        return self._usable().stripe_period

    def features(self) -> FrozenSet[str]:
        """See :class:`base.Image`."""
        return self._usable().features

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`base.Image`."""
        return self._usable().read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`base.Image`."""
        content = self._writable()
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
        self._usable().log.append(Event("flush"))

    def resize(self, size: int) -> None:
        """See :class:`base.Image`."""
        content = self._writable()
        content.log.append(Event("resize", 0, size))
        content.resize(size)

    def has_data(self) -> bool:
        """See :class:`base.Image`."""
        return bool(self._usable().objects)

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


class MemoryStore:
    """Images by name. As in a pool, an open one cannot be removed."""

    def __init__(self, *, stripe_period: int = base.DEFAULT_OBJECT_SIZE,
                 object_size: int = base.DEFAULT_OBJECT_SIZE,
                 features: FrozenSet[str] = frozenset(),
                 atomic: bool = True,
                 announced_stripe_period: Optional[int] = None,
                 fault: Optional[Fault] = None, name: str = "memory") -> None:
        """Say what new images are like.

        :param announced_stripe_period: what :meth:`stripe_period` tells, if
            not the truth
        :param fault: for the first image that is made
        """
        self.name = name
        self.contents: Dict[str, Content] = {}
        self._made: Dict[str, Any] = {
            "stripe_period": stripe_period, "object_size": object_size,
            "features": features, "atomic": atomic}
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
        if name in self.contents:
            raise exception.ImageExists(what=f"image {self.name}/{name}")
        content = Content(name=f"{self.name}/{name}", size=size,
                          **{**self._made, **options})
        content.fault, self._fault = self._fault, None
        self.contents[name] = content
        return MemoryImage(content)

    def open(self, name: str, read_only: bool = False) -> MemoryImage:
        """See :class:`base.ImageStore`."""
        return MemoryImage(self._content(name), read_only)

    def remove(self, name: str) -> None:
        """See :class:`base.ImageStore`."""
        if self._content(name).handles:
            raise exception.ImageLocked(holders="a client that has it open")
        del self.contents[name]

    def _content(self, name: str) -> Content:
        if name not in self.contents:
            raise exception.ImageNotFound(what=f"image {self.name}/{name}")
        return self.contents[name]


def take_snapshot(image: MemoryImage, name: str) -> None:
    """Add a snapshot; it is no more than its name."""
    image.content.snapshots.append(name)
