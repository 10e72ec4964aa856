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

import dataclasses
import pathlib
import random

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks import whole
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import keyring
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import vectors

#: Where the areas of 16-byte keys end, and of 64-byte ones.
END = 4096 + 7 * 65536 + 64000
END_64 = 4096 + 7 * 258048 + 256000

#: What upstream's driver has QEMU make.
UPSTREAM = 4040 * 512

OFFSET = slice(104, 108)


@ddt.ddt
class RelocateTest(testtools.TestCase):

    @hypothesis.given(strategies.integers(END // 512, 2 ** 32 - 1))
    @hypothesis.example(END // 512)
    @hypothesis.example(2 ** 32 - 1)
    @properties.examples(50)
    def test_any_data_offset(self, sectors):
        """Four bytes change, and change back."""
        volume = base.sample(base.OLD, base.OTHER)
        moved = volume.header.relocate(sectors * 512)
        self.assertEqual(sectors * 512, moved.data_offset)
        packed = bytearray(volume.header.pack())
        packed[OFFSET] = sectors.to_bytes(4, "big")
        self.assertEqual(bytes(packed), moved.pack())
        self.assertEqual(moved, luks1.Luks1Header.parse(moved.pack()))
        self.assertEqual(volume.header,
                         moved.relocate(volume.header.data_offset))

    def test_it_is_not_the_same_volume(self):
        """A backup of before has the old data offset: it must not fit."""
        of = base.sample(base.OLD).header
        self.assertFalse(of.same_volume(of.relocate(8 * units.MIB)))

    @ddt.data(*[(spec, size) for spec, sizes in cipher.SUPPORTED.items()
                for size in sizes])
    @ddt.unpack
    def test_all_of_a_volume(self, spec, size):
        """Every passphrase opens it, to the same plain text."""
        volume = base.sample(base.OLD, base.NEW, spec=spec, size=size,
                             data_offset=UPSTREAM)
        plain = random.Random(spec).randbytes(64 * 512)
        old = (whole.join(volume.header, volume.areas).ljust(
            UPSTREAM, b"\0") + cipher.SectorCipher(
                spec, volume.key).encrypt(plain))
        found = luks1.Luks1Header.parse(old)
        moved = found.relocate(4 * units.MIB)
        start = whole.join(moved, whole.areas(
            found, old[:found.keyslots_end]))
        new = start.ljust(4 * units.MIB, b"\0") + old[found.data_offset:]
        read = luks1.Luks1Header.parse(new)
        areas = whole.areas(read, new)
        for number, passphrase in enumerate((base.OLD, base.NEW)):
            key = read.open_keyslot(number, areas[number], passphrase)
            self.assertTrue(plain == cipher.SectorCipher(spec, key).decrypt(
                new[read.data_offset:]), "other bytes")

    @ddt.data(*range(8))
    def test_every_keyslot(self, number):
        volume = base.add(base.sample(base.OLD) if number else base.bare(),
                          base.NEW, keyslot=number)
        moved = base.Volume(volume.header.relocate(8 * units.MIB),
                            volume.areas, volume.key)
        self.assertEqual(volume.key, moved.opens(base.NEW, number))

    def test_damaged_keyslots_and_order_stay(self):
        torn = keyring.damage(keyring.make(
            {0: "a", 5: "b"}, order=(3, 2, 1, 0, 7, 6, 5, 4)), 5)
        moved = torn.header.relocate(units.MIB)
        self.assertEqual(torn.header.keyslots, moved.keyslots)
        self.assertEqual(torn.areas, whole.areas(
            moved, whole.join(moved, torn.areas)))

    def test_right_behind_the_areas(self):
        """Nothing is written where the payload is."""
        volume = base.sample(base.OLD)
        moved = volume.header.relocate(END)
        self.assertEqual(END, len(whole.join(moved, volume.areas)))

    def test_what_qemu_made(self):
        data = (pathlib.Path(vectors.__path__[0])
                / "luks1-qemu.bin").read_bytes()
        found = luks1.Luks1Header.parse(data)
        moved = found.relocate(4 * units.MIB).pack()
        self.assertEqual(data[:104], moved[:104])
        self.assertEqual(data[108:ondisk.SIZE], moved[108:])

    @ddt.data((1, "multiple"), (4 * units.MIB + 511, "multiple"),
              (0, "keyslot areas"), (-512, "keyslot areas"),
              (512, "keyslot areas"), (END - 512, "keyslot areas"),
              (2 ** 41, "room"), (2 ** 64, "room"))
    @ddt.unpack
    def test_offsets_that_are_refused(self, data_offset, said):
        error = self.assertRaises(
            exception.InvalidParameter,
            base.sample(base.OLD).header.relocate, data_offset)
        self.assertEqual(data_offset, error.value)
        self.assertIn(said, error.reason)

    def test_areas_of_unused_keyslots_count(self):
        of = base.sample(spec="aes-xts-plain64", size=64).header
        self.assertRaises(exception.InvalidParameter, of.relocate,
                          END_64 - 512)
        self.assertEqual(END_64, of.relocate(END_64).data_offset)

    def test_a_clone_is_refused(self):
        of = luks1.Luks1Header(dataclasses.replace(
            base.sample(base.OLD).header.phdr, magic=detect.CLONE_MAGIC))
        error = self.assertRaises(exception.UnsupportedHeader, of.relocate,
                                  8 * units.MIB)
        self.assertIn("clone", error.what)

    def test_a_detached_header_is_refused(self):
        """So early that there is nothing to relocate."""
        packed = bytearray(base.sample(base.OLD).header.pack())
        packed[OFFSET] = bytes(4)
        error = self.assertRaises(exception.UnsupportedHeader,
                                  luks1.Luks1Header.parse, bytes(packed))
        self.assertIn("detached", error.what)
