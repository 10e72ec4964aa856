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

"""Plain text through Python, against a model of a few lines."""

from __future__ import annotations

import hashlib

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

#: Bytes of the payload.
SIZE = 16 * 512
SETTINGS = properties.examples(20)
KINDS = [(spec, length) for spec, lengths in sorted(
    cipher.SUPPORTED.items()) for length in lengths]

offsets = strategies.one_of(
    strategies.integers(0, SIZE),
    strategies.sampled_from([0, 1, 511, 512, 513, SIZE - 513, SIZE - 1,
                             SIZE]))
lengths = strategies.one_of(
    strategies.integers(0, SIZE),
    strategies.sampled_from([0, 1, 511, 512, 513, 1024, SIZE]))
reads = strategies.tuples(strategies.just("read"), offsets, lengths)
writes = strategies.tuples(strategies.just("write"), offsets,
                           strategies.binary(max_size=1600))


def make(spec="aes-xts-plain64", length=64, size=SIZE, filled=True):
    """A volume's plain text, all zeros, and its image."""
    image = stores.MemoryStore().create("volume-1", 4 * units.MIB + size)
    formatting.format_new(image, base.OLD, formatting.Options(
        cipher_spec=spec, key_bytes=length))
    opened = unlocking.unlock(image, base.OLD)
    plain = plaintext.Plaintext(image, opened)
    if filled:
        plain.write(0, bytes(plain.size()))
    image.content.written.clear()
    return plain, image, opened


@ddt.ddt
class ModelTest(testtools.TestCase):

    @ddt.data(*KINDS)
    @ddt.unpack
    def test_random_reads_and_writes(self, spec, length):
        plain, _image, _opened = make(spec, length)

        @SETTINGS
        @hypothesis.given(strategies.lists(strategies.one_of(reads, writes),
                                           max_size=6),
                          strategies.sampled_from([512, 1024, 4 * units.MIB]))
        def check(steps, chunk):
            plaintext._CHUNK = chunk
            plain.write(0, bytes(SIZE))
            model = bytearray(SIZE)
            for kind, offset, what in steps:
                if kind == "read":
                    self.assertEqual(bytes(model[offset:offset + what]),
                                     plain.read(offset, what))
                elif offset + len(what) > SIZE:
                    self.assertRaises(exception.ImageTooSmall, plain.write,
                                      offset, what)
                else:
                    plain.write(offset, what)
                    model[offset:offset + len(what)] = what
            self.assertEqual(bytes(model), plain.read(0, SIZE))

        self.addCleanup(setattr, plaintext, "_CHUNK", plaintext._CHUNK)
        check()

    @ddt.data(*KINDS)
    @ddt.unpack
    def test_image_has_what_the_cipher_gives(self, spec, length):
        """Sectors count from the payload's start."""
        plain, image, opened = make(spec, length)
        data = bytes(range(256)) * (SIZE // 256)
        plain.write(0, data)
        engine = cipher.SectorCipher(spec, opened.volume_key)
        self.assertEqual(engine.encrypt(data),
                         image.read(opened.header.data_offset, SIZE))


@ddt.ddt
class EdgesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(setattr, plaintext, "_CHUNK", plaintext._CHUNK)

    def test_size(self):
        plain, _image, _opened = make()
        self.assertEqual(SIZE, plain.size())

    def test_size_is_whole_sectors(self):
        plain, image, _opened = make()
        image.resize(image.size() + 100)
        self.assertEqual(SIZE, plain.size())
        self.assertEqual(b"\0", plain.read(SIZE - 1, 100))
        self.assertRaises(exception.ImageTooSmall, plain.write, SIZE, b"x")
        self.assertEqual(bytes(100), image.read(image.size() - 100, 100))

    def test_size_follows_the_image(self):
        plain, image, _opened = make()
        image.resize(image.size() + SIZE)
        self.assertEqual(2 * SIZE, plain.size())
        plain.write(2 * SIZE - 1, b"x")
        self.assertEqual(b"x", plain.read(2 * SIZE - 1, 2))

    @ddt.data((SIZE, 1), (SIZE + 1, 1), (SIZE + 10000, 10000), (0, 0),
              (10, 0), (0, -5))
    @ddt.unpack
    def test_nothing_to_read(self, offset, length):
        self.assertEqual(b"", make()[0].read(offset, length))

    def test_up_to_the_end(self):
        self.assertEqual(bytes(10), make()[0].read(SIZE - 10, 1000))

    @ddt.data((SIZE, b"x"), (SIZE - 1, b"xy"), (0, bytes(SIZE + 1)),
              (SIZE + 512, b""))
    @ddt.unpack
    def test_nothing_is_written_beyond_the_end(self, offset, data):
        plain, image, _opened = make()
        error = self.assertRaises(exception.ImageTooSmall, plain.write,
                                  offset, data)
        self.assertEqual((SIZE, offset + len(data)), (error.size,
                                                      error.needed))
        self.assertEqual([], image.content.written)

    def test_write_of_nothing(self):
        plain, image, _opened = make()
        plain.write(100, b"")
        plain.write(SIZE, b"")
        self.assertEqual([], image.content.written)

    @ddt.data((0, 512, 1), (512, 1024, 1), (100, 10, 1), (500, 100, 1),
              (0, SIZE, 4), (1, SIZE - 2, 4), (2047, 2, 1))
    @ddt.unpack
    def test_writes_are_whole_sectors_in_chunks(self, offset, length, count):
        plaintext._CHUNK = 2048
        plain, image, opened = make()
        plain.write(offset, b"x" * length)
        start = opened.header.data_offset
        self.assertEqual(count, len(image.content.written))
        for place, data in image.content.written:
            self.assertGreaterEqual(place, start)
            self.assertEqual(0, (place - start) % 512)
            self.assertEqual(0, len(data) % 512)
            self.assertLessEqual(len(data), 2048)

    def test_reads_are_in_chunks(self):
        plaintext._CHUNK = 2048
        plain, image, _opened = make()
        seen = []
        read = image.read
        image.read = lambda offset, length: (
            seen.append(length), read(offset, length))[1]
        self.assertEqual(bytes(SIZE), plain.read(0, SIZE))
        self.assertEqual([2048] * 4, seen)

    def test_the_header_is_never_touched(self):
        plain, image, opened = make()
        before = image.read(0, opened.header.data_offset)
        plain.write(0, b"x" * SIZE)
        after = image.read(0, opened.header.data_offset)
        self.assertEqual(hashlib.sha256(before).digest(),
                         hashlib.sha256(after).digest())

    @ddt.data(512, 4096)
    def test_holes_of_luks2_are_zeros(self, sector):
        """To librbd, which alone gives such a volume to guests."""
        image = stores.MemoryStore().create("v", 17 * units.MIB)
        formatting.format_new(image, base.OLD, formatting.Options(
            type="luks2", sector_size=sector))
        plain = plaintext.Plaintext(image, unlocking.unlock(image, base.OLD))
        self.assertEqual(bytes(65536), plain.read(0, 65536))
        plain.write(8192 + 100, b"data")
        expected = bytearray(65536)
        expected[8192 + 100:8192 + 104] = b"data"
        self.assertEqual(bytes(expected), plain.read(0, 65536))
        self.assertEqual(b"\0data\0", plain.read(8192 + 99, 6))

    def test_holes_are_noise(self):
        """As QEMU has it; librbd would read zeros."""
        plain, image, _opened = make(filled=False)
        self.assertNotEqual(bytes(512), plain.read(0, 512))
        self.assertEqual([], image.content.written)

    def test_neighbours_stay(self):
        plain, _image, _opened = make()
        plain.write(0, b"a" * SIZE)
        plain.write(700, b"b")
        self.assertEqual(b"a" * 700 + b"b" + b"a" * (SIZE - 701),
                         plain.read(0, SIZE))

    @ddt.data(bytes, bytearray, memoryview)
    def test_any_buffer(self, kind):
        plain, _image, _opened = make()
        plain.write(3, kind(b"data"))
        self.assertEqual(b"data", plain.read(3, 4))

    def test_flush(self):
        plain, image, _opened = make()
        image.content.log.clear()
        plain.flush()
        self.assertEqual(["flush"], [event.kind
                                     for event in image.content.log])

    def test_failure_passes(self):
        _plain, image, opened = make()
        plain = plaintext.Plaintext(faults.Faults(faults.Fault(
            "write", error=exception.ImageFull(action="x"))).around(image),
            opened)
        self.assertRaises(exception.ImageFull, plain.write, 0, b"x")

    def test_no_key_in_repr(self):
        plain, _image, opened = make()
        self.assertNotIn(repr(opened.volume_key)[2:-1],
                         f"{plain!r} {opened!r}")
