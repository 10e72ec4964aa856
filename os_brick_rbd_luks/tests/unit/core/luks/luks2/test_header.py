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

"""A header as a value: built, described, opened."""

from __future__ import annotations

import dataclasses

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests import units

FORMATS = [(spec, size) for spec, sizes in cipher.SUPPORTED.items()
           for size in sizes]


@ddt.ddt
class BuildTest(testtools.TestCase):

    @ddt.data(*[(spec, size, name, sector) for spec, size in FORMATS
                for name in ("sha256", "sha512") for sector in (512, 4096)])
    @ddt.unpack
    def test_every_format(self, spec, size, name, sector):
        volume = base.add(base.bare(spec, size, name, 16 * units.MIB,
                                    sector_size=sector), base.OLD)
        of = volume.header
        self.assertEqual(
            (spec, size * 8, name, sector, 16 * units.MIB, "luks2", base.UUID),
            (of.cipher_spec, of.key_bits, of.hash_name,
             of.segment.sector_size, of.data_offset, of.type, of.uuid))
        self.assertEqual(volume.key, volume.opens(base.OLD, 0))
        self.assertEqual(of, luks2.Luks2Header.parse(of.pack()))

    def test_as_librbd_and_cryptsetup_lay_it_out(self):
        of = base.bare(data_offset=16 * units.MIB).header
        self.assertEqual(
            (16384, 12288, 16 * units.MIB - 32768, 16 * units.MIB),
            (of.primary.hdr_size, of.metadata.json_size,
             of.metadata.keyslots_size, of.keyslots_end))
        self.assertEqual(32768, len(of.pack()))

    @ddt.data(1, 16, 24, 128, 200)
    def test_keyslots_area(self, mib):
        of = base.bare(data_offset=mib * units.MIB).header
        self.assertEqual(min(mib * units.MIB - 32768, 128 * units.MIB),
                         of.metadata.keyslots_size)

    def test_a_new_volume_has_no_keyslot(self):
        volume = base.bare()
        self.assertEqual(((), None), (volume.header.keyslots,
                                      volume.header.key_bits))
        self.assertTrue(volume.header.verify_volume_key(volume.key))
        self.assertFalse(volume.header.verify_volume_key(bytes(16)))
        self.assertRaises(exception.KeyslotNotFound, volume.header.keyslot,
                          0)

    def test_copies_have_salts_of_their_own(self):
        of = base.bare().header
        self.assertNotEqual(of.primary.salt, of.secondary_salt)

    @ddt.data(("serpent-xts-plain64", 64, "sha256", 4096, "serpent"),
              ("aes-xts-plain64", 48, "sha256", 4096, "384-bit"),
              ("aes-xts-plain64", 64, "sha1", 4096, "hash sha1"),
              ("aes-xts-plain64", 64, "sha256", 1024, "sector size 1024"),
              ("aes-xts-plain64", 64, "sha256", 0, "sector size 0"))
    @ddt.unpack
    def test_what_is_not_written(self, spec, size, name, sector, said):
        error = self.assertRaises(
            exception.UnsupportedHeader, base.bare, spec, size, name,
            sector_size=sector)
        self.assertIn(said, error.what)

    @ddt.data(0, 4096, 32767, 32768 - 4096)
    def test_payload_on_the_header(self, offset):
        self.assertRaises(exception.HeaderError, base.bare,
                          data_offset=offset)

    @ddt.data("", "x" * 40, "a\nb")
    def test_bad_uuid(self, uuid):
        self.assertRaises(
            exception.InvalidParameter, luks2.Luks2Header.build, bytes(16),
            cipher_spec="aes-cbc-plain64", hash_name="sha256",
            data_offset=units.MIB, uuid=uuid)


@ddt.ddt
class KeyslotsTest(testtools.TestCase):

    def test_described(self):
        volume = base.add(base.bare("aes-xts-plain64", 64), base.OLD, 7,
                          iterations=1234)
        slot, = volume.header.keyslots
        self.assertEqual(keyslot_views.Keyslot(
            7, kdfs.Pbkdf2("sha256", 1234, slot.kdf.salt), 32768, 256000),
            slot)
        self.assertEqual(slot, volume.header.keyslot(7))
        self.assertEqual(32, len(slot.kdf.salt))

    def test_argon2(self):
        cost = kdfs.Argon2Cost(2, 256, 2)
        volume = base.add(base.sample(base.OLD), base.NEW, argon2=cost)
        slot = volume.header.keyslot(1)
        self.assertEqual(("argon2id", cost), (slot.kdf.name, slot.kdf.cost))
        self.assertEqual(volume.key, volume.opens(base.NEW, 1))
        self.assertRaises(exception.WrongPassphrase, volume.opens, base.OLD,
                          1)

    @ddt.data("sha256", "sha512")
    def test_hash_is_the_volume_s(self, name):
        volume = base.add(base.bare(hash_name=name), base.OLD)
        tree = volume.header.metadata.tree["keyslots"]["0"]
        self.assertEqual([name] * 3, [
            tree["kdf"]["hash"], tree["af"]["hash"],
            volume.header.keyslot_hash])
        self.assertEqual(volume.key, volume.opens(base.OLD, 0))

    def test_hash_that_is_not_written_any_more(self):
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        tree["digests"]["0"]["hash"] = "sha1"
        self.assertEqual("sha256", luks2.Luks2Header.parse(base.craft(
            volume.header, tree)).keyslot_hash)

    def test_areas_have_a_cipher_of_their_own(self):
        """As cryptsetup's and librbd's, whatever the payload has."""
        tree = base.sample(base.OLD).header.metadata.tree["keyslots"]["0"]
        self.assertEqual({"type": "raw", "offset": "32768", "size": "65536",
                          "encryption": "aes-xts-plain64", "key_size": 64},
                         tree["area"])
        self.assertEqual(16, tree["key_size"])

    @ddt.data(1, -1, 32, 99)
    def test_not_in_use(self, number):
        volume = base.sample(base.OLD)
        error = self.assertRaises(exception.KeyslotNotFound,
                                  volume.header.keyslot, number)
        self.assertEqual(number, error.keyslot)

    def test_wrong_passphrases(self):
        volume = base.sample(base.OLD)
        for passphrase in (b"", base.NEW, base.OLD + b"x", base.OLD[:-1]):
            self.assertRaises(exception.WrongPassphrase, volume.opens,
                              passphrase, 0)

    def test_damaged_area(self):
        volume = base.sample(base.OLD)
        area = bytearray(volume.areas[0])
        area[30000] ^= 1
        self.assertRaises(exception.WrongPassphrase,
                          volume.header.open_keyslot, 0, bytes(area),
                          base.OLD)

    def test_same_volume(self):
        volume = base.sample(base.OLD, base.OTHER)
        of = volume.header
        self.assertTrue(of.same_volume(of))
        self.assertTrue(of.same_volume(of.erase([0]).header))
        self.assertTrue(of.erase([0, 1]).header.same_volume(of))
        self.assertFalse(of.same_volume(base.bare(seed=2).header))
        self.assertFalse(of.same_volume("a header"))
        for path, value in (("offset", str(2 * units.MIB)),
                            ("iv_tweak", "8"), ("sector_size", 512),
                            ("encryption", "aes-xts-plain64")):
            tree = base.tree(volume)
            tree["segments"]["0"][path] = value
            self.assertFalse(of.same_volume(luks2.Luks2Header.parse(
                base.craft(of, tree))), path)


class OndiskTest(testtools.TestCase):

    def test_sizes_and_offsets(self):
        """Every field is where the specification has it."""
        self.assertEqual(4096, ondisk.SIZE)
        of = base.sample(base.OLD).header
        packed = of.primary.pack()
        for field, offset in ondisk.OFFSETS.items():
            if field == "json":
                continue
            value = getattr(of.primary, field)
            if isinstance(value, int):
                value = value.to_bytes(2 if field == "version" else 8, "big")
            self.assertEqual(value, packed[offset:offset + len(value)],
                             field)
        self.assertEqual(of.primary, ondisk.unpack(packed))

    def test_short(self):
        self.assertRaises(ValueError, ondisk.unpack, bytes(4095))

    def test_padding_is_kept(self):
        of = base.sample(base.OLD).header
        packed = bytearray(of.pack())
        changed = dataclasses.replace(
            of.primary, padding=b"\1" * 184, padding4096=b"\2" * 3584)
        packed[:4096] = changed.seal(of.metadata.area()).pack()
        parsed = luks2.Luks2Header.parse(bytes(packed))
        self.assertIsNone(parsed.ailment)
        self.assertEqual(packed[:16384], parsed.copy(ondisk.PRIMARY))


@ddt.ddt
class LayoutTest(testtools.TestCase):

    @ddt.data((65536, 16), (4, 16), (8, 16), (3, 18), (24, 24), (17, 17),
              (64, 64))
    @ddt.unpack
    def test_data_offset(self, period, expected):
        unit = units.MIB if period < 65536 else 1
        self.assertEqual(expected * units.MIB,
                         luks2_layout.data_offset(period * unit))

    @ddt.data((16, 65536), (32, 131072), (64, 258048), (512, 2048000))
    @ddt.unpack
    def test_area_size(self, key_bytes, expected):
        self.assertEqual(expected, luks2_layout.area_size(key_bytes))

    @ddt.data(
        ([], 100, 0), ([(0, 4096)], 100, 4096), ([(4096, 4096)], 100, 0),
        ([(4096, 4096)], 4097, 8192), ([(8192, 1), (0, 4096)], 4096, 4096),
        ([(8192, 1), (0, 4096)], 4097, 12288), ([(0, 65536)], 1, None),
        ([(0, 61440)], 4096, 61440), ([(0, 61441)], 1, None),
        ([(0, 100), (50, 8000)], 1, 8192), ([], 65537, None))
    @ddt.unpack
    def test_find_gap(self, areas, length, expected):
        self.assertEqual(expected,
                         luks2_layout.find_gap(areas, 0, 65536, length))

    def test_sector_sizes(self):
        self.assertLessEqual(set(luks2_check.WRITABLE_SECTOR_SIZES),
                             set(luks2_check.SECTOR_SIZES))
