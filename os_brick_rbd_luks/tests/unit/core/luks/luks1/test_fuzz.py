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

"""Random bytes as headers: nothing but our errors, in bounded time and room.
"""

from __future__ import annotations

import tracemalloc

import fixtures
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests import units

#: Iterations that a header may ask for in these tests.
ITERATIONS = 2000

#: Bytes that reading any header may take at once. The largest area is of a
#: 512-byte key, 2 MB.
MEMORY = 64 * units.MIB


class FuzzTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.luks.limits.MAX_ITERATIONS", ITERATIONS))
        self.valid = base.sample(base.OLD, base.OTHER).header.pack()
        self.opened = 0
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)

    def check(self, data):
        """Do with *data* all that is done with an unknown header."""
        tracemalloc.reset_peak()
        try:
            detect.detect(data)
            parsed = luks1.Luks1Header.parse(data)
            self.use(parsed)
        except exception.RBDLuksError as error:
            self.assertTrue(str(error))
        else:
            # What was accepted is written back as it was.
            self.assertEqual(data[:ondisk.SIZE], parsed.pack())
        self.assertLess(tracemalloc.get_traced_memory()[1], MEMORY)

    def use(self, parsed):
        described = describe.describe(parsed, 2 ** 40)
        self.assertEqual(len(parsed.keyslots), len(described["keyslots"]))
        self.assertLessEqual(parsed.keyslots_end, parsed.data_offset)
        self.assertTrue(parsed.same_volume(parsed))
        for slot in parsed.keyslots:
            self.assertLessEqual(slot.length, limits.MAX_KEY_BYTES * 4000)
            self.assertLessEqual(slot.offset + slot.length,
                                 parsed.data_offset)
        for slot in parsed.keyslots[:1]:
            self.opened += 1
            self.assertRaises(
                (exception.WrongPassphrase, exception.CorruptHeader,
                 exception.UnsupportedHeader), parsed.open_keyslot,
                slot.number, bytes(slot.length), base.OLD)

    @hypothesis.given(strategies.binary(max_size=700))
    @properties.hostile(100)
    def test_random_bytes(self, data):
        self.check(data)

    @hypothesis.given(strategies.binary(min_size=584, max_size=584))
    @properties.hostile(100)
    def test_random_bytes_behind_a_magic(self, data):
        self.check(detect.MAGIC + b"\0\1" + data)

    @hypothesis.given(strategies.dictionaries(
        strategies.integers(0, ondisk.SIZE - 1),
        strategies.integers(0, 255), min_size=1, max_size=8))
    @properties.hostile(100)
    def test_changed_bytes(self, changes):
        data = bytearray(self.valid)
        for position, value in changes.items():
            data[position] = value
        self.check(bytes(data))

    @hypothesis.given(
        strategies.sampled_from([
            *[start for name, start in ondisk.OFFSETS.items() if name in (
                "payload_offset", "key_bytes", "mk_digest_iter")],
            *[ondisk.key_block_offset(number, field) for number in range(8)
              for field in ("active", "iterations", "key_material_offset",
                            "stripes")]]),
        strategies.one_of(
            strategies.integers(0, 0xffffffff),
            strategies.integers(0, 2 ** 13),
            strategies.sampled_from([ondisk.KEY_ENABLED,
                                     ondisk.KEY_DISABLED, 0xffffffff])))
    @properties.hostile(100)
    def test_changed_numbers(self, start, value):
        data = bytearray(self.valid)
        data[start:start + 4] = value.to_bytes(4, "big")
        self.check(bytes(data))

    def test_valid_headers_are_tried(self):
        """The search reaches the inside: an unchanged header is opened."""
        self.valid = base.sample(base.NEW).header.pack()
        self.check(self.valid)
        self.assertEqual(1, self.opened)

    def test_the_largest_key_stays_within_bounds(self):
        data = bytearray(self.valid)

        def put(start, value):
            data[start:start + 4] = value.to_bytes(4, "big")

        put(ondisk.OFFSETS["key_bytes"], limits.MAX_KEY_BYTES)
        put(ondisk.OFFSETS["payload_offset"], 0xffffffff)
        for number in range(8):
            put(ondisk.key_block_offset(number, "key_material_offset"),
                8 + number * 4000)
        self.check(bytes(data))
        self.assertEqual(1, self.opened)
