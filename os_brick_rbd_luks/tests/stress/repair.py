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
"""What an operator does after a command was killed, and what he may find.

Either what was before or what should be after it, for passphrases both at
once; never anything else.
"""

from __future__ import annotations

import dataclasses
from typing import Any, FrozenSet, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import check
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import steps


def after_kill(world: Any, model: models.Model, step: steps.Step
               ) -> models.Model:
    """Put right what was left, and say what the model is now.

    :raises check.Differs: what was left is neither old nor new
    """
    if step.repair == steps.MADE:
        return _made(world, model, step)
    name = step.touched[0] if step.action != "remove" else step.args["name"]
    if name not in world.images() and step.action == "remove":
        return step.after
    world.fence(name)
    if model.volumes[name].kind != "none":
        _mend_header(world, name)
    if step.repair == steps.KEYS:
        return _keys(world, model, step, name)
    _between(world, model, step, name)
    world.act(step.action, step.args)
    return step.after


def _made(world: Any, model: models.Model, step: steps.Step
          ) -> models.Model:
    """An image is complete or not there, but for its partial name."""
    name = step.args.get("new_name") or step.args["name"]
    half = partial.PREFIX + name
    if half in world.images():
        world.fence(half)
        _made_again(world, step, half)
    if name not in world.images():
        _discard_bases(world)
        return dataclasses.replace(model, counter=step.after.counter)
    world.fence(name)
    check.volume(world, step.after, name, 0)
    return step.after


def _made_again(world: Any, step: steps.Step, half: str) -> None:
    """The next run says what it found, and removes it if told to."""
    try:
        world.act(step.action, step.args)
    except exception.HalfMade:
        world.act(step.action, {**step.args, "restart": True})
        return
    raise check.Differs(f"{half} was left, and {step.action} went on")


def _discard_bases(world: Any) -> None:
    """A base without a clone, as its next clone would find it."""
    for name in sorted(world.images()):
        if "rbd-luks-base." not in name:
            continue
        world.fence(name)
        with world.store.open(name) as image:
            snapshots = image.snapshots()
            if any(image.children(each) for each in snapshots):
                continue
            for each in snapshots:
                image.remove_snapshot(each)
        world.discard(name)


def _mend_header(world: Any, name: str) -> None:
    """As 'header repair' does it, if one copy was not written."""
    with world.store.open(name) as image:
        header = header_io.read_header(image)
        if isinstance(header, luks2.Luks2Header) and header.ailment:
            repair.repair(image)


def _keys(world: Any, model: models.Model, step: steps.Step, name: str
          ) -> models.Model:
    """The old passphrases, the new ones, or all of them open it."""
    found = _found(world, model, step, name)
    after = step.after.volumes[name].keys
    _clear(world, name, step.after.known, min(found))
    if not after <= found:
        return model
    for key in sorted(found - after):
        actions.remove_key(world.store, name, key)
    return step.after


def _found(world: Any, model: models.Model, step: steps.Step, name: str
           ) -> FrozenSet[bytes]:
    before = model.volumes[name].keys
    after = step.after.volumes[name].keys
    found = actions.opening(world.store, name, step.after.known)
    enough = (step.action == "erase" or before <= found or after <= found)
    if not enough or not found <= before | after:
        raise check.Differs(
            f"{name}: killed, it is opened by {sorted(found)}, neither what "
            f"was, {sorted(before)}, nor what should be, {sorted(after)}")
    return found


def _clear(world: Any, name: str, known: Tuple[bytes, ...], proof: bytes
           ) -> None:
    """Remove keyslots that were overwritten and are in the header still.

    :param proof: a passphrase that opens another one
    """
    with world.store.open(name) as image:
        for slot in header_io.read_header(image).keyslots:
            if not any(_opens(image, key, slot.number) for key in known):
                keyslots.remove_number(image, slot.number, proof)


def _opens(image: Any, key: bytes, keyslot: int) -> bool:
    try:
        unlocking.unlock(image, key, keyslot)
    except exception.WrongPassphrase:
        return False
    return True


def _between(world: Any, model: models.Model, step: steps.Step, name: str
             ) -> None:
    """Look at what has to hold before the action is done again."""
    if model.volumes[name].kind != "none" and name in step.after.volumes:
        _found(world, model, step, name)
