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
"""Rules that make a volume of another one: clones and copies."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import chance as chances
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import steps


def _source(chance: chances.Chance, plain: bool) -> Tuple[
        str, str, Optional[models.Volume]]:
    """A snapshot to be cloned, and its state."""
    found = [(name, snapshot, state)
             for name, volume in sorted(chance.model.volumes.items())
             for snapshot, state in volume.snapshots
             if state.keys or plain and state.kind == "none"]
    return chance.random.choice(found) if found else ("", "", None)


def clone_own_key(chance: chances.Chance) -> Optional[steps.Step]:
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
        below=(key, *source.below), parent=(image, snapshot))
    if flatten:
        volume = volume.independent()
    return steps.Step(
        "clone_own_key",
        {"image": image, "snapshot": snapshot, "name": name, "key": key,
         "new_key": new_key, "size": volume.size if grown else None,
         "flatten": flatten},
        chance.new(name, volume), (name, image), repair=steps.MADE)


def odd_clone(chance: chances.Chance) -> Optional[steps.Step]:
    """Ask for a size that is not whole sectors."""
    image, snapshot, source = _source(chance, plain=False)
    if source is None or source.kind != "luks2":
        return None
    return steps.Step(
        "clone_own_key",
        {"image": image, "snapshot": snapshot, "name": chance.name(),
         "key": chance.one_of(source.keys), "new_key": chance.key(),
         "size": source.size + 511, "flatten": True}, chance.model, (image,),
        refusal=(exception.InvalidParameter,))


def clone_own_header(chance: chances.Chance) -> Optional[steps.Step]:
    """Clone with a volume key of its own."""
    image, snapshot, source = _source(chance, plain=True)
    if (source is None or not chance.room() or chance.ground.release < 18
            or not source.aligned):
        return None
    kind = chance.random.choice(("luks1", "luks2"))
    offset = chances.OFFSETS[kind]
    if offset < source.offset and source.size % source.object_size:
        return None
    key = chance.one_of(source.keys) if source.keys else None
    new_key, name = chance.key(), chance.name()
    below = (key, *source.below) if key else ()
    if key and offset > source.offset:
        # A padded base lies between, with the source's header.
        below = (key, *below)
    volume = chances.fresh(
        chance, kind, source.object_size, 0, key=new_key, below=below,
        blocks=source.inherited(source.object_size),
        parent=(image, snapshot), own_header=True)
    return steps.Step(
        "clone_own_header",
        {"image": image, "snapshot": snapshot, "name": name, "key": key,
         "new_key": new_key, "kind": kind},
        chance.new(name, volume), (name, image), repair=steps.MADE)


def flatten(chance: chances.Chance) -> Optional[steps.Step]:
    """Make a clone a volume of its own."""
    name, volume, key = chance.pick_open(
        lambda volume: volume.parent is not None and not (
            volume.own_header and volume.snapshots))
    if volume is None or volume.watched:
        return None
    return steps.Step("flatten", {"name": name, "key": key},
                      chance.model.flattened(name), (name,),
                      repair=steps.REDO)


def export(chance: chances.Chance) -> Optional[steps.Step]:
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


def copy_in(chance: chances.Chance) -> Optional[steps.Step]:
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
        chance.new(name, chances.fresh(chance, kind, size, count, key=key,
                                blocks=blocks)),
        (name,), repair=steps.MADE)


def other_data(chance: chances.Chance, step: steps.Step) -> steps.Step:
    """An import of other data, as large, to the same name."""
    name, = step.touched
    volume = step.after.volumes[name]
    blocks = chance.tags(len(volume.blocks))
    return dataclasses.replace(
        step, args={**step.args, "data": models.content(blocks)},
        after=step.after.with_volume(name, dataclasses.replace(
            volume, blocks=blocks)))


def reencrypt(chance: chances.Chance) -> Optional[steps.Step]:
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
    volume = chances.fresh(chance, kind, size, len(blocks), key=new_key,
                    blocks=blocks)
    return steps.Step(
        "reencrypt", args,
        chance.new(new_name, volume), (new_name, name), repair=steps.MADE)


def realign(chance: chances.Chance) -> Optional[steps.Step]:
    """Move a payload to where librbd opens it."""
    name, source = chance.pick(lambda volume: volume.kind != "none")
    if source is None or not chance.room():
        return None
    size = chance.random.choice(chance.ground.object_sizes)
    new_name, offset = chance.name(), chances.OFFSETS[source.kind]
    args = {"name": name, "new_name": new_name,
            "image_options": chance.ground.image_options(size)}
    refusal: Any = ()
    if source.watched:
        refusal = (exception.ImageLocked,)
    if source.own_header or source.offset == offset:
        refusal = (*refusal, exception.OperationRefused)
    if refusal:
        return steps.Step("realign", args, chance.model, (name,),
                          refusal=refusal)
    volume = dataclasses.replace(
        source, object_size=size, offset=offset, below=(), parent=None,
        own_header=False, snapshots=())
    return steps.Step(
        "realign", args,
        chance.new(new_name, volume), (new_name, name), repair=steps.MADE)
