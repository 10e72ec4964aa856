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

"""Data piece by piece: all of it, once, and nothing after an error."""

from __future__ import annotations

import io
import threading
import time

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import workers
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.copies import pieces
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

SETTINGS = properties.examples(20)

PIECE = pieces.PIECE
GRAIN = pieces.GRAIN

blocks = pieces.blocks
data_of = pieces.data_of
cuts = strategies.sets(strategies.integers(0, 700), max_size=8)


def hide(data, cuts):
    """Extents of *data* between cuts, and it with zeros elsewhere."""
    edges = sorted(cut for cut in cuts if cut <= len(data))
    extents = [(begin, end - begin)
               for begin, end in zip(edges[::2], edges[1::2])]
    found = bytearray(len(data))
    for begin, length in extents:
        found[begin:begin + length] = data[begin:begin + length]
    return extents, bytes(found)


class CopyingTestCase(pieces.PiecesTestCase):

    def setUp(self):
        super().setUp()
        self.reports = []

    def report(self, done, total):
        self.reports.append((done, total))

    def assert_no_threads(self):
        self.assertEqual([threading.current_thread()],
                         threading.enumerate())


class Target:
    """Bytes that remember which were written."""

    def __init__(self, size, before=b"\xff"):
        self.data = bytearray(before * size)
        self.written = bytearray(size)

    def write(self, offset, data):
        assert data
        end = offset + len(data)
        assert end <= len(self.data)
        assert not any(self.written[offset:end])
        self.written[offset:end] = b"\1" * len(data)
        self.data[offset:end] = data


@ddt.ddt
class ZeroTest(testtools.TestCase):

    @ddt.data((b"", True), (bytes(5), True), (b"\0x", False))
    @ddt.unpack
    def test_is_zero(self, data, expected):
        self.assertIs(expected, base.is_zero(data))


@ddt.ddt
class PiecesTest(CopyingTestCase):

    def test_each(self):
        seen = []

        def job(*piece):
            seen.append(piece)
            return piece[1]

        self.assertEqual(130, copying.each(130, [(64, 1)], job))
        self.assertEqual([*copying.pieces(130, [(64, 1)])], sorted(seen))
        self.assert_no_threads()

    def test_each_ends_with_an_error(self):
        def job(offset, *_piece):
            if offset:
                raise exception.ImageFull(action="write")
            return 0

        self.assertRaises(exception.ImageFull, copying.each, 1000, [], job)
        self.assert_no_threads()

    @ddt.data((0, [(0, 5)], []), (10, [], [(0, 10, False)]),
              (10, [(0, 1)], [(0, 10, True)]),
              (130, [(64, 1)], [(0, 64, False), (64, 64, True),
                                (128, 2, False)]),
              (130, [(63, 2)], [(0, 64, True), (64, 64, True),
                                (128, 2, False)]),
              (64, [(64, 64)], [(0, 64, False)]),
              # Of a payload that begins within an object.
              (64, [(-10, 64)], [(0, 64, True)]),
              (64, [(-10, 10)], [(0, 64, False)]),
              (128, [(0, 1), (2, 1), (5, 1), (100, 1)],
               [(0, 64, True), (64, 64, True)]))
    @ddt.unpack
    def test_pieces(self, size, extents, expected):
        self.assertEqual(expected, [*copying.pieces(size, extents)])

    def test_extents_are_asked_for_as_needed(self):
        """Those of a large image are many."""
        asked = []

        def extents():
            for number in range(100):
                asked.append(number)
                yield number * PIECE, PIECE

        found = copying.pieces(100 * PIECE, extents())
        next(found)
        self.assertEqual([0], asked)


@ddt.ddt
class CopyTest(CopyingTestCase):

    def check(self, found, edges, sparse):
        data = data_of(found)
        extents, expected = hide(data, edges)
        read = []

        def reader(offset, length):
            read.append((offset, length))
            return expected[offset:offset + length]

        target = Target(len(data), b"\0" if sparse else b"\xff")
        self.reports.clear()
        copying.copy(reader, target.write, len(data), iter(extents),
                     policy=zeros.skipped() if sparse else zeros.WRITTEN,
                     report=self.report)
        self.assertEqual(expected, bytes(target.data))
        self.assertEqual((len(data), len(data)), self.reports[-1])
        done = [done for done, _total in self.reports]
        self.assertEqual(sorted(done), done)
        # Only what can have data is read, and zeros are written if asked.
        for offset, length in read:
            self.assertTrue(any(begin < offset + length
                                and offset < begin + count
                                for begin, count in extents))
        if not sparse:
            self.assertEqual(b"\1" * len(data), bytes(target.written))

    @SETTINGS
    @hypothesis.given(blocks, cuts, strategies.booleans())
    def test_target_gets_all(self, found, edges, sparse):
        self.check(found, edges, sparse)

    def test_sparse_zeros_are_not_written(self):
        target = Target(4 * PIECE, b"\0")
        data = bytes(PIECE) + b"x" + bytes(3 * PIECE - 1)
        copying.copy(lambda offset, length: data[offset:offset + length],
                     target.write, len(data), [(0, len(data))],
                     policy=zeros.skipped())
        self.assertEqual(GRAIN, sum(target.written))

    def test_several_at_a_time(self):
        """Not one after the other, and not more than the window."""
        together, most = threading.Barrier(workers.THREADS, timeout=20), []
        running = []

        def read(offset, length):
            running.append(offset)
            most.append(len(running))
            together.wait()
            running.remove(offset)
            return b"x" * length

        size = 2 * workers.THREADS * PIECE
        target = Target(size)
        copying.copy(read, target.write, size, [(0, size)],
                     policy=zeros.WRITTEN)
        self.assertEqual(b"x" * size, bytes(target.data))
        self.assertLessEqual(max(most), workers.THREADS)

    @ddt.data(0, 3, 9, 119)
    def test_error_stops_all(self, at):
        """None writes any more when the error is told."""
        error, over, late = ZeroDivisionError(), [], []
        size = (at + 2 * copying._AHEAD) * PIECE

        def write(offset, data):
            if offset == at * PIECE:
                raise error
            time.sleep(0.002)
            late.append(bool(over))

        self.assertIs(error, self.assertRaises(
            ZeroDivisionError, copying.copy,
            lambda offset, length: b"x" * length, write, size,
            [(0, size)], policy=zeros.WRITTEN, report=self.report))
        over.append(True)
        self.assert_no_threads()
        self.assertNotIn(True, late)
        self.assertLess(len(late), at + copying._AHEAD + 1)
        self.assertNotIn((size, size), self.reports)

    @ddt.data(KeyboardInterrupt, SystemExit)
    def test_interrupted(self, kind):
        def report(done, total):
            raise kind

        size = 2 * copying._AHEAD * PIECE
        target = Target(size)
        self.assertRaises(kind, copying.copy,
                          lambda offset, length: b"x" * length, target.write,
                          size, [(0, size)], policy=zeros.WRITTEN,
                          report=report)
        self.assert_no_threads()
        self.assertLessEqual(sum(target.written),
                             (copying._AHEAD + 1) * PIECE)

    def test_memory(self):
        """Of what waits, and of what is done, nothing is kept."""
        held, most, lock = [0], [], threading.Lock()
        first = threading.Event()

        def read(offset, length):
            with lock:
                held[0] += length
                most.append(held[0])
            return b"x" * length

        def write(offset, data):
            if not offset:
                # All that may be done is done before it.
                first.wait(20)
            with lock:
                held[0] -= len(data)
                if len(most) == copying._AHEAD and held[0] == PIECE:
                    first.set()

        size = 2 * copying._AHEAD * PIECE
        copying.copy(read, write, size, [(0, size)], policy=zeros.WRITTEN)
        self.assertTrue(first.is_set())
        self.assertLessEqual(max(most), workers.THREADS * PIECE)

    def test_extents_fail(self):
        def extents():
            yield 0, PIECE
            raise exception.ImageIOError(action="look", reason="x")

        self.assertRaises(
            exception.ImageIOError, copying.copy,
            lambda offset, length: b"x" * length, Target(9 * PIECE).write,
            9 * PIECE, extents(), policy=zeros.WRITTEN)
        self.assert_no_threads()


class Stream(io.RawIOBase):
    """Gives so many bytes at a time."""

    def __init__(self, data, counts=(1,)):
        super().__init__()
        self._data = io.BytesIO(data)
        self._counts = [*counts]
        self.asked = 0

    def read(self, length=-1):
        assert length > 0
        count = self._counts[self.asked % len(self._counts)]
        self.asked += 1
        return self._data.read(min(length, count))


@ddt.ddt
class CopyInTest(CopyingTestCase):

    @SETTINGS
    @hypothesis.given(blocks, strategies.booleans(),
                      strategies.lists(strategies.integers(1, 200),
                                       min_size=1, max_size=5))
    def test_short_reads(self, found, sparse, counts):
        data = data_of(found)
        target = Target(1600, b"\0" if sparse else b"\xff")
        self.reports.clear()
        self.assertEqual(len(data), copying.copy_in(
            Stream(data, counts), target.write, 1600, 8,
            policy=zeros.skipped() if sparse else zeros.WRITTEN,
            report=self.report))
        rounded = data + bytes(-len(data) % 8)
        self.assertEqual(rounded, bytes(target.data[:len(rounded)]))
        self.assertFalse(any(target.written[len(rounded):]))
        if data:
            self.assertEqual((len(rounded), None), self.reports[-1])

    @ddt.data(0, 1, PIECE, 3 * PIECE + 5)
    def test_too_much(self, limit):
        for more in (1, 500):
            target = Target(limit)
            error = self.assertRaises(
                exception.VolumeTooSmall, copying.copy_in,
                Stream(b"x" * (limit + more), [PIECE]), target.write, limit,
                1, policy=zeros.WRITTEN)
            self.assertEqual(limit, error.size)
            self.assert_no_threads()

    @ddt.data(0, PIECE, 3 * PIECE + 8)
    def test_just_enough(self, limit):
        target = Target(limit)
        self.assertEqual(limit, copying.copy_in(
            Stream(b"x" * limit, [PIECE]), target.write, limit, 8,
            policy=zeros.WRITTEN))
        self.assertEqual(b"x" * limit, bytes(target.data))

    def test_memory(self):
        """An endless stream is not read faster than it is written."""
        go = threading.Event()
        stream = Stream(b"x" * 100 * PIECE, [PIECE])
        seen = []

        def write(offset, data):
            go.wait(20)

        def look():
            # Sooner than the writes end by themselves.
            try:
                waiting.until(lambda: stream.asked >= workers.WINDOW,
                              "a full window", seconds=10, pause=0.005)
                time.sleep(0.05)
                seen.append(stream.asked)
            finally:
                go.set()

        thread = threading.Thread(target=look)
        thread.start()
        copying.copy_in(stream, write, 100 * PIECE, 8, policy=zeros.WRITTEN)
        thread.join()
        self.assertEqual([workers.WINDOW], seen)

    def test_slow_piece(self):
        """Others are read and written meanwhile, and none is kept."""
        go, done = threading.Event(), []

        def write(offset, data):
            if not offset:
                self.assertTrue(go.wait(20))
            done.append(offset)
            if len(done) == 2 * workers.WINDOW:
                go.set()

        size = 3 * workers.WINDOW * PIECE
        self.assertEqual(size, copying.copy_in(
            Stream(b"x" * size, [PIECE]), write, size, 8,
            policy=zeros.WRITTEN))
        self.assertNotIn(0, done[:2 * workers.WINDOW])

    def test_stream_fails(self):
        class Broken(Stream):
            def read(self, length=-1):
                if self.asked > 3:
                    raise OSError("gone")
                return super().read(length)

        self.assertRaises(OSError, copying.copy_in,
                          Broken(b"x" * 1000, [PIECE]), Target(1000).write,
                          1000, 8, policy=zeros.WRITTEN)
        self.assert_no_threads()

    def test_window_of_real_sizes(self):
        """All that is under way, twice, is below 64 MiB."""
        for count in (workers.THREADS, workers.WINDOW):
            self.assertLessEqual(count * pieces.REAL * 2, 64 * units.MIB)


@ddt.ddt
class CopyOutTest(CopyingTestCase):

    @SETTINGS
    @hypothesis.given(blocks, cuts)
    def test_in_order(self, found, edges):
        data = data_of(found)
        extents, expected = hide(data, edges)
        out = bytearray()

        def read(offset, length):
            if offset % 3 == 0:
                time.sleep(0.0005)
            return expected[offset:offset + length]

        def sink(offset, part):
            self.assertEqual(len(out), offset)
            out.extend(part)

        copying.copy_out(read, len(data), extents, sink, self.report)
        self.assertEqual(expected, bytes(out))

    @ddt.data(0, 1, 15)
    def test_sink_fails(self, at):
        def sink(offset, data):
            if offset == at * PIECE:
                raise BrokenPipeError

        self.assertRaises(BrokenPipeError, copying.copy_out,
                          lambda offset, length: b"x" * length, 20 * PIECE,
                          [(0, 20 * PIECE)], sink, self.report)
        self.assert_no_threads()
        self.assertEqual([((number + 1) * PIECE, 20 * PIECE)
                          for number in range(at)], self.reports)
