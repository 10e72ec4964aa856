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

"""Open images in memory: they behave, fail when told, and keep a log.

They refuse what Ceph refuses: writes to what is open for reading or not
permitted, discards that librbd has no numbers for, what needs space in a full
pool. The lock on a header ends by itself, as the real one.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from typing import (Callable, Dict, FrozenSet, Iterator, List, Optional,
                    Tuple, TYPE_CHECKING, Union)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.fakes import content as contents
from os_brick_rbd_luks.tests.fakes import errors
from os_brick_rbd_luks.tests.fakes import rights as permissions
from os_brick_rbd_luks.tests.fakes.steps import Event

if TYPE_CHECKING:
    from os_brick_rbd_luks.tests.fakes import encrypted
    from os_brick_rbd_luks.tests.fakes import layers

#: Seconds to wait for another holder of an image's lock.
LOCK_WAIT = 10.0

CLIENTS = itertools.count(5001)

#: Largest size of an image; Ceph has no larger numbers.
_LARGEST = 2 ** 63

#: The magic of a clone's own header -> that of a volume without a parent.
_WITHOUT_PARENT = {detect.CLONE_MAGIC: detect.MAGIC,
                   detect.SECONDARY_CLONE_MAGIC: detect.SECONDARY_MAGIC}


def flatten_encrypted(content: contents.Content,
                      plain: Union[encrypted.Plaintext, layers.Plaintext]
                      ) -> None:
    """Flatten as librbd does it with the encryption loaded.

    What it copies it encrypts with the image's own volume key; in the end,
    all that is before the payload is read, and written back without the mark
    of a clone. Step ``flatten_header`` is between these two.
    """
    content.write(0, content.read(0, content.size - plain.size()))
    for offset in range(0, plain.size(), content.object_size):
        data = plain.read(offset, content.object_size)
        if not base.is_zero(data):
            plain.write(offset, data)
    before = bytearray(content.read(0, content.size - plain.size()))
    for offset in (0, *detect.secondaries(bytes(before))):
        mark = slice(offset, offset + len(detect.MAGIC))
        before[mark] = _WITHOUT_PARENT.get(bytes(before[mark]), before[mark])
    content.steps.step("flatten_header")
    content.write(0, bytes(before))
    content.detach()


class MemoryLock:
    """The held lock of an image; it ends by itself if not renewed."""

    def __init__(self, content: contents.Content) -> None:
        self._content = content

    def acquire(self) -> None:
        """Take the lock, which somebody else may have for a while.

        :raises ImageLocked: he keeps it
        """
        content = self._content
        deadline = time.monotonic() + LOCK_WAIT
        with content.released:
            while not self._is_free():
                if not content.released.wait(deadline - time.monotonic()):
                    raise _locked()
            self._hold()

    def _is_free(self) -> bool:
        return (self._content.holder is None
                or self._content.held_until <= self._content.clock.now())

    def _hold(self) -> None:
        self._content.holder = self
        self._content.held_until = (self._content.clock.now()
                                    + header_lock.LOCK_DURATION)

    def renew(self) -> None:
        """See :class:`base.HeldLock`."""
        with self._content.released:
            # One that ended cannot be renewed, even if nobody took it.
            if self._content.holder is not self or self._is_free():
                raise _locked()
            self._hold()
        self._content.log.append(Event("renew"))

    def release(self) -> None:
        """Give the lock back, if it is still held."""
        with self._content.released:
            if self._content.holder is self:
                self._content.holder = None
                self._content.released.notify_all()


def _locked() -> exception.ImageLocked:
    return exception.ImageLocked(holders="another header operation")


class MemoryImage:
    """An open image of a ``store.MemoryStore``."""

    is_rbd = True

    def __init__(self, content: contents.Content, read_only: bool = False,
                 rights: Optional[permissions.Rights] = None,
                 librbd: Callable[[], capabilities.Librbd] =
                 lambda: capabilities.Librbd(18),
                 client: Optional[int] = None) -> None:
        """Open what a store keeps.

        :param rights: what the store's user may do there
        :param librbd: tells by which librbd it is open
        :param client: whose it is; one of its own when None
        """
        self.name = content.name
        self.content = content
        self._rights = rights or permissions.Rights()
        self._librbd = librbd
        self._read_only = read_only
        self._open = True
        # Whether a change timed out, which may be done yet.
        self._in_doubt = False
        #: the plain text, once the encryption is loaded
        self._plain: Union[encrypted.Plaintext, layers.Plaintext,
                           None] = None
        #: bytes of the smallest read that asks for holes: librbd looks when
        #: an image is opened
        self.threshold = content.threshold()
        content.handles += 1
        number = next(CLIENTS)
        #: this client's, as others see it
        self.watch = f"client.{number} at 10.0.0.9:0/1"
        self._client = number if client is None else client
        if not read_only:
            content.watches[self.watch] = self._client

    def __enter__(self) -> MemoryImage:
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._open:
            self._open = False
            self.content.handles -= 1
            self.content.watches.pop(self.watch, None)
            if self.content.keeper is self:
                self.content.keeper = None
            if not any(exc_info):
                self.content.steps.step("close")

    def _usable(self) -> contents.Content:
        if not self._open:
            raise ValueError(f"{self.name} is closed")
        return self.content

    def _writable(self, action: str) -> contents.Content:
        content = self._usable()
        if self._read_only:
            raise exception.ImageReadOnly()
        if content.keeper not in (None, self):
            raise exception.ImageLocked(
                holders="a client that keeps its exclusive lock")
        try:
            self._rights.check(action)
        except errors.TimedOut:
            self._in_doubt = True
            raise
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

    def interleaves(self) -> bool:
        """See :class:`base.Image`."""
        return self._usable().interleaves

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
        self._rights.check_read()
        _check_numbers("read", offset, length)
        return content.read(offset, length)

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`base.Image`."""
        if self._plain:
            self._plain.write(offset, data)
        else:
            self.write_raw(offset, data)

    def write_raw(self, offset: int, data: bytes) -> None:
        """Write cipher text also with the encryption loaded."""
        content = self._writable("write")
        _check_numbers("write", offset, 0)
        if not isinstance(data, bytes):
            raise TypeError("data must be a byte string")
        with content.guard:
            self._write(content, offset, data)

    def _write(self, content: contents.Content, offset: int, data: bytes
               ) -> None:
        content.steps.step("write")
        if offset + len(data) > content.size:
            raise exception.ImageTooSmall(size=content.size,
                                          needed=offset + len(data))
        content.owner = self
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
        content = self._writable("resize")
        content.steps.step("resize")
        _check_numbers("resize", 0, size)
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
        content = self._usable()
        return list((content.image or content).snapshots)

    def history(self) -> List[str]:
        """See :class:`base.Image`."""
        content = self._usable()
        kept = (content.image or content).kept()
        return [f"{kept[name]} (removed, and kept for its clones)"
                if name in kept else name for name in self.snapshots()]

    def watchers(self) -> List[str]:
        """See :class:`base.Image`; this client's other handles are some."""
        content = self._usable()
        return [*content.watchers, *(
            watch for watch in content.watches if watch != self.watch)]

    def others(self) -> List[str]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("others")
        return [*content.watchers, *(
            watch for watch, client in content.watches.items()
            if client != self._client)]

    def keep_others_out(self) -> bool:
        """See :class:`base.RBDImage`."""
        content = self._writable("keep_others_out")
        content.steps.step("keep_others_out")
        if "exclusive-lock" not in content.features:
            return False
        content.keeper = self
        return True

    def own_watch(self) -> str:
        """See :class:`base.RBDImage`."""
        if self.watch not in self._usable().watches:
            raise exception.ImageIOError(action="find the own watch",
                                         reason="this client has none")
        return self.watch

    def has_watch(self, watch: str) -> bool:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        return watch in content.watches or watch in content.watchers

    def claim(self) -> None:
        """See :class:`base.Image`; each open image is a watcher."""
        content = self._usable()
        content.steps.step("claim")
        if content.watchers or content.writers > 1:
            raise exception.ImageLocked(holders="another client")

    @contextlib.contextmanager
    def lock(self) -> Iterator[MemoryLock]:
        """See :class:`base.Image`."""
        content = self._usable()
        content.steps.step("lock")
        # Read-only handles lock as well, if the user may write there.
        self._rights.check("lock the header")
        lock = MemoryLock(content)
        lock.acquire()
        content.log.append(Event("lock"))
        try:
            yield lock
        finally:
            if not self._in_doubt:
                content.log.append(Event("unlock"))
                lock.release()

    # as an RBD image

    @property
    def librbd(self) -> capabilities.Librbd:
        """See :class:`base.RBDImage`."""
        return self._librbd()

    def identity(self) -> str:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("identity")
        return content.image_id

    def parent(self) -> Optional[base.Parent]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("parent")
        return content.parent

    def open_parent(self) -> Optional[MemoryImage]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("open_parent")
        if content.below is None:
            return None
        return MemoryImage(content.below, read_only=True,
                           librbd=self._librbd)

    def _snapshot(self, snapshot: str) -> contents.Content:
        content = self._usable()
        if snapshot not in content.snapshots:
            raise exception.ImageNotFound(what=f"snapshot {snapshot}")
        return content.frozen[snapshot]

    def children(self, snapshot: str) -> int:
        """See :class:`base.RBDImage`."""
        self._usable().steps.step("children")
        return self._snapshot(snapshot).children

    def clones(self, snapshot: str) -> List[base.Parent]:
        """See :class:`base.RBDImage`."""
        self._usable().steps.step("children")
        return [_place(clone.name)
                for clone in self._snapshot(snapshot).clones]

    def all_snapshots(self) -> List[census.Snapshot]:
        """See :class:`census.Image`."""
        content = self._usable()
        content.steps.step("all_snapshots")
        content = content.image or content
        kept = content.kept()
        return [census.Snapshot(
            number, f"{kept[name]} (removed, and kept for its clones)"
            if name in kept else name)
            for number, name in sorted(
                (_number(found), name)
                for name, found in content.frozen.items())]

    @contextlib.contextmanager
    def at(self, snapshot: int) -> Iterator[None]:
        """See :class:`census.Image`."""
        content = self._usable()
        content.steps.step("at")
        for found in content.frozen.values():
            if _number(found) == snapshot:
                break
        else:
            raise exception.ImageNotFound(
                what=f"snapshot {snapshot} of {self.name}")
        self.content = found
        try:
            yield
        finally:
            self.content = content

    def all_clones(self) -> List[census.Entry]:
        """See :class:`census.Image`."""
        content = self._usable()
        content.steps.step("all_clones")
        return [census.Entry(*_place(clone.name)[:3], clone.image_id,
                             clone.in_trash) for clone in content.clones]

    def hidden(self) -> List[Tuple[str, str]]:
        """See :class:`census.Image`."""
        content = self._usable()
        content.steps.step("hidden")
        return list(content.hidden)

    def create_snapshot(self, snapshot: str) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("create_snapshot")
        content.steps.step("create_snapshot")
        if snapshot in content.snapshots:
            raise exception.ImageExists(what=f"snapshot {snapshot}")
        content.freeze(snapshot)

    def protect_snapshot(self, snapshot: str) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("protect_snapshot")
        content.steps.step("protect_snapshot")
        self._snapshot(snapshot)
        if snapshot in content.protected:
            raise exception.ImageLocked(holders="its protection")
        content.protected.add(snapshot)

    def remove_snapshot(self, snapshot: str) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("remove_snapshot")
        content.steps.step("remove_snapshot")
        if any(clone.clone_format == 1
               for clone in self._snapshot(snapshot).clones):
            raise exception.ImageLocked(holders="a clone")
        content.thaw(snapshot)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("extents")
        for number in content.allocated():
            offset = number * content.object_size
            yield offset, min(content.object_size, content.size - offset)

    def load_encryption(self, header_type: str, *passphrases: bytes) -> None:
        """See :class:`base.RBDImage`."""
        # It opens images itself.
        from os_brick_rbd_luks.tests.fakes import encrypted as decrypting
        content = self._usable()
        content.steps.step("load_encryption")
        assert not content.interleaves, "librbd would give noise"
        try:
            self._plain = decrypting.load(self, self.librbd.release,
                                          header_type, *passphrases)
        except ValueError as error:
            raise exception.ImageIOError(action="load the encryption",
                                         reason=str(error)) from error

    def zero(self, offset: int, length: int) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("zero")
        content.steps.step("zero")
        _check_numbers("discard", offset, length)
        if length and offset >= self.size():
            raise errors.InvalidArgument("discard")
        if self._plain is None:
            content.zero(offset, length)
        else:
            # librbd writes zeros, encrypted.
            self._plain.write(offset, bytes(min(length,
                                                self.size() - offset)))

    def punch(self, offset: int, length: int) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("punch")
        content.steps.step("punch")
        _check_numbers("make a hole", offset, length)
        if length and offset >= self.size():
            raise errors.InvalidArgument("make a hole")
        assert self._plain is None, "librbd would write zeros, encrypted"
        content.punch(offset, length)

    def flatten(self) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("flatten")
        content.steps.step("flatten")
        if content.below is None:
            raise errors.InvalidArgument("flatten")
        # librbd lets whoever has its exclusive lock do it, by his encryption.
        owner = content.owner
        doer = owner if getattr(owner, "_open", False) else self
        if doer._plain is None:
            content.flatten()
            return
        flatten_encrypted(content, doer._plain)

    def note(self, key: str) -> Optional[str]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("note")
        return content.notes.get(key)

    def notes(self) -> Dict[str, str]:
        """See :class:`base.RBDImage`."""
        content = self._usable()
        content.steps.step("notes")
        return dict(content.notes)

    def set_note(self, key: str, value: Optional[str]) -> None:
        """See :class:`base.RBDImage`."""
        content = self._writable("set_note")
        content.steps.step("set_note")
        content.owner = self
        content.notes.pop(key, None)
        if value is not None:
            content.notes[key] = value


def _number(taken: contents.Content) -> int:
    """The id of a snapshot."""
    return int(taken.image_id.partition("@")[2])


def _place(name: str) -> base.Parent:
    """The pool, the namespace and the name of an image."""
    pool, _slash, rest = name.partition("/")
    namespace, _slash, image = rest.rpartition("/")
    return base.Parent(pool, namespace, image, "")


def _check_numbers(action: str, *numbers: int) -> None:
    """Refuse what is no number of bytes for librbd."""
    if any(number < 0 or number >= _LARGEST for number in numbers):
        raise exception.ImageIOError(
            action=action, reason="no image can be that large")
