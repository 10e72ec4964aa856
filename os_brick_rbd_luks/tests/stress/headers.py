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
"""Rules about what is in a header: passphrases, backups, erasing."""

from __future__ import annotations

import dataclasses
from typing import Any, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.stress import chance as chances
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import steps


def _new_key(chance: chances.Chance, volume: models.Volume) -> bytes:
    while True:
        key = chance.key()
        if key not in volume.keys:
            return key


def rekey(chance: chances.Chance) -> Optional[steps.Step]:
    """Replace a passphrase; sometimes by one that opens nothing."""
    name, volume, key = chance.pick_open()
    if volume is None:
        return None
    if chance.random.random() < 0.1:
        key = b"wrong"
    return steps.rekey(chance.model, name, key, _new_key(chance, volume))


def add_key(chance: chances.Chance) -> Optional[steps.Step]:
    """Add a passphrase."""
    name, volume, key = chance.pick_open(
        lambda volume: len(volume.keys) < chances.MOST_KEYS)
    if volume is None:
        return None
    if "passphrase-twice" not in chance.ground.faults and (
            chance.random.random() < 0.2):
        return steps.add_key(chance.model, name, key, key)
    return steps.add_key(chance.model, name, key, _new_key(chance, volume))


def remove_key(chance: chances.Chance) -> Optional[steps.Step]:
    """Remove a passphrase, or fail to remove the last one."""
    name, volume, key = chance.pick_open()
    if volume is None:
        return None
    return steps.remove_key(chance.model, name, key)


def backup(chance: chances.Chance) -> Optional[steps.Step]:
    """Make a header backup."""
    name, volume, _key = chance.pick_open()
    if volume is None or len(chance.model.backups) > 8:
        return None
    number = chance.name("b")
    after = dataclasses.replace(
        chance.model, counter=chance.model.counter + 1,
        backups={**chance.model.backups, number: models.Backup(
            volume.kind, volume.keys, volume.volume_key, volume.offset,
            volume.own_header)})
    return steps.Step("backup", {"name": name}, after, (name,), keep=number)


def restore(chance: chances.Chance) -> Optional[steps.Step]:
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
    if volume is None or fits and volume.own_header != found.own_header:
        return None
    refusal: Any = ()
    if volume.watched:
        refusal = (exception.ImageLocked,)
    if not fits:
        refusal = (*refusal, exception.OperationRefused,
                   exception.ImageTooSmall)
    # Force takes nothing but the passphrases of now, where it fits.
    return steps.changed(
        chance.model, name, "restore", {"data": number, "force": fits},
        steps.REDO, refusal, keys=found.keys)


def erase(chance: chances.Chance) -> Optional[steps.Step]:
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
