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

"""A change to a header, as ordered stages of writes for an image to apply."""

from __future__ import annotations

import dataclasses
from typing import Iterable, List, Tuple


@dataclasses.dataclass(frozen=True)
class Write:
    """*data* at *offset* bytes from the start of the image."""

    offset: int
    data: bytes = dataclasses.field(repr=False)

    @property
    def end(self) -> int:
        """The first byte behind the write."""
        return self.offset + len(self.data)

    def overlaps(self, other: Write) -> bool:
        """Whether both write some byte."""
        return self.offset < other.end and other.offset < self.end


Stage = Tuple[Write, ...]

#: Bytes of zeros between two writes, at most, that make one of them.
_GAP = 4096


@dataclasses.dataclass(frozen=True)
class Plan:
    """Stages to be written in order, with a flush behind each.

    Cut at any byte of any stage, the volume opens with an old or a new
    passphrase. That holds only on the header the plan was made from: the
    image must still hold *expected* when the first stage is written.
    """

    expected: Stage
    stages: Tuple[Stage, ...]

    def then(self, other: Plan) -> Plan:
        """The plan followed by *other*, which was made from its result."""
        return Plan(self.expected, self.stages + other.stages)


def joined(writes: Iterable[Write]) -> Stage:
    """What *writes*, one after the other, leave in the end: in few writes.

    Those that touch become one, and so do those that are next to each other
    but for alignment, which is filled with zeros.
    """
    writes = [*writes]
    ends: List[List[int]] = []
    for write in sorted(writes, key=lambda write: write.offset):
        if ends and write.offset <= ends[-1][1] + _GAP:
            ends[-1][1] = max(ends[-1][1], write.end)
        else:
            ends.append([write.offset, write.end])
    found = []
    for begin, end in ends:
        data = bytearray(end - begin)
        for write in writes:
            if begin <= write.offset < end:
                data[write.offset - begin:write.end - begin] = write.data
        found.append(Write(begin, bytes(data)))
    return tuple(found)
