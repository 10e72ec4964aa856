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

"""The header of a volume whose payload is moved."""

from __future__ import annotations

import pathlib
import random

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks import whole
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import vectors

#: As aligned as the sectors that volumes here have.
MOVED = 16 * units.MIB


@ddt.ddt
class RelocateTest(testtools.TestCase):

    def crafted(self, change, *, of=None):
        """A sample whose metadata *change* changed."""
        volume = of or base.sample(base.OLD)
        tree = base.tree(volume)
        change(tree)
        return luks2.Luks2Header.parse(base.craft(volume.header, tree))

    def assert_only_moved(self, before, moved):
        """Everything else of the metadata is as it was, both copies whole.
        """
        expected = base.tree(base.Volume(before, {}, b""))
        expected["segments"]["0"]["offset"] = str(moved.data_offset)
        read = luks2.Luks2Header.parse(moved.pack())
        self.assertEqual(moved, read)
        self.assertIsNone(read.ailment)
        self.assertEqual(expected, read.metadata.tree)
        self.assertEqual(before.seqid + 1, read.seqid)
        for field in ("hdr_size", "label", "csum_alg", "uuid", "subsystem",
                      "magic"):
            self.assertEqual(getattr(before.primary, field),
                             getattr(read.primary, field), field)
        self.assertEqual(before.keyslots_end, read.keyslots_end)

    @hypothesis.given(strategies.integers(base.DATA_OFFSET // 4096,
                                          2 ** 52 - 1))
    @hypothesis.example(base.DATA_OFFSET // 4096)
    @hypothesis.example(2 ** 52 - 1)
    @properties.examples(50)
    def test_any_data_offset(self, sectors):
        before = base.sample(base.OLD, base.OTHER).header
        moved = before.relocate(sectors * 4096)
        self.assertEqual(sectors * 4096, moved.data_offset)
        self.assert_only_moved(before, moved)
        back = moved.relocate(before.data_offset)
        self.assertEqual(before.metadata, back.metadata)

    def test_it_is_not_the_same_volume(self):
        """A backup of before has the old data offset: it must not fit."""
        of = base.sample(base.OLD).header
        self.assertFalse(of.same_volume(of.relocate(MOVED)))

    @ddt.data(*[(spec, size, sector)
                for spec, sizes in cipher.SUPPORTED.items()
                for size in sizes for sector in (512, 4096)])
    @ddt.unpack
    def test_all_of_a_volume(self, spec, size, sector):
        """Every passphrase opens it, to the same plain text.

        From an offset that is odd even for its sectors.
        """
        start = 2 * units.MIB + 512
        volume = base.sample(base.OLD, spec=spec, size=size,
                             sector_size=sector, data_offset=start)
        volume = base.add(volume, base.NEW, keyslot=9,
                          argon2=kdfs.Argon2Cost(1, 64, 1))
        plain = random.Random(spec).randbytes(16 * 4096)
        old = (whole.join(volume.header, volume.areas).ljust(start, b"\0")
               + cipher.SectorCipher(spec, volume.key, sector).encrypt(plain))
        found = luks2.Luks2Header.parse(old)
        moved = found.relocate(MOVED)
        self.assert_only_moved(found, moved)
        new = whole.join(moved, whole.areas(
            found, old[:found.keyslots_end])).ljust(
                MOVED, b"\0") + old[start:]
        read = luks2.Luks2Header.parse(new)
        areas = whole.areas(read, new)
        for number, passphrase in ((0, base.OLD), (9, base.NEW)):
            key = read.open_keyslot(number, areas[number], passphrase)
            engine = cipher.SectorCipher(spec, key, sector)
            self.assertTrue(plain == engine.decrypt(new[read.data_offset:]),
                            "other bytes")

    @ddt.data(*range(9))
    def test_every_header_size(self, power):
        size = 16384 << power
        before = base.bare(hdr_size=size,
                           data_offset=2 * size + units.MIB).header
        moved = before.relocate(MOVED)
        self.assertEqual(2 * size + units.MIB, moved.keyslots_end)
        self.assertEqual(2 * size, len(moved.pack()))
        self.assert_only_moved(before, moved)

    def test_what_we_do_not_know_stays(self):
        def change(tree):
            tree["x"] = {"b": [1, None, "\xe9"], "a": 1.5}
            tree["tokens"]["3"] = {"type": "theirs", "keyslots": ["0"],
                                   "uri": "x"}
            tree["config"]["flags"] = ["allow-discards", "later"]
            tree["segments"]["0"]["later"] = {"a": 1}
            tree["keyslots"]["5"] = {
                "type": "theirs", "key_size": 1, "z": [], "area": {
                    "type": "none", "offset": "163840", "size": "4096"}}
            tree["digests"]["0"]["keyslots"].append("5")

        before = self.crafted(change)
        moved = before.relocate(MOVED)
        self.assert_only_moved(before, moved)
        # In the order they had, too: tools show them so.
        self.assertEqual(
            before.metadata.text.replace(b'"1048576"', b'"16777216"', 1),
            moved.metadata.text)

    def test_area_of_a_foreign_keyslot(self):
        def change(tree):
            tree["keyslots"]["5"] = {
                "type": "theirs", "key_size": 1, "area": {
                    "type": "raw", "offset": "163840", "size": "8192"}}
            tree["digests"]["0"]["keyslots"].append("5")

        before = self.crafted(change)
        data = bytearray(b"\xaa" * before.keyslots_end)
        areas = whole.areas(before, bytes(data))
        joined = whole.join(before.relocate(MOVED), areas)
        self.assertEqual(b"\xaa" * 8192, joined[163840:163840 + 8192])

    @ddt.data({"size": "4096"}, {"iv_tweak": "8"}, {"flags": ["later"]})
    def test_what_moves_as_any_other(self, fields):
        before = self.crafted(
            lambda tree: tree["segments"]["0"].update(fields))
        self.assert_only_moved(before, before.relocate(MOVED))

    @ddt.data(0, 16384)
    def test_one_damaged_copy(self, place):
        """The image that is moved from keeps what it has."""
        before = base.sample(base.OLD).header
        packed = bytearray(before.pack())
        packed[place + 5000] ^= 1
        found = luks2.Luks2Header.parse(bytes(packed))
        self.assertTrue(found.ailment.damage)
        self.assert_only_moved(before, found.relocate(MOVED))

    def test_one_stale_copy(self):
        before = base.sample(base.OLD).header
        after = before.erase([0]).header
        found = luks2.Luks2Header.parse(
            after.copy(ondisk.PRIMARY) + before.copy(ondisk.SECONDARY))
        self.assertIsNotNone(found.ailment)
        self.assert_only_moved(after, found.relocate(MOVED))

    def test_what_cryptsetup_made(self):
        data = (pathlib.Path(vectors.__path__[0])
                / "luks2-cryptsetup.bin").read_bytes()
        found = luks2.Luks2Header.parse(data)
        self.assert_only_moved(found, found.relocate(64 * units.MIB))

    @ddt.data((base.DATA_OFFSET + 512, "4096"), (MOVED + 1, "4096"),
              (0, "keyslot areas"), (-4096, "keyslot areas"),
              (32768, "keyslot areas"),
              (base.DATA_OFFSET - 4096, "keyslot areas"), (2 ** 64, "room"))
    @ddt.unpack
    def test_offsets_that_are_refused(self, data_offset, said):
        error = self.assertRaises(
            exception.InvalidParameter,
            base.sample(base.OLD).header.relocate, data_offset)
        self.assertEqual(data_offset, error.value)
        self.assertIn(said, error.reason)

    def test_small_sectors(self):
        of = base.sample(base.OLD, sector_size=512).header
        self.assertEqual(MOVED + 512, of.relocate(MOVED + 512).data_offset)

    def test_behind_any_disk(self):
        of = self.crafted(
            lambda tree: tree["segments"]["0"].update(size=str(2 ** 40)))
        last = 2 ** 64 - 2 ** 40
        self.assertEqual(last - 4096, of.relocate(last - 4096).data_offset)
        self.assertRaises(exception.InvalidParameter, of.relocate, last)

    @ddt.data(
        ("several segments", lambda tree: tree["segments"].update({
            "0": {**tree["segments"]["0"], "size": "4096"},
            "1": {"type": "linear", "offset": str(4 * units.MIB),
                  "size": "dynamic"}})),
        ("integrity", lambda tree: tree["segments"]["0"].update(
            integrity={"type": "hmac(sha256)"})),
        ("type linear", lambda tree: tree["segments"].update({
            "0": {"type": "linear", "offset": str(base.DATA_OFFSET),
                  "size": "dynamic"}})),
        ("requirement later", lambda tree: tree["config"].update(
            requirements={"mandatory": ["later"]})))
    @ddt.unpack
    def test_payloads_that_are_refused(self, said, change):
        error = self.assertRaises(exception.UnsupportedHeader,
                                  self.crafted(change).relocate, MOVED)
        self.assertIn(said, error.what)

    def test_a_clone_is_refused(self):
        error = self.assertRaises(
            exception.UnsupportedHeader,
            base.bare(clone=True).header.relocate, MOVED)
        self.assertIn("clone", error.what)

    def test_a_detached_header_is_refused(self):
        """So early that there is nothing to relocate."""
        error = self.assertRaises(
            exception.UnsupportedHeader, self.crafted,
            lambda tree: tree["segments"]["0"].update(offset="0"))
        self.assertIn("detached", error.what)

    def test_no_room_for_a_longer_offset(self):
        volume = base.sample(base.OLD)
        length = 12287 - len(volume.header.metadata.text) - 7
        full = self.crafted(lambda tree: tree.update(x="x" * length))
        self.assertEqual(2 * units.MIB, full.relocate(
            2 * units.MIB).data_offset)
        error = self.assertRaises(exception.UnsupportedHeader, full.relocate,
                                  MOVED)
        self.assertIn("room", error.what)

    def test_the_last_version(self):
        volume = base.sample(base.OLD)
        last = luks2.Luks2Header.parse(base.craft(
            volume.header, seqid=limits.MAX_SEQID))
        self.assertRaises(exception.HeaderLimitExceeded, last.relocate, MOVED)
