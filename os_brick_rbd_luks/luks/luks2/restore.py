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

"""How a header backup gets back onto a volume that still has a header.

The backup's keyslots may have the areas of present ones. To keep the volume
open at every cut, present keyslots that are in the way are first moved: their
areas copied to where neither header has one, and the header changed to say
so. When the backup's areas and header are complete, what is left of the
present ones is overwritten.
"""

from __future__ import annotations

import os
from typing import Dict, List

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.luks.luks2 import slots
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.luks import restore_steps

Writes = Dict[int, plans.Write]


def over_nothing(backup: luks2.Luks2Header, areas: restore_steps.Areas,
                 found: bytes) -> plans.Plan:
    """Write *backup* where no header is worth keeping.

    What looks like a header goes first, so that no cut leaves a mixture.

    :param areas: bytes of the area of each of the backup's keyslots
    :param found: what the image begins with now
    """
    wiped = tuple(plans.Write(offset, bytes(ondisk.SIZE))
                  for offset in (0, *detect.secondaries(found)))
    return plans.Plan((plans.Write(0, found),), (
        wiped, tuple(restore_steps.writes(backup.keyslots, areas).values()),
        *backup.stages()))


def over_header(current: luks2.Luks2Header, current_areas: restore_steps.Areas,
                backup: luks2.Luks2Header, areas: restore_steps.Areas,
                random: luks2.Random = os.urandom) -> plans.Plan:
    """Write *backup* over *current*, a header of the same volume.

    :param current_areas: bytes of the area of each present keyslot
    :param areas: bytes of the area of each of the backup's keyslots
    :raises OperationRefused: there is no room to move a present keyslot to,
        one copy is damaged, or the backup has no keyslot in use
    """
    luks2_check.requirements(backup.metadata)
    restore_steps.refuse_useless(backup.keyslots)
    luks2_check.requirements(current.metadata)
    old = restore_steps.writes(current.keyslots, current_areas)
    new = restore_steps.writes(backup.keyslots, areas)
    moving = [number for number, write in old.items()
              if any(_spoils(other, write) for other in new.values())]
    copies = _copies(current, backup, old, moving)
    stages: List[plans.Stage] = []
    before = current
    if copies:
        before = current.with_tree(records.with_areas(
            current.metadata.tree,
            {number: write.offset for number, write in copies.items()}))
        stages += [tuple(copies.values()), *before.stages()]
    restored = backup.over(before)
    stages += [tuple(new.values()), *restored.stages()]
    leftover = [write for write in (*old.values(), *copies.values())
                if not any(write.overlaps(other) for other in new.values())]
    if leftover:
        stages.append(tuple(plans.Write(write.offset, random(len(write.data)))
                            for write in leftover))
    return current.plan(tuple(stages))


def _spoils(new: plans.Write, old: plans.Write) -> bool:
    """Whether *new* changes any byte of *old*."""
    start, end = max(new.offset, old.offset), min(new.end, old.end)
    return (start < end and new.data[start - new.offset:end - new.offset]
            != old.data[start - old.offset:end - old.offset])


def _copies(current: luks2.Luks2Header, backup: luks2.Luks2Header,
            old: Writes, moving: List[int]) -> Writes:
    """The areas of the keyslots that move, at their new places."""
    used = slots.areas(current.metadata) + slots.areas(backup.metadata)
    copies: Writes = {}
    for number in moving:
        size = current.metadata.keyslots[number].area.size
        offset = luks2_layout.find_gap(used, 2 * current.primary.hdr_size,
                                       current.keyslots_end, size)
        if offset is None:
            raise exception.OperationRefused(
                reason="there is no room to keep the present keyslots "
                       "working while the backup is written; remove some "
                       "with 'rbd-luks key remove', or insist with --force "
                       "(force=True)")
        used.append((offset, size))
        copies[number] = plans.Write(offset, old[number].data)
    return copies
