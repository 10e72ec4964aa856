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
"""Compare a world with the model: sizes, passphrases, and every byte."""

from __future__ import annotations

from typing import Any, Iterator, Optional, Sequence, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import model as models

#: Passphrases of other volumes, and of earlier, that are tried on each.
TRIED = 3
#: What a program of its own reads is looked at after so many steps.
OTHERS = 3


class Differs(AssertionError):
    """The world is not what the model says."""


def volume(world: Any, model: models.Model, name: str, number: int) -> None:
    """Look at an image and its snapshots.

    :param number: of the step; what there is no time to try all of is
        tried in turn
    :raises Differs: one of them is not as it should be
    """
    wanted = model.volumes[name]
    with world.store.open(name, read_only=True) as image:
        snapshots = sorted(image.snapshots())
        parent = image.parent()
    _same(name, "snapshots", sorted(dict(wanted.snapshots)), snapshots)
    _same(name, "parent", wanted.parent is not None, parent is not None)
    for snapshot, state in ((None, wanted), *wanted.snapshots):
        full = name if snapshot is None else f"{name}@{snapshot}"
        _same(full, "bytes of the image", state.size + state.offset,
              world.image_size(name, snapshot))
        if state.kind == "none":
            _data(full, state, world.read(name, snapshot, ()))
            continue
        _header(world, full, name, snapshot, state)
        tried = _tried(model, state, number)
        _same(full, "passphrases that open it", sorted(state.keys),
              sorted(actions.opening(world.store, name, tried, snapshot)))
        _payload(world, full, name, snapshot, state, tried, number)


def _tried(model: models.Model, state: models.Volume, number: int
           ) -> Tuple[bytes, ...]:
    others = [key for key in model.known if key not in state.keys]
    start = number * TRIED % max(1, len(others))
    # The latest are those that were just replaced.
    chosen = {*others[-2:], *(others + others)[start:start + TRIED]}
    return (*sorted(state.keys), *sorted(chosen), b"never a passphrase")


def _header(world: Any, full: str, name: str, snapshot: Optional[str],
            state: models.Volume) -> None:
    with world.store.open(name, True, snapshot) as image:
        header = header_io.read_header(image)
    _same(full, "type", state.kind, header.type)
    _same(full, "data offset", state.offset, header.data_offset)
    _same(full, "mark of a clone", state.own_header, header.clone)
    _same(full, "damage of the header", None,
          getattr(header, "ailment", None))


def _payload(world: Any, full: str, name: str, snapshot: Optional[str],
             state: models.Volume, tried: Tuple[bytes, ...], number: int
             ) -> None:
    wrong = [key for key in tried if key not in state.keys]
    key = wrong[number % len(wrong)]
    try:
        world.read(name, snapshot, (key, *state.below))
    except (exception.WrongPassphrase, exception.KeyslotNotFound):
        pass
    except (exception.ImageIOError, exception.ImageNotFound):
        # What librbd, by ENOENT, says of a header without any keyslot.
        if state.keys:
            raise
    else:
        raise Differs(f"{full}: librbd opens it with {key!r}")
    if not state.keys:
        return
    keys = sorted(state.keys)
    chosen = keys[number % len(keys)]
    _data(full, state, world.read(name, snapshot, (chosen, *state.below)))
    with world.store.open(name, True, snapshot) as image:
        opened = unlocking.unlock(image, chosen)
        _same(full, "passphrases of layers below", _shortest(state.below),
              _shortest(sealed.look(image, opened.header).passphrases(
                  opened, chosen)))
    if snapshot is None and number % OTHERS == 0:
        for reader, data in world.other_readings(name, state, chosen):
            _data(f"{full} ({reader})", state, data)


def _shortest(below: Sequence[bytes]) -> Tuple[bytes, ...]:
    """The last passphrase is for all layers that follow."""
    found = tuple(below)
    while found[-2:-1] and found[-2] == found[-1]:
        found = found[:-1]
    return found


def _data(full: str, state: models.Volume, data: bytes) -> None:
    difference = state.first_difference(data)
    if difference:
        raise Differs(f"{full}: {difference}")


def _same(full: str, what: str, wanted: Any, found: Any) -> None:
    if wanted != found:
        raise Differs(f"{full}: {what}: should be {wanted!r}, "
                      f"and is {found!r}")


def names(world: Any, model: models.Model) -> None:
    """Look whether there is an image too many, or too few.

    What was made for clones is there as long as they are.
    """
    found = {name for name in world.images() if not _is_base(world, name)}
    _same("the store", "images", sorted(model.volumes), sorted(found))


def _is_base(world: Any, name: str) -> bool:
    return "rbd-luks-base." in name


def all_of(world: Any, model: models.Model, number: int) -> None:
    """Look at everything."""
    names(world, model)
    for name in _sorted(model):
        volume(world, model, name, number)


def _sorted(model: models.Model) -> Iterator[str]:
    return iter(sorted(model.volumes))
