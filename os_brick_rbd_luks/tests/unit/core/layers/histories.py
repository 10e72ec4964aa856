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

"""Histories of volumes in memory, and a model that knows where keys are.

The model keeps of each image and snapshot which volume key its header has, by
which keyslots, and what it is a clone of. It reads no header, and knows
nothing of digests.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Callable, Dict, FrozenSet, Iterator, List, Optional, Tuple

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.tests.fakes import cluster as clusters
from os_brick_rbd_luks.tests import units

POOLS = ("volumes", "volumes/space", "images")

_OBJECT = 65536

_FORMATS = {kind: formatting.Options(type=kind, cipher_spec="aes-cbc-plain64",
                                     key_bytes=16)
            for kind in ("luks1", "luks2")}

#: An image is a clone of a clone so often at most.
_DEPTH = 3


@dataclasses.dataclass(frozen=True)
class Header:
    """Of a volume key, and its keyslots."""

    key: Optional[int] = None
    slots: FrozenSet[int] = frozenset()


PLAIN = Header()


@dataclasses.dataclass(eq=False)
class State:
    """An image as it is, or was when a snapshot was taken."""

    image: Image
    header: Header
    #: the snapshot that it is a clone of
    parent: Optional[State] = None
    #: of a snapshot
    name: str = ""
    protected: bool = False
    removed: bool = False


@dataclasses.dataclass(eq=False)
class Image:
    """One image, by Ceph's id."""

    id: str
    pool: str
    name: str
    head: State = dataclasses.field(init=False)
    snapshots: List[State] = dataclasses.field(default_factory=list)
    in_trash: bool = False
    mirrored: bool = False
    #: whether it is a header's backup, which is no volume to be worked on
    is_backup: bool = False
    #: backups of its header
    saved: List[Tuple[bytes, Header]] = dataclasses.field(
        default_factory=list)

    def states(self) -> List[State]:
        """The image itself, and its snapshots."""
        return [self.head, *self.snapshots]

    @property
    def is_base(self) -> bool:
        """Whether it is a padded base, which belongs to clones."""
        return self.name.startswith(bases.PREFIX)

    def named(self, state: Optional[State] = None) -> str:
        """As places are called."""
        found = f"{self.pool}/{self.name}"
        if state is not None and state is not self.head:
            found += f"@{state.name}"
            if state.removed:
                found += " (removed, and kept for its clones)"
        return found + (f" (in the trash: {self.id})" if self.in_trash
                        else "")


class History:
    """A cluster, what happens in it, and the model of that.

    :ivar told: what has happened, a line each
    """

    def __init__(self, chance) -> None:
        """Begin with nothing.

        :param chance: a ``random.Random``
        """
        self.chance = chance
        self.told: List[str] = []
        self.cluster = clusters.MemoryCluster(
            *POOLS, object_size=_OBJECT, stripe_period=_OBJECT)
        self.images: Dict[str, Image] = {}
        self._numbers = itertools.count(1)

    # what may happen

    def step(self) -> None:
        """Let something happen that can."""
        while not self.chance.choice(self._actions())():
            pass
        # What was written is kept for other tests, 16 MiB for an erasure.
        for store in self.cluster.pools.values():
            for content in (*store.contents.values(), *store.trash.values()):
                content.written.clear()

    def _actions(self) -> List[Callable[[], bool]]:
        return [self._create, self._plain, self._snapshot, self._snapshot,
                self._snapshot, self._clone, self._rekeyed, self._rekeyed,
                self._own_header, self._flatten, self._copy, self._trash,
                self._restore_image, self._purge, self._rename, self._rekey,
                self._rekey, self._add, self._save, self._save_in_pool,
                self._restore_header, self._protect, self._remove_snapshot,
                self._remove_snapshot, self._remove, self._erase,
                self._erase, self._format, self._mirror]

    def _number(self) -> int:
        return next(self._numbers)

    def _pick(self, wanted: Callable[[Image], object] = lambda _image: True
              ) -> Optional[Image]:
        """An image with a name that is neither a padded base nor a backup."""
        found = [image for image in self.images.values()
                 if not image.in_trash and not image.is_base
                 and not image.is_backup and wanted(image)]
        return self.chance.choice(found) if found else None

    def _pick_snapshot(self, wanted: Callable[[State], object] =
                       lambda _state: True) -> Optional[State]:
        found = [state for image in self.images.values()
                 if not image.in_trash and not image.is_base
                 for state in image.snapshots
                 if not state.removed and wanted(state)]
        return self.chance.choice(found) if found else None

    def _store(self, image: Image):
        return self.cluster.pools[image.pool]

    def _open(self, image: Image):
        return self._store(image).open(image.name)

    def _tell(self, what: str) -> bool:
        self.told.append(what)
        return True

    def _made(self, pool: str, name: str, header: Header,
              parent: Optional[State] = None) -> Image:
        found = Image(self.cluster.pools[pool].contents[name].image_id, pool,
                      name)
        found.head = State(found, header, parent)
        self.images[found.id] = found
        return found

    def _name(self, what: str) -> Tuple[str, str]:
        name = f"{what}{self._number()}"
        if not self.chance.randrange(8):
            name = partial.PREFIX + name
        return self.chance.choice(POOLS), name

    def _create(self) -> bool:
        pool, name = self._name("v")
        slot, kind = self._number(), self.chance.choice([*_FORMATS])
        creating.create(self.cluster.pools[pool], name, units.MIB,
                        passphrase(slot), _FORMATS[kind])
        self._made(pool, name, Header(self._number(), frozenset([slot])))
        return self._tell(f"create {kind} {pool}/{name}")

    def _plain(self) -> bool:
        pool, name = self._name("plain")
        with self.cluster.pools[pool].create(name, units.MIB) as image:
            image.write(0, b"plain")
        self._made(pool, name, PLAIN)
        return self._tell(f"create plain {pool}/{name}")

    def _snapshot(self) -> bool:
        image = self._pick()
        if image is None:
            return False
        name = f"s{self._number()}"
        with self._open(image) as opened:
            opened.create_snapshot(name)
        image.snapshots.append(State(image, image.head.header,
                                     image.head.parent, name))
        return self._tell(f"snapshot {image.named()}@{name}")

    def _parent(self, state: State):
        return self._store(state.image).parent(state.image.name, state.name)

    def _clone(self) -> bool:
        """As it is: what it has of its source opens by the same slots."""
        state = self._pick_snapshot(lambda state: _depth(state) < _DEPTH)
        if state is None:
            return False
        pool, name = self._name("clone")
        self.cluster.pools[pool].clone(self._parent(state), name).__exit__()
        self._made(pool, name, state.header, state)
        return self._tell(f"clone {state.image.named(state)} {pool}/{name}")

    def _rekeyed(self) -> bool:
        state = self._pick_snapshot(lambda state: state.header.slots
                                    and _depth(state) < _DEPTH)
        if state is None:
            return False
        pool, name = self._name("rekeyed")
        slot = self._number()
        cloning.rekeyed(self.cluster.pools[pool], self._parent(state), name,
                        passphrase(min(state.header.slots)),
                        passphrase(slot))
        self._made(pool, name, Header(state.header.key, frozenset([slot])),
                   state)
        return self._tell(
            f"clone --rekey {state.image.named(state)} {pool}/{name}")

    def _own_header(self) -> bool:
        state = self._pick_snapshot(
            lambda state: _depth(state) < _DEPTH and (
                state.header.slots or state.header is PLAIN))
        if state is None:
            return False
        pool, name = self._name("own")
        slot, kind = self._number(), self.chance.choice([*_FORMATS])
        before = {*self.cluster.pools[pool].images()}
        cloning.own_header(
            self.cluster.pools[pool], self._parent(state), name,
            passphrase(slot), _FORMATS[kind], old_passphrase=passphrase(
                min(state.header.slots)) if state.header.slots else None)
        content = self.cluster.pools[pool].contents[name]
        below = content.parent.image
        if below.startswith(bases.PREFIX):
            if below not in before:
                padded = self._made(pool, below, state.header, state)
                padded.snapshots.append(State(padded, state.header, state,
                                              bases.SNAPSHOT))
            state, = [found.snapshots[0] for found in self.images.values()
                      if (found.pool, found.name) == (pool, below)]
        self._made(pool, name, Header(self._number(), frozenset([slot])),
                   state)
        return self._tell(f"clone --own-header {kind} "
                          f"{state.image.named(state)} {pool}/{name}")

    def _flatten(self) -> bool:
        image = self._pick(lambda image: image.head.parent)
        if image is None:
            return False
        with self._open(image) as opened:
            opened.flatten()
        self._let_go(image)
        return self._tell(f"flatten {image.named()}")

    def _let_go(self, image: Image) -> None:
        """What was removed, and kept for this clone, goes if it was the
        last one.
        """
        parents = {state.parent for state in image.states() if state.parent}
        for state in image.states():
            state.parent = None
        for parent in parents:
            if parent.removed and not self._clones(parent):
                parent.image.snapshots.remove(parent)

    def _clones(self, state: State) -> List[Image]:
        return [image for image in self.images.values()
                if any(found.parent is state for found in image.states())]

    def _copy(self) -> bool:
        image = self._pick()
        if image is None:
            return False
        pool, name = self._name("copy")
        with self._store(image).open(image.name, read_only=True) as opened:
            self.cluster.pools[pool].copy(opened, name).__exit__()
        self._made(pool, name, image.head.header)
        return self._tell(f"copy {image.named()} {pool}/{name}")

    def _trash(self) -> bool:
        image = self._pick()
        if image is None:
            return False
        self._tell(f"trash mv {image.named()}")
        self._store(image).move_to_trash(image.name)
        image.in_trash = True
        return True

    def _trashed(self) -> Optional[Image]:
        found = [image for image in self.images.values() if image.in_trash]
        return self.chance.choice(found) if found else None

    def _restore_image(self) -> bool:
        image = self._trashed()
        if image is None:
            return False
        self._tell(f"trash restore {image.named()}")
        _pool, name = self._name("restored")
        self._store(image).restore(image.id, name)
        image.name, image.in_trash = name, False
        return True

    def _purge(self) -> bool:
        image = self._trashed()
        if image is None or image.snapshots:
            return False
        self._tell(f"trash rm {image.named()}")
        self._store(image).purge(image.id)
        self._gone(image)
        return True

    def _gone(self, image: Image) -> None:
        del self.images[image.id]
        self._let_go(image)

    def _rename(self) -> bool:
        image = self._pick()
        if image is None:
            return False
        _pool, name = self._name("renamed")
        self._tell(f"rename {image.named()} {name}")
        self._store(image).rename(image.name, name)
        image.name = name
        return True

    def _rekey(self) -> bool:
        image = self._pick(lambda image: image.head.header.slots)
        if image is None:
            return False
        header, slot = image.head.header, self._number()
        old = self.chance.choice(sorted(header.slots))
        with self._open(image) as opened:
            keyslots.replace(opened, passphrase(old), passphrase(slot))
        image.head.header = Header(header.key,
                                   header.slots - {old} | {slot})
        return self._tell(f"rekey {image.named()}")

    def _add(self) -> bool:
        image = self._pick(lambda image: 0 < len(image.head.header.slots) < 3)
        if image is None:
            return False
        header, slot = image.head.header, self._number()
        with self._open(image) as opened:
            keyslots.add(opened, passphrase(min(header.slots)),
                         passphrase(slot))
        image.head.header = Header(header.key, header.slots | {slot})
        return self._tell(f"key add {image.named()}")

    def _save(self) -> bool:
        image = self._pick(lambda image: image.head.header.slots)
        if image is None:
            return False
        with self._open(image) as opened:
            image.saved.append((header_backup.backup(opened),
                                image.head.header))
        return self._tell(f"header backup {image.named()}")

    def _save_in_pool(self) -> bool:
        """Somebody has imported a backup as an image."""
        image = self._pick(lambda image: image.head.header.slots)
        if image is None:
            return False
        pool, name = self._name("backup")
        with self._open(image) as opened:
            data = header_backup.backup(opened)
        with self.cluster.pools[pool].create(name, len(data)) as made:
            made.write(0, data)
        found = self._made(pool, name, Header(image.head.header.key,
                                              image.head.header.slots))
        found.is_backup = True
        self._tell(f"header backup {image.named()}; import {found.named()}")
        if self.chance.randrange(2):
            self._store(found).move_to_trash(found.name)
            found.in_trash = True
        return True

    def _restore_header(self) -> bool:
        image = self._pick(lambda image: image.saved)
        if image is None:
            return False
        data, header = self.chance.choice(image.saved)
        with self._open(image) as opened:
            header_backup.restore(opened, data, force=True)
        image.head.header = header
        return self._tell(f"header restore {image.named()}")

    def _protect(self) -> bool:
        """Protect a snapshot, or protect it no more."""
        state = self._pick_snapshot()
        if state is None:
            return False
        if state.protected:
            # As by Ceph's own command.
            self._store(state.image).contents[
                state.image.name].protected.remove(state.name)
        else:
            with self._open(state.image) as opened:
                opened.protect_snapshot(state.name)
        state.protected = not state.protected
        return self._tell(f"protect {state.image.named(state)}: "
                          f"{state.protected}")

    def _remove_snapshot(self) -> bool:
        state = self._pick_snapshot()
        if state is None:
            return False
        self._tell(f"snap rm {state.image.named(state)}")
        with self._open(state.image) as opened:
            opened.remove_snapshot(state.name)
        if self._clones(state):
            state.removed = True
        else:
            state.image.snapshots.remove(state)
        return True

    def _remove(self) -> bool:
        image = self._pick(lambda image: not image.snapshots)
        if image is None:
            return False
        self._tell(f"rm {image.named()}")
        self._store(image).remove(image.name)
        self._gone(image)
        return True

    def _erase(self) -> bool:
        image = self._pick(lambda image: image.head.header.key is not None)
        if image is None:
            return False
        with self._open(image) as opened:
            erase.erase(opened, force=True)
        image.head.header = Header(image.head.header.key)
        return self._tell(f"erase {image.named()}")

    def _format(self) -> bool:
        """Another volume in the same image."""
        image = self._pick(lambda image: image.head.header.key is not None
                           and not image.head.parent)
        if image is None:
            return False
        slot = self._number()
        with self._open(image) as opened:
            formatting.format_image(opened, passphrase(slot),
                                    _FORMATS["luks1"], force=True)
        image.head.header = Header(self._number(), frozenset([slot]))
        return self._tell(f"format {image.named()}")

    def _mirror(self) -> bool:
        image = self._pick()
        if image is None:
            return False
        image.mirrored = not image.mirrored
        self._store(image).contents[image.name].hidden[:] = (
            [("mirror", "its peers")] if image.mirrored else [])
        return self._tell(f"mirror {image.named()}: {image.mirrored}")

    # what is so

    def volumes(self) -> List[Image]:
        """Those that can be named, and have a volume key, erased or not."""
        return [image for image in self.images.values()
                if not image.in_trash and image.head.header.key is not None]

    def places(self, start: Image) -> List[Tuple[str, str, str]]:
        """Where the volume key of *start* is, as the model knows it."""
        return sorted(found for role, image in self._roles(start)
                      for found in self._told(start, role, image,
                                              image.states()))

    def nearby(self, start: Image) -> List[Tuple[str, str, str]]:
        """Those that *start* itself tells of."""
        found = [*self._told(start, "image", start, start.states())]
        below, seen = [start], {start}
        for image in below:
            for clone in (clone for state in image.snapshots
                          for clone in self._clones(state)):
                if clone not in seen:
                    seen.add(clone)
                    below.append(clone)
                    found += self._told(start, "clone", clone,
                                        clone.states())
        state = start.head.parent
        while state is not None:
            found += self._told(start, "parent", state.image,
                                [state, state.image.head])
            state = state.parent
        return sorted(found)

    def _roles(self, start: Image) -> Iterator[Tuple[str, Image]]:
        above = [start]
        for image in above:
            above += {state.parent.image for state in image.states()
                      if state.parent} - {*above}
        related = [*above]
        for image in related:
            related += ({state.parent.image for state in image.states()
                         if state.parent} | {
                clone for state in image.snapshots
                for clone in self._clones(state)}) - {*related}
        for image in self.images.values():
            yield ("image" if image is start else "parent" if image in above
                   else "clone" if image in related else "copy"), image

    def _told(self, start: Image, role: str, image: Image,
              states: List[State]) -> Iterator[Tuple[str, str, str]]:
        found = [state for state in states if self._has(start, state)]
        for state in found:
            is_own = image is start and state is not image.head
            former = is_own and state.header.slots - start.head.header.slots
            yield ("snapshot" if is_own else role, image.named(state),
                   reachable.FORMER if former else reachable.SAME_KEY)
        if image.mirrored and (found or image is start):
            yield ("mirror", image.named(),
                   f"{reachable.NOT_VISIBLE}: its peers")

    @staticmethod
    def _has(start: Image, state: State) -> bool:
        return bool(state.header.slots
                    and state.header.key == start.head.header.key)


def _depth(state: State) -> int:
    return 1 + _depth(state.parent) if state.parent else 0


def passphrase(slot: int) -> bytes:
    """The one that a keyslot was made for."""
    return b"passphrase %d" % slot
