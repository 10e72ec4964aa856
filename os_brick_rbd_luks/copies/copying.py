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
"""Move data piece by piece, with some pieces under way at a time.

For what qemu-img does not read right (an encrypted image through librbd of
Ceph 16) or not at all (a pipe). librbd encrypts and decrypts the pieces, in C
and outside of Python's lock.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from typing import (Callable, IO, Iterator, List,
                    Optional, Tuple)

from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import workers
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import native_threads

#: Bytes of a piece. Each that is under way may be there twice, as it was read
#: and as it is written, so memory stays below 64 MiB with as many as
#: ``workers.THREADS``.
PIECE = base.DEFAULT_OBJECT_SIZE // 2

#: How many of a copy may be done while the first one is not. They hold no
#: data then, nor do those that wait.
_AHEAD = 4 * workers.WINDOW

Read = Callable[[int, int], bytes]
Write = Callable[[int, bytes], None]
Extents = zeros.Extents


def pieces(size: int, extents: Extents, piece: Optional[int] = None
           ) -> Iterator[Tuple[int, int, bool]]:
    """Offset and length of every piece, and whether it may have data.

    :param extents: where data may be, in ascending order
    :param piece: bytes of each but the last one, :data:`PIECE` if None
    """
    step = piece or PIECE
    left = iter(extents)
    extent = next(left, None)
    for offset in range(0, size, step):
        length = min(step, size - offset)
        while extent and sum(extent) <= offset:
            extent = next(left, None)
        yield offset, length, extent is not None and (
            extent[0] < offset + length)


def each(size: int, extents: Extents,
         job: Callable[[int, int, bool], int],
         piece: Optional[int] = None) -> int:
    """Call *job* with what :func:`pieces` gives; the sum of its results."""
    with contextlib.closing(workers.in_order(
            functools.partial(job, *found)
            for found in pieces(size, extents, piece))) as results:
        return sum(results)


def copy(read: Read, write: Write, size: int, extents: Extents, *,
         policy: zeros.Policy, sector: int = 1,
         report: Optional[progress.Report] = None) -> None:
    """Copy *size* bytes.

    :param extents: where the source may have data, in ascending order; the
        rest of it reads as zeros
    :param policy: which zeros are written
    :param sector: bytes of the target's; the last one is filled up with zeros
    """
    def move(offset: int, length: int, data_there: bool) -> int:
        data = _get(read, offset, length, data_there)
        _put(write, offset, data, sector, policy)
        return length

    done = 0
    there, near = itertools.tee(extents)
    jobs = (functools.partial(move, *piece) for piece, (*_, touched) in zip(
        pieces(size, there), pieces(size, policy.touched(size, near)))
        if touched)
    with contextlib.closing(workers.in_order(
            jobs, window=_AHEAD)) as results:
        for length in results:
            done += length
            if report:
                report(done, size)
    if report:
        report(size, size)


def copy_in(stream: IO[bytes], write: Write, limit: int, sector: int, *,
            policy: zeros.Policy,
            report: Optional[progress.Report] = None) -> int:
    """Copy all that *stream* has; the number of bytes.

    :param limit: bytes that there is room for
    :param sector: see :func:`copy`
    :param policy: see :func:`copy`
    :raises VolumeTooSmall: there are more
    """
    total = 0
    # One for each piece that may be there: it is read when another is
    # written, whichever that is.
    places = native_threads.original("queue").SimpleQueue()
    for _number in range(workers.WINDOW):
        places.put(None)

    def put(offset: int, data: bytes) -> int:
        try:
            return _put(write, offset, data, sector, policy)
        finally:
            places.put(None)

    def jobs() -> Iterator[Callable[[], int]]:
        nonlocal total
        while True:
            places.get()
            data = read_full(stream, PIECE)
            if not data:
                return
            offset, total = total, total + len(data)
            if total > limit:
                raise exception.VolumeTooSmall(
                    source="the stream", size=limit,
                    needed=f"more than {limit}")
            yield functools.partial(put, offset, data)

    with contextlib.closing(workers.in_order(
            jobs(), window=_AHEAD)) as results:
        for done in results:
            if report:
                report(done, None)
    return total


def read_full(stream: IO[bytes], length: int) -> bytes:
    """That many bytes, or all that come: a pipe gives them as it likes."""
    parts: List[bytes] = []
    while length > 0:
        part = stream.read(length)
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def copy_out(read: Read, size: int, extents: Extents,
             sink: Callable[[int, bytes], None],
             report: Optional[progress.Report] = None) -> None:
    """Give *size* bytes to *sink* in order, with the offset of each piece."""
    done = 0
    jobs = (functools.partial(_get, read, *piece)
            for piece in pieces(size, extents))
    with contextlib.closing(workers.in_order(jobs)) as results:
        for data in results:
            sink(done, data)
            done += len(data)
            if report:
                report(done, size)


def _get(read: Read, offset: int, length: int, data_there: bool) -> bytes:
    return read(offset, length) if data_there else bytes(length)


def _put(write: Write, offset: int, data: bytes, sector: int,
         policy: zeros.Policy) -> int:
    """Write whole sectors; the offset behind them."""
    padded = data + bytes(-len(data) % sector)
    for start, part in policy.written(padded):
        write(offset + start, part)
    return offset + len(padded)
