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

"""RADOS objects: their bytes, and which of them an OSD says were written.

An object ends where its last write did; what is behind reads as zeros. A hole
is an extent before the end that was never written, or was discarded. Zeros
that were written are no hole. BlueStore tells of holes byte by byte, memstore
of none.
"""

from __future__ import annotations

from typing import Iterable, List, Tuple, Union

#: Bytes of the smallest part of an object that librbd discards: it leaves
#: what is smaller, and the rest of what is no multiple, as it is
#: (``rbd_discard_granularity_bytes``).
GRANULARITY = 65536

#: Most bytes of one discard.
MOST = 0x7fffffff

#: Bytes of the smallest read for which librbd asks for the holes, unless
#: told otherwise (``rbd_sparse_read_threshold_bytes``).
THRESHOLD = 65536

#: Begins and ends, ascending and apart.
Extents = List[Tuple[int, int]]


class Object(bytearray):
    """The bytes of an object, up to its end.

    :ivar written: what of them is no hole
    """

    def __init__(self, content: Union[bytes, bytearray] = b"") -> None:
        super().__init__(content)
        self.written: Extents = [(0, len(self))] if self else []

    def put(self, offset: int, data: bytes) -> None:
        """Write."""
        end = offset + len(data)
        if offset > len(self):
            self.extend(bytes(offset - len(self)))
        self[offset:end] = data
        self.written = merged([*self.written, (offset, end)])

    def punch(self, begin: int, end: int) -> None:
        """Make a hole; the object stays as long as it is."""
        end = min(end, len(self))
        if begin < end:
            self[begin:end] = bytes(end - begin)
            self.written = without(self.written, begin, end)

    def truncate(self, size: int) -> None:
        """Let it end there, if it is longer."""
        if size < len(self):
            del self[size:]
            self.written = without(self.written, size, MOST)

    def copied(self) -> Object:
        """Another one with the same bytes and holes."""
        other = Object(self)
        other.written = list(self.written)
        return other


def merged(extents: Iterable[Tuple[int, int]]) -> Extents:
    """Put those that touch together."""
    found: Extents = []
    for begin, end in sorted(extents):
        if found and begin <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        elif begin < end:
            found.append((begin, end))
    return found


def without(extents: Iterable[Tuple[int, int]], begin: int, end: int
            ) -> Extents:
    """Leave out what is between *begin* and *end*."""
    return [(first, last) for old in extents
            for first, last in ((old[0], min(old[1], begin)),
                                (max(old[0], end), old[1])) if first < last]


def discarded(begin: int, end: int, object_size: int) -> Tuple[int, int]:
    """What librbd discards of *begin* to *end* of an object.

    Source: ``io/ImageRequest.cc`` (``ImageDiscardRequest``): with objects no
    larger than the granularity, what reaches the end is cut off exactly.
    """
    grain = min(GRANULARITY, object_size)
    if grain < object_size or end < object_size:
        begin, end = -(-begin // grain) * grain, end - end % grain
    return begin, max(begin, end)
