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
"""What volumes should be: who opens them, and what a guest reads.

Pure values; nothing here knows a store. A volume is described block by block
of 4096 bytes, a tag for each: what was written last, or one of three that say
what a block without data reads as.
"""

from __future__ import annotations

import dataclasses
import functools
import struct
from typing import Dict, FrozenSet, Optional, Tuple

BLOCK = 4096

#: Nothing was ever written to the object: zeros in librbd with LUKS2 and on
#: a plain image; QEMU shows noise, so with LUKS1 nobody may rely on it, but
#: of a clone that only librbd opens.
UNTOUCHED = 0
#: Zeros that were written.
ZERO = 254
#: Whatever the reader makes of a hole in an object that has data.
ANY = 255
#: The largest tag of data.
TAGS = 250


@functools.lru_cache(maxsize=65536)
def block(tag: int, number: int) -> bytes:
    """What a block of that tag and place holds."""
    if tag == ZERO:
        return bytes(BLOCK)
    return struct.pack("<QQ", tag, number) * (BLOCK // 16)


def content(tags: bytes, first: int = 0) -> bytes:
    """What a guest writes so that blocks have *tags*.

    :param first: number of the first block
    """
    return b"".join(block(tag, first + at) for at, tag in enumerate(tags))


@dataclasses.dataclass(frozen=True)
class Volume:
    """An image, or a snapshot of one."""

    #: none, luks1 or luks2
    kind: str
    #: passphrases that open it, and no others do
    keys: FrozenSet[bytes]
    #: a tag for each block
    blocks: bytes
    #: which volume key it has, as a number of the model's own
    volume_key: int
    #: bytes
    object_size: int
    #: bytes before the payload
    offset: int
    #: a passphrase for each encrypted layer below, the nearest first
    below: Tuple[bytes, ...] = ()
    #: image and snapshot that it is a clone of
    parent: Optional[Tuple[str, str]] = None
    #: whether it has its parent's data under a header of its own
    own_header: bool = False
    snapshots: Tuple[Tuple[str, Volume], ...] = ()
    #: whether another client keeps it open
    watched: bool = False

    @property
    def size(self) -> int:
        """Decrypted bytes."""
        return len(self.blocks) * BLOCK

    @property
    def aligned(self) -> bool:
        """Whether the payload begins with an object."""
        return self.offset % self.object_size == 0

    def snapshot(self, name: str) -> Volume:
        """Give the state of a snapshot."""
        return dict(self.snapshots)[name]

    def taken(self) -> Volume:
        """Give what a snapshot of it is, taken now."""
        return dataclasses.replace(self, snapshots=(), watched=False)

    def settled(self, blocks: bytes) -> Volume:
        """Give it other *blocks*, where data makes holes of its neighbours.

        An encrypted object is all holes but for what was written.
        """
        if self.kind != "none":
            step = self.object_size // BLOCK
            hole = bytes((UNTOUCHED,))
            blocks = b"".join(
                piece if not piece.strip(hole) else
                piece.replace(hole, bytes((ANY,)))
                for piece in (blocks[at:at + step]
                              for at in range(0, len(blocks), step)))
        return dataclasses.replace(self, blocks=blocks)

    def written(self, first: int, tags: bytes) -> Volume:
        """Give what it is after a guest's write."""
        return self.settled(self.blocks[:first] + tags
                            + self.blocks[first + len(tags):])

    def resized(self, count: int) -> Volume:
        """Give what it is with that many blocks."""
        return self.settled(self.blocks[:count].ljust(
            count, bytes((UNTOUCHED,))))

    def zeros(self) -> bytes:
        """Give its blocks as somebody finds them who copies them.

        What reads as zeros becomes zeros that are data; of LUKS1, untouched
        blocks are no more than noise to one of its readers.
        """
        seen = ANY if self._is_qemu_s else ZERO
        return self.blocks.replace(bytes((UNTOUCHED,)), bytes((seen,)))

    @property
    def _is_qemu_s(self) -> bool:
        return self.kind == "luks1" and not self.own_header

    def inherited(self, object_size: int) -> bytes:
        """Give its blocks as a clone with a header of its own shows them.

        librbd copies no zeros up: where a whole object of the clone shows
        nothing else, it becomes one with holes by the first write.

        :param object_size: bytes, of the clone
        """
        seen, step = self.zeros(), object_size // BLOCK
        zeros = bytes((ZERO,))
        return b"".join(
            piece if piece.strip(zeros) else bytes((UNTOUCHED,)) * len(piece)
            for piece in (seen[at:at + step]
                          for at in range(0, len(seen), step)))

    def independent(self) -> Volume:
        """Give it, or a snapshot of it, as it is without a parent."""
        # Of LUKS1 with its own header, the zeros were written before.
        blocks = (self.zeros() if self.kind == "luks1" and self.own_header
                  else self.blocks)
        return dataclasses.replace(self, below=(), parent=None,
                                   own_header=False, blocks=blocks)

    def first_difference(self, data: bytes) -> Optional[str]:
        """Say where what a guest reads is not what it should be."""
        if len(data) != self.size:
            return f"{len(data)} bytes, not {self.size}"
        for number, tag in enumerate(self.blocks):
            if tag == ANY or tag == UNTOUCHED and self._is_qemu_s:
                continue
            found = data[number * BLOCK:(number + 1) * BLOCK]
            wanted = (bytes(BLOCK) if tag in (UNTOUCHED, ZERO)
                      else block(tag, number))
            if found != wanted:
                return (f"block {number} of {len(self.blocks)} should be "
                        f"{_named(tag)}, and is {_recognised(found)}")
        return None


def _named(tag: int) -> str:
    return "zeros" if tag in (UNTOUCHED, ZERO) else f"tag {tag}"


def _recognised(data: bytes) -> str:
    if not data.strip(b"\0"):
        return "zeros"
    tag, number = struct.unpack_from("<QQ", data)
    if data == struct.pack("<QQ", tag, number) * (BLOCK // 16):
        return f"tag {tag} of block {number}"
    return f"noise ({data[:8].hex()}...)"


@dataclasses.dataclass(frozen=True)
class Backup:
    """A header backup, whose bytes the world keeps."""

    kind: str
    keys: FrozenSet[bytes]
    volume_key: int
    offset: int
    own_header: bool


@dataclasses.dataclass(frozen=True)
class Model:
    """All there is."""

    volumes: Dict[str, Volume] = dataclasses.field(default_factory=dict)
    backups: Dict[str, Backup] = dataclasses.field(default_factory=dict)
    #: of names and volume keys
    counter: int = 0
    #: every passphrase there ever was
    known: Tuple[bytes, ...] = ()

    def with_volume(self, name: str, volume: Optional[Volume]) -> Model:
        """Give all there is with one volume another, or gone."""
        volumes = {**self.volumes}
        if volume is None:
            volumes.pop(name, None)
        else:
            volumes[name] = volume
        known = self.known
        if volume is not None:
            known += tuple(sorted(volume.keys - set(known)))
        return dataclasses.replace(self, volumes=volumes, known=known)

    def flattened(self, name: str) -> Model:
        """Give all there is with a volume, and its snapshots, independent."""
        volume = self.volumes[name]
        after = self.with_volume(name, dataclasses.replace(
            volume.independent(),
            snapshots=tuple((snapshot, state.independent())
                            for snapshot, state in volume.snapshots)))
        for snapshot, state in volume.snapshots:
            after = after._shortened((name, snapshot), len(state.below))
        return after

    def _shortened(self, parent: Tuple[str, str], count: int) -> Model:
        """Let clones of a snapshot have *count* layers less at the end."""
        after = self
        for name, volume in self.volumes.items():
            states = {"": volume, **dict(volume.snapshots)}
            clones = [snapshot for snapshot, state in states.items()
                      if count and state.parent == parent]
            for snapshot in clones:
                states[snapshot] = dataclasses.replace(
                    states[snapshot], below=states[snapshot].below[:-count])
            if clones:
                after = after.with_volume(name, dataclasses.replace(
                    states.pop(""), snapshots=tuple(states.items())))
            for snapshot in filter(None, clones):
                after = after._shortened((name, snapshot), count)
        return after

    def children(self, name: str, snapshot: Optional[str] = None
                 ) -> Tuple[str, ...]:
        """Names of the clones of an image, or of one snapshot of it."""
        return tuple(
            child for child, volume in self.volumes.items()
            for state in (volume, *dict(volume.snapshots).values())
            if state.parent is not None and state.parent[0] == name
            and snapshot in (None, state.parent[1]))
