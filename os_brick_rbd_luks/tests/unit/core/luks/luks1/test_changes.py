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

"""Keyslots added, replaced and erased: the header after, and the plan."""

from __future__ import annotations

import random

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base


def numbers(of):
    return [slot.number for slot in of.keyslots]


@ddt.ddt
class AddTest(testtools.TestCase):

    def test_first_free_keyslot(self):
        volume = base.sample(base.OLD, base.OTHER)
        free = volume.header.erase([0]).header
        change = free.add(volume.key, base.NEW)
        self.assertEqual(0, change.keyslot)
        self.assertEqual([0, 1], numbers(change.header))
        self.assertEqual(2, volume.header.add(volume.key, base.NEW).keyslot)

    @ddt.data(1, 7)
    def test_chosen_keyslot(self, wanted):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, keyslot=wanted,
                                   iterations=1500)
        self.assertEqual(wanted, change.keyslot)
        self.assertEqual(1500, change.header.keyslot(wanted).kdf.iterations)
        self.assertEqual(volume.key, change.header.open_keyslot(
            wanted, base.area_of(change), base.NEW))

    def test_plan_is_key_material_then_header(self):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW)
        slot = change.header.keyslot(1)
        self.assertEqual((plans.Write(0, volume.header.pack()),),
                         change.plan.expected)
        (material,), (written,) = change.plan.stages
        self.assertEqual((slot.offset, slot.length),
                         (material.offset, len(material.data)))
        self.assertEqual(plans.Write(0, change.header.pack()), written)

    def test_nothing_else_changes(self):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, keyslot=3)
        before, after = volume.header.pack(), change.header.pack()
        start = ondisk.key_block_offset(3, "active")
        self.assertEqual(before[:start], after[:start])
        self.assertEqual(before[start + 40:], after[start + 40:])

    def test_the_same_passphrase_twice_looks_different(self):
        volume = base.sample(base.OLD)
        areas = {base.area_of(volume.header.add(volume.key, base.NEW))
                 for _ in range(2)}
        self.assertEqual(2, len(areas))

    def test_all_keyslots(self):
        volume = base.sample(*[b"%d" % number for number in range(8)])
        for number in range(8):
            self.assertEqual(volume.key, volume.opens(b"%d" % number, number))
        error = self.assertRaises(exception.NoFreeKeyslot, volume.header.add,
                                  volume.key, base.NEW)
        self.assertEqual(8, error.count)
        self.assertRaises(exception.NoFreeKeyslot, volume.header.replace, 0,
                          volume.key, base.NEW)

    def test_damaged_keyslots_are_not_free(self):
        volume = base.sample(base.OLD)
        packed = bytearray(volume.header.pack())
        start = ondisk.key_block_offset(1, "active")
        packed[start:start + 4] = b"\0\0\0\1"
        damaged = luks1.Luks1Header.parse(bytes(packed))
        self.assertEqual(2, damaged.add(volume.key, base.NEW).keyslot)
        self.assertRaises(exception.KeyslotInUse, damaged.add, volume.key,
                          base.NEW, keyslot=1)
        self.assertEqual([0], numbers(damaged.erase([1]).header))

    def test_in_use(self):
        volume = base.sample(base.OLD)
        error = self.assertRaises(exception.KeyslotInUse, volume.header.add,
                                  volume.key, base.NEW, keyslot=0)
        self.assertEqual(0, error.keyslot)

    @ddt.data(-1, 8)
    def test_no_such_keyslot(self, number):
        volume = base.sample(base.OLD)
        error = self.assertRaises(exception.InvalidParameter,
                                  volume.header.add, volume.key, base.NEW,
                                  keyslot=number)
        self.assertEqual(("keyslot", number), (error.name, error.value))

    @ddt.data(bytes(16), b"", bytes(64))
    def test_wrong_volume_key(self, key):
        volume = base.sample(base.OLD)
        self.assertRaises(exception.WrongVolumeKey, volume.header.add, key,
                          base.NEW)
        self.assertRaises(exception.WrongVolumeKey, volume.header.replace, 0,
                          key, base.NEW)

    @ddt.data((b"", 1000, "passphrase length", 0),
              (bytes(limits.MAX_PASSPHRASE_BYTES + 1), 1000,
               "passphrase length", limits.MAX_PASSPHRASE_BYTES + 1),
              (b"p", 999, "iterations", 999), (b"p", 0, "iterations", 0),
              (b"p", limits.MAX_ITERATIONS + 1, "iterations",
               limits.MAX_ITERATIONS + 1))
    @ddt.unpack
    def test_parameters(self, passphrase, iterations, name, value):
        volume = base.sample(base.OLD)
        for call in (
                lambda: volume.header.add(volume.key, passphrase,
                                          iterations=iterations),
                lambda: luks1.check_new(passphrase, iterations)):
            error = self.assertRaises(exception.InvalidParameter, call)
            self.assertEqual((name, value), (error.name, error.value))

    @ddt.data(b"\0", b"\xff" * 1000, "pässwörd".encode(), b"with\nnewline\n")
    def test_any_bytes_are_a_passphrase(self, passphrase):
        volume = base.add(base.bare(), passphrase)
        self.assertEqual(volume.key, volume.opens(passphrase, 0))
        self.assertRaises(exception.WrongPassphrase, volume.opens,
                          passphrase + b"\n", 0)


@ddt.ddt
class EraseTest(testtools.TestCase):

    @ddt.data([0], [1], [0, 1], [1, 0])
    def test_erase(self, gone):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.erase(gone)
        self.assertEqual([number for number in (0, 1) if number not in gone],
                         numbers(change.header))
        self.assertEqual(-1, change.keyslot)
        areas, written = change.plan.stages
        self.assertEqual(
            {(volume.header.keyslot(number).offset, 64000)
             for number in gone},
            {(write.offset, len(write.data)) for write in areas})
        for number in gone:
            self.assertNotIn(volume.areas[number],
                             [write.data for write in areas])
        self.assertEqual((plans.Write(0, change.header.pack()),), written)
        self.assertEqual((plans.Write(0, volume.header.pack()),),
                         change.plan.expected)

    def test_erased_record_is_as_if_never_used(self):
        volume = base.sample(base.OLD)
        self.assertEqual(base.bare().header.pack(),
                         volume.header.erase([0]).header.pack())

    def test_areas_are_overwritten_with_random_bytes(self):
        volume = base.sample(base.OLD, base.OTHER)
        areas = volume.header.erase(
            [0, 1], random=random.Random(7).randbytes).plan.stages[0]
        again = random.Random(7)
        self.assertEqual([again.randbytes(64000), again.randbytes(64000)],
                         [write.data for write in areas])

    @ddt.data([2], [0, 2], [-1], [8])
    def test_not_in_use(self, gone):
        volume = base.sample(base.OLD, base.OTHER)
        error = self.assertRaises(exception.KeyslotNotFound,
                                  volume.header.erase, gone)
        self.assertEqual(gone[-1], error.keyslot)


class ReplaceTest(testtools.TestCase):

    def test_replace(self):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.replace(0, volume.key, base.NEW,
                                       iterations=1700)
        self.assertEqual([1, 2], numbers(change.header))
        self.assertEqual(2, change.keyslot)
        self.assertEqual(1700, change.header.keyslot(2).kdf.iterations)
        self.assertEqual(volume.key, change.header.open_keyslot(
            2, base.area_of(change), base.NEW))
        self.assertEqual(
            volume.header.phdr.key_blocks[0].key_material_offset,
            change.header.phdr.key_blocks[0].key_material_offset)

    def test_plan_is_add_then_erase(self):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual((plans.Write(0, volume.header.pack()),),
                         change.plan.expected)
        material, both, area, final = change.plan.stages
        self.assertEqual(change.header.keyslot(2).offset, material[0].offset)
        self.assertEqual([0, 1, 2], numbers(luks1.Luks1Header.parse(
            both[0].data)))
        self.assertEqual(volume.header.keyslot(0).offset, area[0].offset)
        self.assertEqual(change.header.pack(), final[0].data)

    def test_not_in_use(self):
        volume = base.sample(base.OLD)
        self.assertRaises(exception.KeyslotNotFound, volume.header.replace, 1,
                          volume.key, base.NEW)
