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
"""What can be done next: each rule makes a step out of the model and chance.

A rule gives None where there is nothing for it to do. Nothing is done here.
"""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import steps

MIB = 1024 * 1024
OFFSETS = {"none": 0, "luks1": 4 * MIB, "luks2": 16 * MIB}

#: LUKS1 has eight keyslots, and a re-key needs a free one.
MOST_KEYS = 4
MOST_VOLUMES = 6
MOST_SNAPSHOTS = 3

Rule = Callable[["Chance"], Optional[steps.Step]]


@dataclasses.dataclass(frozen=True)
class Ground:
    """What a world can hold, as far as rules have to know."""

    #: of librbd's encryption, 16 or 18
    release: int
    #: bytes
    object_sizes: Tuple[int, ...]
    #: of a volume
    most_blocks: int
    #: object size in bytes -> options of a new image
    image_options: Callable[[int], Dict[str, Any]]
    #: names of the known faults to keep clear of
    faults: FrozenSet[str]
    #: begins the names of images
    prefix: str = ""


class Chance:
    """The model, and choices out of it."""

    def __init__(self, model: models.Model, ground: Ground, number: int
                 ) -> None:
        """Let all choices follow from *number*."""
        self.model = model
        self.ground = ground
        self.random = random.Random(number)

    def name(self, what: str = "v") -> str:
        """A name that was never used."""
        return f"{self.ground.prefix}{what}{self.model.counter + 1}"

    def new(self, name: str, volume: models.Volume) -> models.Model:
        """The model with one volume more."""
        return dataclasses.replace(
            self.model.with_volume(name, volume),
            counter=self.model.counter + 1)

    def key(self) -> bytes:
        """A passphrase that may be known, but opens nothing twice."""
        return b"key-%03d" % self.random.randrange(400)

    def pick(self, wanted: Callable[[models.Volume], bool]
             ) -> Tuple[str, Optional[models.Volume]]:
        """One of the volumes that are as wanted."""
        found = [(name, volume) for name, volume
                 in sorted(self.model.volumes.items()) if wanted(volume)]
        return self.random.choice(found) if found else ("", None)

    def pick_open(self, wanted: Callable[[models.Volume], bool]
                  = lambda volume: True
                  ) -> Tuple[str, Optional[models.Volume], bytes]:
        """One that passphrases open, and one of these."""
        name, volume = self.pick(
            lambda volume: bool(volume.keys) and wanted(volume))
        return name, volume, (self.one_of(volume.keys) if volume else b"")

    def one_of(self, keys: FrozenSet[bytes]) -> bytes:
        """One of some passphrases."""
        return self.random.choice(sorted(keys))

    def room(self) -> bool:
        """Whether there may be one volume more."""
        return len(self.model.volumes) < MOST_VOLUMES

    def blocks(self, object_size: int) -> int:
        """The number of a volume's blocks, mostly whole objects."""
        unit = object_size // models.BLOCK
        if self.random.random() < 0.3:
            unit = 1
        return max(1, self.random.randrange(
            1, self.ground.most_blocks // unit + 1)) * unit

    def tags(self, count: int) -> bytes:
        """What a guest writes: one tag, sometimes zeros."""
        tag = (models.ZERO if self.random.random() < 0.1
               else self.random.randrange(1, models.TAGS))
        return bytes((tag,)) * count


def _fresh(chance: Chance, kind: str, object_size: int, count: int,
           **more: Any) -> models.Volume:
    key = more.pop("key", None)
    return models.Volume(
        kind, frozenset([key] if key else []),
        more.pop("blocks", bytes(count)), chance.model.counter + 1,
        object_size, more.pop("offset", OFFSETS[kind]), **more)


def create(chance: Chance) -> Optional[steps.Step]:
    """Make a volume of any kind."""
    if not chance.room():
        return None
    kind = chance.random.choice(("luks1", "luks1", "luks2", "luks2", "none",
                                 "upstream"))
    size = chance.random.choice(chance.ground.object_sizes)
    name, key = chance.name(), chance.key()
    args: Dict[str, Any] = {
        "name": name, "image_options": chance.ground.image_options(size)}
    action, more = "create", {"key": key}
    if kind == "none":
        action, more = "create_plain", {}
    elif kind == "upstream":
        action, kind = "create_upstream", "luks1"
        more["offset"] = actions.UPSTREAM_OFFSET
        args["key"] = key
    else:
        sector = chance.random.choice((512, 4096)) if kind == "luks2" else None
        args.update(key=key, kind=kind, sector=sector)
    volume = _fresh(chance, kind, size, chance.blocks(size), **more)
    args["size"] = volume.size
    return steps.Step(
        action, args, chance.new(name, volume), (name,),
        repair=None if action == "create_upstream" else steps.MADE)


def guest_write(chance: Chance) -> Optional[steps.Step]:
    """Write some blocks, or fill an object or two."""
    name, volume = chance.pick(
        lambda volume: bool(volume.keys) or volume.kind == "none")
    if volume is None:
        return None
    unit = volume.object_size // models.BLOCK
    count = len(volume.blocks)
    if chance.random.random() < 0.5:
        first = chance.random.randrange(0, count, unit)
        length = unit * chance.random.randrange(1, 3)
    else:
        first = chance.random.randrange(count)
        length = chance.random.randrange(1, 40)
    length = min(length, count - first)
    key = chance.one_of(volume.keys) if volume.keys else b""
    return steps.guest_write(chance.model, name, key, first,
                             chance.tags(length))


def take_snapshot(chance: Chance) -> Optional[steps.Step]:
    """Take a snapshot."""
    name, volume = chance.pick(
        lambda volume: len(volume.snapshots) < MOST_SNAPSHOTS)
    if volume is None:
        return None
    return steps.take_snapshot(chance.model, name, chance.name("s"))


def remove_snapshot(chance: Chance) -> Optional[steps.Step]:
    """Remove a snapshot that has no clone."""
    found = [(name, snapshot)
             for name, volume in sorted(chance.model.volumes.items())
             for snapshot, _state in volume.snapshots
             if not chance.model.children(name, snapshot)]
    if not found:
        return None
    name, snapshot = chance.random.choice(found)
    return steps.changed(
        chance.model, name, "remove_snapshot", {"snapshot": snapshot},
        snapshots=tuple(each for each in chance.model.volumes[name].snapshots
                        if each[0] != snapshot))


def _source(chance: Chance, plain: bool) -> Tuple[
        str, str, Optional[models.Volume]]:
    """A snapshot to be cloned, and its state."""
    found = [(name, snapshot, state)
             for name, volume in sorted(chance.model.volumes.items())
             for snapshot, state in volume.snapshots
             if state.keys or plain and state.kind == "none"]
    return chance.random.choice(found) if found else ("", "", None)


def clone_own_key(chance: Chance) -> Optional[steps.Step]:
    """Clone with the source's volume key."""
    image, snapshot, source = _source(chance, plain=False)
    if source is None or not chance.room():
        return None
    flatten = chance.random.random() < 0.3
    grown = chance.random.random() < 0.3
    old_librbd = chance.ground.release < 18 and source.kind == "luks2"
    if old_librbd and (source.parent or grown) and not flatten:
        return None
    key, new_key, name = (chance.one_of(source.keys), chance.key(),
                          chance.name())
    count = len(source.blocks)
    if grown:
        count += chance.random.randrange(1, 40)
    volume = dataclasses.replace(
        source.resized(count), keys=frozenset([new_key]),
        below=() if flatten else (key, *source.below),
        parent=None if flatten else (image, snapshot),
        layered=source.layered and not flatten)
    return steps.Step(
        "clone_own_key",
        {"image": image, "snapshot": snapshot, "name": name, "key": key,
         "new_key": new_key, "size": volume.size if grown else None,
         "flatten": flatten},
        chance.new(name, volume), (name, image), repair=steps.MADE)


def odd_clone(chance: Chance) -> Optional[steps.Step]:
    """Ask for a size that is not whole sectors."""
    image, snapshot, source = _source(chance, plain=False)
    if (source is None or "odd-clone-size" in chance.ground.faults
            or source.kind != "luks2"):
        return None
    return steps.Step(
        "clone_own_key",
        {"image": image, "snapshot": snapshot, "name": chance.name(),
         "key": chance.one_of(source.keys), "new_key": chance.key(),
         "size": source.size + 512, "flatten": True}, chance.model, (image,),
        refusal=(exception.InvalidParameter,))


def clone_layered(chance: Chance) -> Optional[steps.Step]:
    """Clone with a volume key of its own."""
    image, snapshot, source = _source(chance, plain=True)
    if (source is None or not chance.room() or chance.ground.release < 18
            or not source.aligned):
        return None
    kind = chance.random.choice(("luks1", "luks2"))
    if OFFSETS[kind] < source.offset and source.size % source.object_size:
        return None
    key = chance.one_of(source.keys) if source.keys else None
    new_key, name = chance.key(), chance.name()
    below = (key, *source.below) if key else ()
    if key and OFFSETS[kind] > source.offset:
        # A padded base lies between, with the source's header.
        below = (key, *below)
    volume = _fresh(
        chance, kind, source.object_size, 0, key=new_key, below=below,
        blocks=source.zeros() if source.kind != kind else source.blocks,
        parent=(image, snapshot), layered=True)
    return steps.Step(
        "clone_layered",
        {"image": image, "snapshot": snapshot, "name": name, "key": key,
         "new_key": new_key, "kind": kind},
        chance.new(name, volume), (name, image), repair=steps.MADE)


def _new_key(chance: Chance, volume: models.Volume) -> bytes:
    while True:
        key = chance.key()
        if key not in volume.keys:
            return key


def rekey(chance: Chance) -> Optional[steps.Step]:
    """Replace a passphrase; sometimes by one that opens nothing."""
    name, volume, key = chance.pick_open()
    if volume is None:
        return None
    if chance.random.random() < 0.1:
        key = b"wrong"
    return steps.rekey(chance.model, name, key, _new_key(chance, volume))


def add_key(chance: Chance) -> Optional[steps.Step]:
    """Add a passphrase."""
    name, volume, key = chance.pick_open(
        lambda volume: len(volume.keys) < MOST_KEYS)
    if volume is None:
        return None
    if "passphrase-twice" not in chance.ground.faults and (
            chance.random.random() < 0.2):
        return steps.add_key(chance.model, name, key, key)
    return steps.add_key(chance.model, name, key, _new_key(chance, volume))


def remove_key(chance: Chance) -> Optional[steps.Step]:
    """Remove a passphrase, or fail to remove the last one."""
    name, volume, key = chance.pick_open()
    if volume is None:
        return None
    return steps.remove_key(chance.model, name, key)


def resize(chance: Chance) -> Optional[steps.Step]:
    """Grow or shrink."""
    name, volume = chance.pick(
        lambda volume: bool(volume.keys) or volume.kind == "none")
    if volume is None:
        return None
    count = chance.blocks(volume.object_size)
    grows = count > len(volume.blocks)
    refusal: Any = ()
    if volume.layered and not grows and (
            volume.snapshots
            or count * models.BLOCK % volume.object_size):
        refusal = (exception.OperationRefused,)
    if volume.watched and count != len(volume.blocks):
        if grows and volume.kind == "none":
            return None
        refusal = ((exception.OperationRefused,) if grows
                   else (exception.ImageLocked,))
    if grows and chance.ground.release < 18 and volume.parent and (
            volume.kind == "luks2"):
        return None
    if count == len(volume.blocks):
        refusal = ()
    return steps.changed(
        chance.model, name, "resize",
        {"size": count * models.BLOCK, "encrypted": volume.kind != "none"},
        steps.REDO, refusal, blocks=volume.resized(count).blocks)


def flatten(chance: Chance) -> Optional[steps.Step]:
    """Make a clone a volume of its own."""
    name, volume, key = chance.pick_open(
        lambda volume: volume.parent is not None and not (
            volume.layered and volume.snapshots))
    if volume is None or volume.watched:
        return None
    alone = {"below": (), "parent": None, "layered": False}
    return steps.changed(
        chance.model, name, "flatten", {"key": key}, steps.REDO,
        snapshots=tuple((snapshot, dataclasses.replace(state, **alone))
                        for snapshot, state in volume.snapshots), **alone)


def export(chance: Chance) -> Optional[steps.Step]:
    """Read all of it."""
    name, volume = chance.pick(
        lambda volume: bool(volume.keys) or volume.kind == "none")
    if volume is None:
        return None
    return steps.Step(
        "export",
        {"name": name,
         "key": chance.one_of(volume.keys) if volume.keys else None},
        chance.model, (name,), result=volume,
        refusal=(exception.ImageLocked,) if volume.watched else ())


def copy_in(chance: Chance) -> Optional[steps.Step]:
    """Import a stream."""
    if not chance.room():
        return None
    kind = chance.random.choice(("luks1", "luks2"))
    size = chance.random.choice(chance.ground.object_sizes)
    blocks, count = b"", chance.blocks(size)
    while len(blocks) < count:
        blocks += (chance.tags(chance.random.randrange(1, 40))
                   if chance.random.random() < 0.6 else
                   bytes((models.ZERO,)) * chance.random.randrange(1, 60))
    blocks = blocks[:count]
    name, key = chance.name(), chance.key()
    data = models.content(blocks)
    return steps.Step(
        "copy_in",
        {"name": name, "data": data, "key": key, "kind": kind,
         "image_options": chance.ground.image_options(size)},
        chance.new(name, _fresh(chance, kind, size, count, key=key,
                                blocks=blocks)),
        (name,), repair=steps.MADE)


def reencrypt(chance: Chance) -> Optional[steps.Step]:
    """Copy to another volume key, of a volume or of a snapshot."""
    name, source = chance.pick(
        lambda volume: bool(volume.keys) or volume.kind == "none")
    if source is None or not chance.room():
        return None
    snapshot, watched = None, source.watched
    states = [each for each in source.snapshots
              if each[1].keys or each[1].kind == "none"]
    if states and chance.random.random() < 0.5:
        (snapshot, source), watched = chance.random.choice(states), False
    kind = chance.random.choice(("luks1", "luks2"))
    size = chance.random.choice(chance.ground.object_sizes)
    new_name, new_key = chance.name(), chance.key()
    args = {"name": name, "snapshot": snapshot,
            "key": chance.one_of(source.keys) if source.keys else None,
            "new_name": new_name, "new_key": new_key, "kind": kind,
            "image_options": chance.ground.image_options(size)}
    if watched:
        return steps.Step("reencrypt", args, chance.model, (name,),
                          refusal=(exception.ImageLocked,))
    # Holes of LUKS2 stay holes, which LUKS1 does not know.
    blocks = source.blocks if source.kind == kind else source.zeros()
    volume = _fresh(chance, kind, size, len(blocks), key=new_key,
                    blocks=blocks)
    return steps.Step(
        "reencrypt", args,
        chance.new(new_name, _moved(chance, volume, "reencrypt-zeros")),
        (new_name, name), repair=steps.MADE)


def _moved(chance: Chance, volume: models.Volume, fault: str
           ) -> models.Volume:
    """What a copy reads like whose objects are not those of its source."""
    if fault in chance.ground.faults:
        return volume.settled(volume.blocks)
    return volume


def realign(chance: Chance) -> Optional[steps.Step]:
    """Move a payload to where librbd opens it."""
    name, source = chance.pick(lambda volume: volume.kind != "none")
    if source is None or not chance.room():
        return None
    size = chance.random.choice(chance.ground.object_sizes)
    new_name, offset = chance.name(), OFFSETS[source.kind]
    args = {"name": name, "new_name": new_name,
            "image_options": chance.ground.image_options(size)}
    refusal: Any = ()
    if source.watched:
        refusal = (exception.ImageLocked,)
    if source.layered or source.offset == offset:
        refusal = (*refusal, exception.OperationRefused)
    if refusal:
        return steps.Step("realign", args, chance.model, (name,),
                          refusal=refusal)
    volume = dataclasses.replace(
        source, object_size=size, offset=offset, below=(), parent=None,
        layered=False, snapshots=())
    return steps.Step(
        "realign", args,
        chance.new(new_name, _moved(chance, volume, "realign-zeros")),
        (new_name, name), repair=steps.MADE)


def backup(chance: Chance) -> Optional[steps.Step]:
    """Make a header backup."""
    name, volume, _key = chance.pick_open()
    if volume is None or len(chance.model.backups) > 8:
        return None
    number = chance.name("b")
    after = dataclasses.replace(
        chance.model, counter=chance.model.counter + 1,
        backups={**chance.model.backups, number: models.Backup(
            volume.kind, volume.keys, volume.volume_key, volume.offset,
            volume.layered)})
    return steps.Step("backup", {"name": name}, after, (name,), keep=number)


def restore(chance: Chance) -> Optional[steps.Step]:
    """Put a backup back on a volume of its volume key, or on another."""
    if not chance.model.backups:
        return None
    number = chance.random.choice(sorted(chance.model.backups))
    found = chance.model.backups[number]
    fits = chance.random.random() < 0.85
    name, volume = chance.pick(
        lambda volume: volume.kind != "none" and fits == (
            (volume.volume_key, volume.offset)
            == (found.volume_key, found.offset)))
    if volume is None or fits and volume.layered != found.layered:
        return None
    refusal: Any = ()
    if volume.watched:
        refusal = (exception.ImageLocked,)
    if not fits:
        refusal = (*refusal, exception.OperationRefused,
                   exception.ImageTooSmall)
    return steps.changed(
        chance.model, name, "restore", {"data": number, "force": False},
        steps.REDO, refusal, keys=found.keys)


def revert(chance: Chance) -> Optional[steps.Step]:
    """Go back to a snapshot, with the passphrases of its time."""
    name, volume = chance.pick(
        lambda volume: bool(volume.snapshots) and not volume.watched)
    if volume is None:
        return None
    snapshot, state = chance.random.choice(volume.snapshots)
    return steps.changed(
        chance.model, name, "revert", {"snapshot": snapshot},
        **{field: getattr(state, field) for field in (
            "kind", "keys", "blocks", "volume_key", "offset")})


def erase(chance: Chance) -> Optional[steps.Step]:
    """Destroy all keyslots, or fail for snapshots or a client."""
    name, volume, _key = chance.pick_open()
    if volume is None:
        return None
    force = chance.random.random() < 0.5
    refusal: Any = ()
    if volume.snapshots and not force:
        refusal = (exception.SnapshotsKeepHeader,)
    elif volume.watched:
        refusal = (exception.ImageLocked,)
    return steps.changed(chance.model, name, "erase", {"force": force},
                         steps.REDO, refusal, keys=frozenset())


def remove(chance: Chance) -> Optional[steps.Step]:
    """Remove a volume, or fail for snapshots or a client."""
    name, volume = chance.pick(lambda volume: True)
    if volume is None:
        return None
    above = (volume.parent[0],) if volume.parent else ()
    if volume.snapshots or volume.watched:
        return steps.Step("remove", {"name": name}, chance.model, (name,),
                          refusal=(exception.ImageLocked,))
    return steps.Step("remove", {"name": name},
                      chance.model.with_volume(name, None), above,
                      repair=steps.REDO)


def watch(chance: Chance) -> Optional[steps.Step]:
    """Let another client open a volume, or close it."""
    name, volume = chance.pick(
        lambda volume: volume.watched or chance.random.random() < 0.5)
    if volume is None:
        return None
    return steps.changed(chance.model, name,
                         "unwatch" if volume.watched else "watch", {},
                         watched=not volume.watched)


#: How often each is taken.
WEIGHTS: Dict[Rule, int] = {
    create: 6, guest_write: 16, take_snapshot: 6, remove_snapshot: 3,
    clone_own_key: 5, clone_layered: 5, odd_clone: 1, rekey: 8, add_key: 5,
    remove_key: 4, resize: 5, flatten: 3, export: 3, copy_in: 2,
    reencrypt: 3, realign: 3, backup: 3, restore: 3, revert: 3, erase: 1,
    remove: 6, watch: 2,
}

BY_NAME: Dict[str, Rule] = {rule.__name__: rule for rule in WEIGHTS}


def names() -> Tuple[List[str], List[int]]:
    """Names of the rules, and how often each is taken."""
    return [*BY_NAME], [*WEIGHTS.values()]
