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
"""What a step is: an action, and what the model is when it is done."""

from __future__ import annotations

import dataclasses
from typing import Any, Dict, Optional, Tuple, Type

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import model as models

#: How an operator goes on after an action was killed.
REDO = "redo"
KEYS = "keys"
MADE = "made"


@dataclasses.dataclass(frozen=True)
class Step:
    """One thing to do, and what has to come of it."""

    #: of :mod:`actions`, or of the world
    action: str
    args: Dict[str, Any]
    #: what the model is when it is done
    after: models.Model
    #: volumes to look at afterwards
    touched: Tuple[str, ...] = ()
    #: it has to be refused with one of these, and nothing to change
    refusal: Tuple[Type[BaseException], ...] = ()
    #: see above; None for what is never killed
    repair: Optional[str] = None
    #: what the action gives has to be
    result: Optional[models.Volume] = None
    #: under which name the world keeps what the action gives
    keep: Optional[str] = None

    def __str__(self) -> str:
        args = ", ".join(f"{name}={_short(value)}"
                         for name, value in self.args.items())
        text = f"{self.action}({args})"
        if self.refusal:
            text += " -> " + " or ".join(
                kind.__name__ for kind in self.refusal)
        return text


def _short(value: Any) -> str:
    if isinstance(value, bytes) and len(value) > 16:
        return f"<{len(value)} bytes: {value[:4].hex()}...>"
    return repr(value)


def changed(model: models.Model, name: str, action: str, args: Dict[str, Any],
            repair: Optional[str] = None, refusal: Any = (),
            **changes: Any) -> Step:
    """Give a step that changes a volume, or is refused."""
    after = model
    if not refusal:
        after = model.with_volume(name, dataclasses.replace(
            model.volumes[name], **changes))
    return Step(action, {"name": name, **args}, after, (name,),
                refusal=refusal, repair=repair)


def rekey(model: models.Model, name: str, key: bytes, new_key: bytes) -> Step:
    """Replace a passphrase, or try it with one that does not open."""
    keys = model.volumes[name].keys
    refusal = () if key in keys else (exception.WrongPassphrase,)
    return changed(model, name, "rekey", {"key": key, "new_key": new_key},
                   KEYS, refusal, keys=keys - {key} | {new_key})


def add_key(model: models.Model, name: str, key: bytes, new_key: bytes
            ) -> Step:
    """Add a passphrase."""
    return changed(model, name, "add_key", {"key": key, "new_key": new_key},
                   KEYS, keys=model.volumes[name].keys | {new_key})


def remove_key(model: models.Model, name: str, key: bytes) -> Step:
    """Remove a passphrase, but never the last one."""
    keys = model.volumes[name].keys
    refusal = (exception.LastKeyslot,) if keys == {key} else ()
    return changed(model, name, "remove_key", {"key": key}, KEYS, refusal,
                   keys=keys - {key})


def guest_write(model: models.Model, name: str, key: bytes, first: int,
                tags: bytes) -> Step:
    """Write what has those tags."""
    volume = model.volumes[name]
    return Step(
        "guest_write",
        {"name": name, "first": first, "tags": tags,
         "passphrases": (key, *volume.below) if volume.keys else ()},
        model.with_volume(name, volume.written(first, tags)), (name,),
        repair=REDO)


def take_snapshot(model: models.Model, name: str, snapshot: str) -> Step:
    """Take a snapshot."""
    volume = model.volumes[name]
    return changed(
        dataclasses.replace(model, counter=model.counter + 1), name,
        "take_snapshot", {"snapshot": snapshot},
        snapshots=(*volume.snapshots, (snapshot, volume.taken())))
