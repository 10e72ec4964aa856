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
"""What rules choose from: the model, what the world can hold, and chance."""

from __future__ import annotations

import dataclasses
import random
from typing import Any, Callable, Dict, FrozenSet, Optional, Tuple

from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests import units

#: Type of a header -> bytes before the payload, with objects up to 4 MiB.
OFFSETS = {"none": 0, "luks1": 4 * units.MIB, "luks2": 16 * units.MIB}

#: LUKS1 has eight keyslots, and a re-key needs a free one.
MOST_KEYS = 4
MOST_VOLUMES = 6
MOST_SNAPSHOTS = 3


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


def fresh(chance: Chance, kind: str, object_size: int, count: int,
          **more: Any) -> models.Volume:
    """A new volume, with *more* of its fields."""
    key = more.pop("key", None)
    return models.Volume(
        kind, frozenset([key] if key else []),
        more.pop("blocks", bytes(count)), chance.model.counter + 1,
        object_size, more.pop("offset", OFFSETS[kind]), **more)
