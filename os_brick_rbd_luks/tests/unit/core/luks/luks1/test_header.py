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

"""Headers: built, read, described, opened."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests import units

COMBINATIONS = [(spec, size, name) for spec, sizes in cipher.SUPPORTED.items()
                for size in sizes for name in kdfs.WRITABLE_HASHES]


@ddt.ddt
class BuildTest(testtools.TestCase):

    @ddt.data(*COMBINATIONS)
    @ddt.unpack
    def test_every_format(self, spec, size, name):
        volume = base.add(base.bare(spec, size, name), base.OLD)
        parsed = luks1.Luks1Header.parse(volume.header.pack())
        self.assertEqual(volume.header, parsed)
        self.assertEqual(spec, parsed.cipher_spec)
        self.assertEqual(size * 8, parsed.key_bits)
        self.assertEqual(name, parsed.hash_name)
        self.assertEqual(base.UUID, parsed.uuid)
        self.assertEqual("luks1", parsed.type)
        self.assertEqual(4 * units.MIB, parsed.data_offset)
        self.assertEqual(luks1_layout.keyslot_offsets(size), tuple(
            block.key_material_offset * 512
            for block in parsed.phdr.key_blocks))
        self.assertEqual(volume.key, volume.opens(base.OLD, 0))
        self.assertRaises(exception.WrongPassphrase, volume.opens, base.NEW,
                          0)

    def test_fields_as_the_specification_wants_them(self):
        volume = base.bare("aes-cbc-essiv:sha256", 32, "sha512")
        packed = volume.header.pack()
        self.assertEqual(b"LUKS\xba\xbe\0\1", packed[:8])
        self.assertEqual(b"aes".ljust(32, b"\0"), packed[8:40])
        self.assertEqual(b"cbc-essiv:sha256".ljust(32, b"\0"), packed[40:72])
        self.assertEqual(b"sha512".ljust(32, b"\0"), packed[72:104])
        self.assertEqual(b"\0\0\x20\0" b"\0\0\0\x20", packed[104:112])
        self.assertEqual(b"\0\0\x03\xe8", packed[164:168])
        self.assertEqual(base.UUID.encode().ljust(40, b"\0"), packed[168:208])
        self.assertEqual(b"\0\0\xde\xad\0\0\0\0" + bytes(32)
                         + b"\0\0\0\x08\0\0\x0f\xa0", packed[208:256])

    def test_volume_key_is_verified(self):
        volume = base.bare()
        self.assertTrue(volume.header.verify_volume_key(volume.key))
        self.assertFalse(volume.header.verify_volume_key(bytes(16)))

    @ddt.data(("serpent-xts-plain64", 64, "sha256", "cipher"),
              ("aes-xts-plain64", 48, "sha256", "384-bit"),
              ("aes-xts-plain64", 64, "sha1", "hash sha1"),
              ("aes-xts-plain64", 64, "md5", "hash md5"))
    @ddt.unpack
    def test_unsupported(self, spec, size, name, said):
        error = self.assertRaises(
            exception.UnsupportedHeader, luks1.Luks1Header.build,
            bytes(size), cipher_spec=spec, hash_name=name,
            data_offset=4 * units.MIB, uuid=base.UUID)
        self.assertIn(said, error.what)
        self.assertRaises(exception.UnsupportedHeader, luks1.check_format,
                          spec, size, name)

    def test_areas_must_fit_before_the_payload(self):
        self.assertRaises(exception.CorruptHeader, base.bare,
                          "aes-xts-plain64", 64, data_offset=2068480 - 4096)
        base.bare("aes-xts-plain64", 64, data_offset=2068480)

    def test_payload_beyond_2_tib(self):
        """Sectors, not bytes, are what has 32 bits."""
        far = 0xffffffff * 512
        self.assertEqual(far, luks1.Luks1Header.parse(
            base.bare(data_offset=far).header.pack()).data_offset)
        error = self.assertRaises(exception.InvalidParameter, base.bare,
                                  data_offset=far + 512)
        self.assertIn("luks2", str(error))


@ddt.ddt
class KeyslotsTest(testtools.TestCase):

    def test_none(self):
        volume = base.bare()
        self.assertEqual((), volume.header.keyslots)
        self.assertRaises(exception.KeyslotNotFound, volume.header.keyslot, 0)

    def test_described(self):
        volume = base.add(base.bare("aes-xts-plain64", 64), base.OLD, 2,
                          iterations=1234)
        salt = volume.header.phdr.key_blocks[2].salt
        slot = keyslot_views.Keyslot(2, kdfs.Pbkdf2("sha256", 1234, salt),
                                     4096 + 2 * 258048, 256000)
        self.assertEqual((slot,), volume.header.keyslots)
        self.assertEqual(slot, volume.header.keyslot(2))

    @ddt.data((16, 4096 + 7 * 65536 + 64000), (64, 4096 + 7 * 258048 + 256000))
    @ddt.unpack
    def test_end_counts_unused_keyslots_too(self, size, expected):
        spec = "aes-cbc-plain64" if size == 16 else "aes-xts-plain64"
        self.assertEqual(expected, base.bare(spec, size).header.keyslots_end)

    @ddt.data(1, -1, 8, 99)
    def test_not_in_use(self, number):
        volume = base.sample(base.OLD)
        error = self.assertRaises(exception.KeyslotNotFound,
                                  volume.header.keyslot, number)
        self.assertEqual(number, error.keyslot)
        self.assertRaises(exception.KeyslotNotFound,
                          volume.header.open_keyslot, number,
                          volume.areas[0], base.OLD)

    @ddt.data(
        ("active", b"\0\0\0\0", "its state word is 0x00000000"),
        ("active", b"\xff\xff\xff\xff", "its state word is 0xffffffff"),
        # What a torn write of the record leaves.
        ("active", b"\x00\xac\xde\xad", "its state word is 0x00acdead"),
        ("iterations", b"\0\0\0\0", "it has no iterations"))
    @ddt.unpack
    def test_a_damaged_one_does_not_hide_the_others(self, field, data, said):
        volume = base.sample(base.OLD, base.OTHER)
        packed = bytearray(volume.header.pack())
        start = ondisk.key_block_offset(0, field)
        packed[start:start + 4] = data
        damaged = luks1.Luks1Header.parse(bytes(packed))
        self.assertEqual([said, None],
                         [slot.damage for slot in damaged.keyslots])
        self.assertEqual(volume.key, damaged.open_keyslot(
            1, volume.areas[1], base.OTHER))
        error = self.assertRaises(exception.CorruptHeader,
                                  damaged.open_keyslot, 0, volume.areas[0],
                                  base.OLD)
        self.assertEqual("key_block[0]", error.field)
        self.assertEqual(208, error.offset)
        self.assertIn(said, error.reason)

    def test_a_damaged_area_is_a_wrong_passphrase(self):
        """They cannot be told apart; it is not the header that is bad."""
        volume = base.sample(base.OLD, base.OTHER)
        area = bytearray(volume.areas[0])
        area[40000] ^= 1
        self.assertRaises(exception.WrongPassphrase,
                          volume.header.open_keyslot, 0, bytes(area),
                          base.OLD)

    def test_areas_are_not_interchangeable(self):
        volume = base.sample(base.OLD, base.OTHER)
        self.assertRaises(exception.WrongPassphrase,
                          volume.header.open_keyslot, 1, volume.areas[0],
                          base.OLD)


@ddt.ddt
class SameVolumeTest(testtools.TestCase):

    def test_keyslots_do_not_matter(self):
        one, two = base.sample(base.OLD), base.sample(base.NEW, base.OTHER)
        self.assertTrue(one.header.same_volume(two.header))
        self.assertTrue(one.header.same_volume(one.header))

    @ddt.data(*[field for field in ondisk.OFFSETS
                if field not in ("magic", "version")])
    def test_every_field_matters(self, field):
        volume = base.sample(base.OLD)
        packed = bytearray(volume.header.pack())
        # The last byte of a number, the first one of a text or salt: both
        # stay valid, a little different.
        start = ondisk.OFFSETS[field]
        position = start + 3 if field in (
            "payload_offset", "mk_digest_iter") else start
        if field == "key_bytes":
            position = start + 3
            packed[position] -= 1
        else:
            packed[position] ^= 1
        other = luks1.Luks1Header.parse(bytes(packed))
        self.assertFalse(volume.header.same_volume(other), field)


class CloneTest(testtools.TestCase):
    """librbd's mark of a clone's own header."""

    def setUp(self):
        super().setUp()
        volume = base.bare()
        of = luks1.Luks1Header.build(
            volume.key, cipher_spec="aes-cbc-plain64", hash_name="sha256",
            data_offset=4 * units.MIB, uuid=base.UUID, clone=True)
        self.volume = base.add(base.Volume(of, {}, volume.key), base.OLD)

    def test_recognised(self):
        packed = self.volume.header.pack()
        self.assertEqual(b"RBDL\xba\xbe\0\1", packed[:8])
        parsed = luks1.Luks1Header.parse(packed)
        self.assertTrue(parsed.clone)
        self.assertEqual("luks1", parsed.type)
        self.assertEqual(self.volume.key, self.volume.opens(base.OLD, 0))
        self.assertFalse(base.sample(base.OLD).header.clone)

    def test_kept_through_changes(self):
        of, key = self.volume.header, self.volume.key
        added = of.add(key, base.NEW).header
        for changed in (added, of.replace(0, key, base.NEW).header,
                        added.erase([0]).header):
            self.assertTrue(changed.clone)

    def test_is_the_same_volume_without_the_mark(self):
        """As after flattening."""
        plain = luks1.Luks1Header.parse(
            b"LUKS" + self.volume.header.pack()[4:])
        self.assertTrue(plain.same_volume(self.volume.header))
        self.assertEqual(plain, self.volume.header.over(plain))

    def test_argon2_is_refused(self):
        error = self.assertRaises(
            exception.InvalidParameter, self.volume.header.add,
            self.volume.key, base.NEW, argon2=kdfs.Argon2Cost(1, 64, 1))
        self.assertIn("LUKS1", str(error))
