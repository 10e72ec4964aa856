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

The backup's keyslots may have the numbers, and so the areas, of present
ones. To keep the volume open at every cut, present keyslots that are in the
way are first copied to numbers that are free in both headers, and dropped
when the backup's own keyslots are complete. No keyslot's area ever moves: a
torn write of an offset would spoil the header.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Dict, List

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks1 import check as luks1_check
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.luks import restore_steps

Blocks = Dict[int, ondisk.KeyBlock]


def over_nothing(backup: luks1.Luks1Header, areas: restore_steps.Areas,
                 found: bytes) -> plans.Plan:
    """Write *backup* where no header is worth keeping.

    What looks like a header goes first, so that no cut leaves a mixture.

    :param areas: bytes of the area of each of the backup's keyslots
    :param found: what the image begins with now
    """
    wiped = plans.Write(0, bytes(luks1_layout.KEYSLOT_ALIGNMENT))
    return plans.Plan((plans.Write(0, found),), (
        (wiped,), tuple(restore_steps.writes(backup.keyslots, areas).values()),
        (plans.Write(0, backup.pack()),)))


def over_header(current: luks1.Luks1Header, current_areas: restore_steps.Areas,
                backup: luks1.Luks1Header, areas: restore_steps.Areas,
                random: luks1.Random = os.urandom) -> plans.Plan:
    """Write *backup* over *current*, a header of the same volume.

    :param current_areas: bytes of the area of each present keyslot
    :param areas: bytes of the area of each of the backup's keyslots
    :raises OperationRefused: there is no free keyslot to keep a present one
        in, or the backup has none in use
    """
    restore_steps.refuse_useless(backup.keyslots)
    backup = backup.over(current)
    old = restore_steps.writes(current.keyslots, current_areas)
    new = restore_steps.writes(backup.keyslots, areas)
    covered = {number for number, write in old.items()
               if any(write.overlaps(other) for other in new.values())}
    in_the_way = [number for number in old
                  if number in new or number in covered]
    kept = {number: current.phdr.key_blocks[number]
            for number in old if number not in in_the_way}
    moving = [number for number in in_the_way
              if not current.keyslot(number).damage
              and not _is_same(current, old, backup, new, number)
              and not _has_copy(current.phdr.key_blocks[number], kept)]
    copies, blocks = _copy(current, old, moving, new)
    both = _checked(backup.with_blocks({**kept, **blocks}))
    stages: List[plans.Stage] = []
    if copies:
        copied = _checked(current.with_blocks(blocks))
        stages += [tuple(copies.values()), (plans.Write(0, copied.pack()),)]
    stages += [tuple(new.values()), (plans.Write(0, both.pack()),)]
    leftover = [write for number, write in old.items()
                if number not in covered] + list(copies.values())
    if leftover:
        stages.append(tuple(plans.Write(write.offset, random(len(write.data)))
                            for write in leftover))
    stages.append((plans.Write(0, backup.pack()),))
    return current.plan(tuple(stages))


def _is_same(current: luks1.Luks1Header, old: Dict[int, plans.Write],
             backup: luks1.Luks1Header, new: Dict[int, plans.Write],
             number: int) -> bool:
    return (old[number] == new.get(number)
            and current.phdr.key_blocks[number]
            == backup.phdr.key_blocks[number])


def _has_copy(block: ondisk.KeyBlock, kept: Blocks) -> bool:
    """Whether a restore that was cut short has copied the keyslot already.

    Salts are random: equal ones are those of a keyslot and its copy.
    """
    return any((block.salt, block.iterations) == (other.salt, other.iterations)
               for other in kept.values())


def _copy(current: luks1.Luks1Header, old: Dict[int, plans.Write],
          moving: List[int], new: Dict[int, plans.Write]
          ) -> tuple[Dict[int, plans.Write], Blocks]:
    """The areas and the records of copies, by their new numbers."""
    copies: Dict[int, plans.Write] = {}
    blocks: Blocks = {}
    free = [number for number in range(ondisk.KEYSLOTS)
            if number not in old and number not in new]
    for source in moving:
        if not free:
            raise _no_room()
        number = free.pop(0)
        offset = current.phdr.key_blocks[number].key_material_offset
        copies[number] = plans.Write(offset * cipher.SECTOR, old[source].data)
        if any(copies[number].overlaps(write) for write in new.values()):
            raise _no_room()
        blocks[number] = dataclasses.replace(
            current.phdr.key_blocks[source], key_material_offset=offset)
    return copies, blocks


def _checked(changed: luks1.Luks1Header) -> luks1.Luks1Header:
    """Refuse what two headers with unlike keyslot areas would make."""
    try:
        luks1_check.check(changed.phdr)
    except exception.CorruptHeader as error:
        raise _no_room() from error
    return changed


def _no_room() -> exception.OperationRefused:
    return exception.OperationRefused(
        reason="there is no room to keep the present keyslots working while "
               "the backup is written; remove some with 'rbd-luks key "
               "remove', or insist with --force (force=True)")
