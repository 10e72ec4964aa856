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

"""The two copies of a header: which is believed, which is damaged."""

from __future__ import annotations

import dataclasses
import random

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests import units

PRIMARY, SECONDARY = ondisk.PRIMARY, ondisk.SECONDARY
START = {PRIMARY: 0, SECONDARY: 16384}


def flip(packed, *positions):
    changed = bytearray(packed)
    for position in positions:
        changed[position] ^= 1
    return bytes(changed)


@ddt.ddt
class DamageTest(testtools.TestCase):
    """Damage of one copy: the other one is read."""

    def setUp(self):
        super().setUp()
        self.volume = base.sample(base.OLD)
        self.packed = self.volume.header.pack()

    def assert_damaged(self, packed, which):
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual(which, parsed.ailment.which)
        self.assertTrue(parsed.ailment.damage)
        self.assertTrue(parsed.ailment.damage.isprintable())
        # Which is all that opening a keyslot depends on.
        self.assertEqual(self.volume.header.metadata, parsed.metadata)
        return parsed.ailment.damage

    def test_none(self):
        parsed = luks2.Luks2Header.parse(self.packed)
        self.assertEqual(self.volume.header, parsed)
        self.assertIsNone(parsed.ailment)

    @ddt.data(PRIMARY, SECONDARY)
    def test_any_byte(self, which):
        """Every one of the fields and of the text, some of the zeros."""
        start = START[which]
        text = len(self.volume.header.metadata.text)
        places = [*range(512), *range(4096, 4096 + text + 8),
                  *range(512, 16384, 499)]
        for place in places:
            self.assert_damaged(flip(self.packed, start + place), which)

    @ddt.data(PRIMARY, SECONDARY)
    def test_all_of_it(self, which):
        for content in (bytes(16384), b"\xff" * 16384,
                        random.Random(1).randbytes(16384)):
            packed = bytearray(self.packed)
            packed[START[which]:START[which] + 16384] = content
            self.assert_damaged(bytes(packed), which)

    def test_overwritten_by_a_partition_table(self):
        packed = bytearray(self.packed)
        packed[0:512] = bytes(510) + b"\x55\xaa"
        self.assertEqual("it does not begin like one",
                         self.assert_damaged(bytes(packed), PRIMARY))

    def test_overwritten_by_the_other_copy(self):
        """A copy that was moved is none: a partition that begins elsewhere.
        """
        self.assert_damaged(self.packed[:16384] * 2, SECONDARY)
        parsed = self.packed[16384:] * 2
        self.assert_damaged(parsed, PRIMARY)

    def test_reasons(self):
        for place, reason in (
                (16, "its field csum is not that of the header"),
                (8, "its field hdr_size is 72057594037944320, which no "
                    "header has"),
                (7, "it has LUKS version 3"), (0, "it does not begin like"),
                (72, "it has checksum rha256"),
                (256, "its field hdr_offset is 72057594037927936, but it "
                      "lies at 0")):
            self.assertIn(reason, self.assert_damaged(
                flip(self.packed, place), PRIMARY))

    @ddt.data(("label", b"x" * 48), ("label", b"\n\0"), ("uuid", bytes(40)),
              ("uuid", b"u" * 40), ("uuid", b"\x1b\0"),
              ("subsystem", b"y" * 48), ("csum_alg", b"z" * 32),
              ("csum_alg", bytes(32)), ("csum_alg", b"sha3-256\0"),
              ("csum_alg", b"shake_128\0"), ("csum_alg", b"md5\0"))
    @ddt.unpack
    def test_text_fields(self, field, value):
        """Also with a checksum that is right, where there is any."""
        size = len(getattr(self.volume.header.primary, field))
        binary = dataclasses.replace(self.volume.header.primary,
                                     **{field: value.ljust(size, b"\0")})
        area = self.volume.header.metadata.area()
        self.assertRaises((exception.CorruptHeader,
                           exception.UnsupportedHeader),
                          header_copies.read, binary.pack() + area, PRIMARY, 0)
        self.assert_damaged(binary.pack() + area + self.packed[16384:],
                            PRIMARY)

    def test_both(self):
        for places in ((20, 16384 + 20), (4100, 20000), (0, 16384),
                       (100, 32767)):
            error = self.assertRaises(
                exception.HeaderError, luks2.Luks2Header.parse,
                flip(self.packed, *places))
            self.assertIsInstance(error, exception.CorruptHeader
                                  if places[0] else exception.NotLuks)

    def test_checksum_of_both(self):
        error = self.assertRaises(
            exception.CorruptHeader, luks2.Luks2Header.parse,
            flip(self.packed, 448, 16384 + 448))
        self.assertEqual(("csum", 448), (error.field, error.offset))

    def test_unsupported_checksum_of_both(self):
        error = self.assertRaises(
            exception.UnsupportedHeader, luks2.Luks2Header.parse,
            flip(self.packed, 72, 16384 + 72))
        self.assertEqual("checksum rha256", error.what)

    @ddt.data(0, 7, 8, 511, 4095, 4096, 16383)
    def test_cut_off_in_the_primary_copy(self, length):
        self.assertRaises(exception.HeaderError, luks2.Luks2Header.parse,
                          self.packed[:length])

    @ddt.data(16384, 16385, 20479, 20480, 32767)
    def test_cut_off_in_the_secondary_copy(self, length):
        self.assert_damaged(self.packed[:length], SECONDARY)

    def test_more_than_both_is_no_matter(self):
        self.assertEqual(self.volume.header, luks2.Luks2Header.parse(
            self.packed + b"\xff" * 4096))

    @ddt.data((PRIMARY, "its field config.json_size is 1, not 12288"),
              (SECONDARY, "it differs from the other copy"))
    @ddt.unpack
    def test_objects_that_make_no_sense(self, which, reason):
        """As a bug of some writer may leave them, with a right checksum."""
        tree = base.tree(self.volume)
        tree["config"]["json_size"] = "1"
        bad = base.craft(self.volume.header, tree)
        start = START[which]
        packed = bytearray(self.packed)
        packed[start:start + 16384] = bad[start:start + 16384]
        self.assertIn(reason, self.assert_damaged(bytes(packed), which))

    @ddt.data(PRIMARY, SECONDARY)
    def test_repaired(self, which):
        damaged = luks2.Luks2Header.parse(
            flip(self.packed, START[which] + 30))
        change = damaged.repair(random=lambda length: b"\x77" * length)
        self.assertIsNone(change.header.ailment)
        write, = change.plan.stages[0]
        self.assertEqual((START[which], 16384),
                         (write.offset, len(write.data)))
        packed = bytearray(self.packed)
        packed[write.offset:write.end] = write.data
        parsed = luks2.Luks2Header.parse(bytes(packed))
        self.assertIsNone(parsed.ailment)
        self.assertEqual(change.header, parsed)
        self.assertEqual(damaged.seqid, parsed.seqid)
        # The specification wants a new salt, and the other one kept.
        salts = {PRIMARY: parsed.primary.salt,
                 SECONDARY: parsed.secondary_salt}
        self.assertEqual(b"\x77" * 64, salts[which])
        good = self.volume.header
        self.assertEqual({PRIMARY: good.primary.salt,
                          SECONDARY: good.secondary_salt}[
                              header_copies.other(which)],
                         salts[header_copies.other(which)])

    def test_nothing_to_repair(self):
        self.assertRaises(exception.OperationRefused,
                          self.volume.header.repair)

    @ddt.data(PRIMARY, SECONDARY)
    def test_no_change_while_damaged(self, which):
        damaged = luks2.Luks2Header.parse(
            flip(self.packed, START[which] + 30))
        for call in (lambda: damaged.add(self.volume.key, base.NEW),
                     lambda: damaged.replace(0, self.volume.key, base.NEW),
                     lambda: damaged.erase([0])):
            error = self.assertRaises(exception.DamagedHeaderCopy, call)
            self.assertEqual(which, error.copy)
            self.assertIn("header repair", str(error))

    @ddt.data(PRIMARY, SECONDARY)
    def test_packed_as_two_good_copies(self, which):
        """What a backup of a damaged header has in it."""
        damaged = luks2.Luks2Header.parse(
            flip(self.packed, START[which] + 30))
        parsed = luks2.Luks2Header.parse(damaged.pack())
        self.assertIsNone(parsed.ailment)
        self.assertNotEqual(parsed.primary.salt, parsed.secondary_salt)


@ddt.ddt
class SeqidTest(testtools.TestCase):
    """The newer copy counts, whatever somebody made of the numbers."""

    def setUp(self):
        super().setUp()
        self.volume = base.sample(base.OLD)
        self.text = self.volume.header.metadata.text

    def copy(self, which, seqid, text=None, **fields):
        return base.copy_of(self.volume.header, which, text or self.text,
                            seqid=seqid, **fields)

    def both(self, primary, secondary, **texts):
        return luks2.Luks2Header.parse(
            self.copy(PRIMARY, primary, texts.get("first"))
            + self.copy(SECONDARY, secondary, texts.get("second")))

    @ddt.data((5, 4, 5, SECONDARY), (5, 0, 5, SECONDARY),
              (4, 5, 5, PRIMARY), (0, limits.MAX_SEQID, limits.MAX_SEQID,
                                   PRIMARY))
    @ddt.unpack
    def test_higher_number_is_believed(self, first, second, seqid, stale):
        parsed = self.both(first, second)
        self.assertEqual(seqid, parsed.seqid)
        self.assertEqual(header_copies.Ailment(stale, None), parsed.ailment)

    def test_equal_numbers(self):
        self.assertIsNone(self.both(7, 7).ailment)
        self.assertIsNone(self.both(0, 0).ailment)

    def test_equal_numbers_and_other_objects(self):
        """The primary copy is believed; nobody knows which is newer."""
        tree = base.tree(self.volume)
        tree["config"]["flags"] = ["allow-discards"]
        other = luks2.jsontext.encode(tree)
        for texts, flags in (({"second": other}, ()),
                             ({"first": other}, ("allow-discards",))):
            parsed = self.both(7, 7, **texts)
            self.assertEqual(flags, parsed.metadata.flags)
            self.assertEqual(SECONDARY, parsed.ailment.which)
            self.assertIn("differs", parsed.ailment.damage)

    @ddt.data("label", "subsystem", "uuid")
    def test_equal_numbers_and_another(self, field):
        size = len(getattr(self.volume.header.primary, field))
        parsed = luks2.Luks2Header.parse(
            self.copy(PRIMARY, 7) + self.copy(
                SECONDARY, 7, **{field: b"other".ljust(size, b"\0")}))
        self.assertEqual(SECONDARY, parsed.ailment.which)
        self.assertEqual(base.UUID, parsed.uuid)

    def test_beyond_the_limit(self):
        for first, second in ((limits.MAX_SEQID + 1, 1),
                              (1, limits.MAX_SEQID + 1),
                              (2 ** 64 - 1, 2 ** 64 - 1)):
            error = self.assertRaises(exception.HeaderLimitExceeded,
                                      self.both, first, second)
            self.assertEqual("seqid", error.field)

    def test_largest_number_counts_on(self):
        parsed = self.both(limits.MAX_SEQID - 1, limits.MAX_SEQID - 1)
        change = parsed.erase([0])
        self.assertEqual(limits.MAX_SEQID, change.header.seqid)

    @ddt.data(PRIMARY, SECONDARY)
    def test_newer_copy_that_we_must_not_use(self, which):
        """It is not passed over for an older one."""
        tree = base.tree(self.volume)
        tree["config"]["keyslots_size"] = str(2 ** 40)
        limit = luks2.jsontext.encode(tree)
        texts = {"first" if which == PRIMARY else "second": limit}
        seqids = (8, 7) if which == PRIMARY else (7, 8)
        self.assertRaises(exception.HeaderLimitExceeded, self.both, *seqids,
                          **texts)

    def test_newer_copy_with_a_requirement(self):
        tree = base.tree(self.volume)
        tree["config"]["requirements"] = {"mandatory": ["later"]}
        parsed = self.both(7, 8, second=luks2.jsontext.encode(tree))
        self.assertRaises(exception.UnsupportedHeader, parsed.add,
                          self.volume.key, base.NEW)

    def test_stale_copy_is_brought_up_to_date_by_a_change(self):
        parsed = self.both(8, 7)
        plan = parsed.add(self.volume.key, base.NEW).plan
        write, = plan.stages[0]
        self.assertEqual(16384, write.offset)
        self.assertEqual(self.copy(SECONDARY, 8), write.data)
        self.assertEqual([16384, 98304, 0, 16384],
                         [stage[0].offset for stage in plan.stages])

    def test_stale_copy_is_repaired_when_asked(self):
        change = self.both(8, 7).repair()
        self.assertEqual([16384], [stage[0].offset
                                   for stage in change.plan.stages])


@ddt.ddt
class SizeTest(testtools.TestCase):
    """Copies of every size that the specification has."""

    @ddt.data(*[16384 << power for power in range(9)])
    def test_size(self, size):
        volume = base.bare(data_offset=16 * units.MIB, hdr_size=size)
        volume = base.add(volume, base.OLD)
        packed = volume.header.pack()
        self.assertEqual(2 * size, len(packed))
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual(volume.header, parsed)
        self.assertEqual(2 * size, parsed.keyslot(0).offset)
        self.assertEqual(16 * units.MIB, parsed.keyslots_end)
        for place, which in ((0, PRIMARY), (size, SECONDARY)):
            found = luks2.Luks2Header.parse(flip(packed, place))
            self.assertEqual(which, found.ailment.which)
            self.assertEqual(volume.key, found.open_keyslot(
                0, volume.areas[0], base.OLD))

    @ddt.data(0, 4096, 8192, 16383, 16385, 20480, 8 << 20, 2 ** 64 - 1)
    def test_other_sizes(self, size):
        of = base.sample(base.OLD).header
        binary = dataclasses.replace(of.primary, hdr_size=size)
        data = binary.pack() + bytes(16384)
        error = self.assertRaises(exception.CorruptHeader,
                                  luks2.Luks2Header.parse, data)
        self.assertEqual(("hdr_size", 8), (error.field, error.offset))

    def test_secondary_that_says_another_size(self):
        of = base.sample(base.OLD).header
        packed = (of.copy(PRIMARY) + base.copy_of(
            of, SECONDARY, of.metadata.text, hdr_size=32768)
            + bytes(16384))
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual("its field hdr_size is 32768, but the copy lies at "
                         "16384", parsed.ailment.damage)

    def test_secondary_at_another_place_than_the_primary_says(self):
        """The primary copy's size is what a damaged one may have."""
        small = base.bare(data_offset=16 * units.MIB, hdr_size=16384)
        large = base.bare(data_offset=16 * units.MIB, hdr_size=32768)
        data = bytearray(small.header.pack() + bytes(32768))
        data[32768:65536] = large.header.pack()[32768:]
        data[20] ^= 1
        data[16390] ^= 1
        parsed = luks2.Luks2Header.parse(bytes(data))
        self.assertEqual(32768, parsed.primary.hdr_size)
        self.assertEqual(PRIMARY, parsed.ailment.which)


@ddt.ddt
class CloneTest(testtools.TestCase):
    """librbd's marks of a clone's own header."""

    def setUp(self):
        super().setUp()
        self.volume = base.sample(base.OLD, clone=True)
        self.packed = self.volume.header.pack()

    def test_magics(self):
        self.assertEqual(b"RBDL\xba\xbe\0\2", self.packed[:8])
        self.assertEqual(b"LDBR\xba\xbe\0\2", self.packed[16384:16392])
        self.assertTrue(luks2.Luks2Header.parse(self.packed).clone)

    def test_checksum_is_that_of_a_volume(self):
        """As librbd, which only exchanges the magics."""
        plain = bytearray(self.packed)
        plain[:6], plain[16384:16390] = b"LUKS\xba\xbe", b"SKUL\xba\xbe"
        parsed = luks2.Luks2Header.parse(bytes(plain))
        self.assertIsNone(parsed.ailment)
        self.assertFalse(parsed.clone)
        self.assertEqual(self.volume.header.metadata, parsed.metadata)

    def test_kept_through_changes(self):
        of, key = self.volume.header, self.volume.key
        added = of.add(key, base.NEW).header
        for changed in (added, of.replace(0, key, base.NEW).header,
                        added.erase([0]).header):
            self.assertTrue(changed.clone)
            packed = changed.pack()
            self.assertEqual((b"RBDL", b"LDBR"),
                             (packed[:4], packed[16384:16388]))
            self.assertEqual(changed, luks2.Luks2Header.parse(packed))

    @ddt.data((0, b"LUKS"), (16384, b"SKUL"))
    @ddt.unpack
    def test_mixed(self, place, magic):
        packed = bytearray(self.packed)
        packed[place:place + 4] = magic
        parsed = luks2.Luks2Header.parse(bytes(packed))
        self.assertEqual(SECONDARY, parsed.ailment.which)
        self.assertTrue(parsed.ailment.damage)

    def test_is_the_same_volume_without_the_mark(self):
        """As after flattening."""
        plain = base.sample(base.OLD)
        self.assertTrue(plain.header.same_volume(self.volume.header))
