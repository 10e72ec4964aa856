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

"""Where a plan's writes are cut off, as by a loss of power.

A header is cut at every byte, whatever the tier: each of its bytes is a part
of some field. Key material means nothing unless all of it is there, so the
quick tier cuts it at its borders, a byte beside them, and at every 64th byte;
the full tier at every byte.
"""

from __future__ import annotations

from typing import Callable, Iterable, Iterator, NamedTuple

from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.tests import selection

#: Not at all: before the write and behind it.
WHOLE = 0

#: Steps, in bytes, from one cut to the next.
EVERY_BYTE = 1

#: For tests with so many plans that each has to do with less.
FEW = 16384


def key_material_step(quick: bool) -> int:
    """Bytes from one cut of key material to the next."""
    return 64 if quick else EVERY_BYTE

#: What key material is cut by in this run.
KEY_MATERIAL = key_material_step(selection.QUICK)


class Cut(NamedTuple):
    """A state that a plan leaves if it is cut off."""

    #: The stage that is cut; all before it are complete.
    stage: int
    #: Whether the stage's writes reach the disk last first.
    reverse: bool
    #: What of the stage reached the disk before the write that is cut.
    before: plans.Stage
    write: plans.Write
    #: Bytes of the write that reached the disk, from its start.
    size: int


def of_write(size: int, step: int,
             places: Iterable[int] = ()) -> tuple[int, ...]:
    """How many bytes of a write reach the disk in each of its cuts.

    :param size: bytes of the write
    :param step: bytes from one cut to the next, :data:`WHOLE` for none
    :param places: further cuts
    :returns: sorted, from 0 to *size*
    """
    inside = {1, size - 1, *range(0, size, step)} if step else set()
    inside.update(places)
    return tuple(sorted({0, size, *(
        cut for cut in inside if 0 < cut < size)}))


def of_plan(plan: plans.Plan,
            of: Callable[[plans.Write], Iterable[int]]) -> Iterator[Cut]:
    """Every cut of *plan*, in order.

    The writes of a stage may reach the disk in any order: here in theirs,
    and in reverse.

    :param of: the cuts of one write, as :func:`of_write` gives them
    """
    for number, stage in enumerate(plan.stages):
        for reverse in (False, True)[:len(stage)]:
            order = stage[::-1] if reverse else stage
            for place, write in enumerate(order):
                for size in of(write):
                    yield Cut(number, reverse, order[:place], write, size)
