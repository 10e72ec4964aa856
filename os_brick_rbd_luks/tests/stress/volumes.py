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
"""Rules about a volume as such: made, written to, resized, removed.

A rule makes a step out of the model and chance, or None where there is nothing
for it to do. Nothing is done here.
"""

from __future__ import annotations

from typing import Any, Dict, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import chance as chances
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import steps


def create(chance: chances.Chance) -> Optional[steps.Step]:
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
    volume = chances.fresh(chance, kind, size, chance.blocks(size), **more)
    args["size"] = volume.size
    return steps.Step(
        action, args, chance.new(name, volume), (name,),
        repair=None if action == "create_upstream" else steps.MADE)


def guest_write(chance: chances.Chance) -> Optional[steps.Step]:
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


def take_snapshot(chance: chances.Chance) -> Optional[steps.Step]:
    """Take a snapshot."""
    name, volume = chance.pick(
        lambda volume: len(volume.snapshots) < chances.MOST_SNAPSHOTS)
    if volume is None:
        return None
    return steps.take_snapshot(chance.model, name, chance.name("s"))


def remove_snapshot(chance: chances.Chance) -> Optional[steps.Step]:
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


def revert(chance: chances.Chance) -> Optional[steps.Step]:
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


def resize(chance: chances.Chance) -> Optional[steps.Step]:
    """Grow or shrink."""
    name, volume = chance.pick(
        lambda volume: bool(volume.keys) or volume.kind == "none")
    if volume is None:
        return None
    count = chance.blocks(volume.object_size)
    grows = count > len(volume.blocks)
    refusal: Any = ()
    cuts = (count * models.BLOCK + volume.offset) % volume.object_size
    if not grows and volume.parent and (
            volume.own_header and (volume.snapshots or cuts)
            or volume.kind == "luks2" and cuts):
        refusal = (exception.OperationRefused,)
    if volume.watched and count != len(volume.blocks):
        # By more than its data offset it may grow, and somebody is told.
        more = (count - len(volume.blocks)) * models.BLOCK
        if grows and (volume.kind == "none" or more > volume.offset):
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


def remove(chance: chances.Chance) -> Optional[steps.Step]:
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


def watch(chance: chances.Chance) -> Optional[steps.Step]:
    """Let another client open a volume, or close it."""
    name, volume = chance.pick(
        lambda volume: volume.watched or chance.random.random() < 0.5)
    if volume is None:
        return None
    return steps.changed(chance.model, name,
                         "unwatch" if volume.watched else "watch", {},
                         watched=not volume.watched)
