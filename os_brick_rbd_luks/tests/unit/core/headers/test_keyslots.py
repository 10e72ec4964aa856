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

"""Add, replace and remove passphrases."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

LUKS2 = dataclasses.replace(base.QUICK, type="luks2")
EIGHT = tuple(f"passphrase {number}".encode() for number in range(8))


def numbers(image):
    return [slot.number for slot in header_io.read_header(image).keyslots]


class KeyslotsTestCase(base.OperationsTestCase):

    def raw_area(self, image, number):
        """Bytes of a keyslot's area, also of one that is not in use."""
        block = header_io.read_header(image).phdr.key_blocks[number]
        return image.read(block.key_material_offset * 512, 16 * 4000)

    def change_meanwhile(self, image):
        """The image, to which somebody else adds a keyslot just before the
        lock is taken.
        """
        def add():
            with images.MemoryImage(image.content) as other:
                keyslots.add(other, base.OLD, base.OTHER)
            image.content.log.clear()

        return self.disturbed(image, "lock", add)


@ddt.ddt
class AddTest(KeyslotsTestCase):

    def test_both_open_the_same_key(self):
        image = self.make_volume()
        result = keyslots.add(image, base.OLD, base.NEW)
        self.assertEqual(keyslots.Result(1, None, []), result)
        self.assertEqual(self.volume_key(image, base.OLD),
                         self.volume_key(image, base.NEW))

    def test_named_keyslot(self):
        image = self.make_volume()
        self.assertEqual(5, keyslots.add(image, base.OLD, base.NEW,
                                         keyslot=5).added)
        self.assertEqual([0, 5], numbers(image))

    def test_iterations(self):
        image = self.make_volume()
        keyslots.add(image, base.OLD, base.NEW, iterations=2345)
        self.assertEqual(2345, header_io.read_header(
            image).keyslots[1].kdf.iterations)

    def test_up_to_eight(self):
        image = self.make_volume(*EIGHT)
        self.assertEqual(list(range(8)), numbers(image))
        for passphrase in EIGHT:
            self.assertTrue(self.opens(image, passphrase))
        error = self.assert_untouched(
            image, lambda: keyslots.add(image, EIGHT[0], base.NEW),
            exception.NoFreeKeyslot)
        self.assertEqual(8, error.count)

    @ddt.data((b"wrong", base.NEW, {}, exception.WrongPassphrase),
              (base.OLD, b"", {}, exception.InvalidParameter),
              (base.OLD, base.NEW, {"keyslot": 0}, exception.KeyslotInUse),
              (base.OLD, base.NEW, {"keyslot": 8},
               exception.InvalidParameter),
              (base.OLD, base.NEW, {"keyslot": -1},
               exception.InvalidParameter),
              (base.OLD, base.NEW, {"iterations": 999},
               exception.InvalidParameter))
    @ddt.unpack
    def test_refused(self, old, new, options, expected):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: keyslots.add(image, old, new, **options), expected)

    def test_key_material_before_header(self):
        image = self.make_volume()
        keyslots.add(image, base.OLD, base.NEW)
        slot = header_io.read_header(image).keyslots[1]
        self.assertEqual(
            [("lock", 0, 0), ("write", slot.offset, slot.length),
             ("flush", 0, 0), ("renew", 0, 0),
             ("write", 0, ondisk.SIZE), ("flush", 0, 0), ("unlock", 0, 0)],
            image.content.log)

    def test_works_while_a_guest_runs(self):
        image = self.make_volume()
        image.content.watchers.append("client.4 at a hypervisor")
        keyslots.add(image, base.OLD, base.NEW)
        self.assertTrue(self.opens(image, base.NEW))

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume())
        self.assertRaises(exception.HeaderChanged, keyslots.add, image,
                          base.OLD, base.NEW)
        self.assertEqual([], self.kinds(image, "write"))
        self.assertTrue(self.opens(image, base.OTHER))
        self.assertFalse(self.opens(image, base.NEW))

    def test_damaged_keyslot_is_not_taken_for_a_free_one(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        self.assertEqual(2, keyslots.add(image, base.OLD, base.OTHER).added)


class RekeyTest(KeyslotsTestCase):

    def test_old_goes_new_comes(self):
        image = self.make_volume()
        key = self.volume_key(image, base.OLD)
        self.assertEqual(keyslots.Result(1, 0, []),
                         keyslots.replace(image, base.OLD, base.NEW))
        self.assertFalse(self.opens(image, base.OLD))
        self.assertEqual(key, self.volume_key(image, base.NEW))
        self.assertEqual([1], numbers(image))

    def test_old_key_material_is_overwritten(self):
        image = self.make_volume()
        area = self.raw_area(image, 0)
        keyslots.replace(image, base.OLD, base.NEW)
        found = self.raw_area(image, 0)
        self.assertFalse({area[n:n + 32] for n in range(0, 64000, 32)}
                         & {found[n:n + 32] for n in range(0, 64000, 32)})

    def test_again_and_again(self):
        image = self.make_volume(EIGHT[0])
        for old, new in zip(EIGHT, EIGHT[1:]):
            keyslots.replace(image, old, new)
        self.assertEqual([True], [self.opens(image, EIGHT[-1])])
        self.assertEqual(1, len(numbers(image)))

    def test_others_stay(self):
        image = self.make_volume(base.OLD, base.OTHER)
        self.assertEqual(keyslots.Result(2, 0, []),
                         keyslots.replace(image, base.OLD, base.NEW))
        self.assertTrue(self.opens(image, base.OTHER))

    def test_same_passphrase(self):
        image = self.make_volume()
        keyslots.replace(image, base.OLD, base.OLD, iterations=4000)
        slot, = header_io.read_header(image).keyslots
        self.assertEqual((1, 4000), (slot.number, slot.kdf.iterations))
        self.assertTrue(self.opens(image, base.OLD))

    def test_snapshots_are_told(self):
        image = self.make_volume()
        stores.take_snapshot(image, "before")
        stores.take_snapshot(image, "later")
        self.assertEqual(["before", "later"], keyslots.replace(
            image, base.OLD, base.NEW).stale_snapshots)

    def test_wrong_passphrase(self):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: keyslots.replace(image, b"wrong", base.NEW),
            exception.WrongPassphrase)

    def test_bad_new_passphrase(self):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: keyslots.replace(image, base.OLD, b""),
            exception.InvalidParameter)

    def test_no_free_keyslot(self):
        image = self.make_volume(*EIGHT)
        self.assert_untouched(
            image, lambda: keyslots.replace(image, EIGHT[0], base.NEW),
            exception.NoFreeKeyslot)

    def test_order(self):
        image = self.make_volume()
        keyslots.replace(image, base.OLD, base.NEW)
        offsets = [block.key_material_offset * 512 for block in
                   header_io.read_header(image).phdr.key_blocks]
        self.assertEqual(
            [(kind, offset) for number in range(4) for kind, offset in
             (("write", (offsets[1], 0, offsets[0], 0)[number]),
              ("flush", 0))],
            [event[:2] for event in self.kinds(image, "write", "flush")])

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume())
        self.assertRaises(exception.HeaderChanged, keyslots.replace, image,
                          base.OLD, base.NEW)
        self.assertTrue(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.OTHER))


@ddt.ddt
class OwnTest(KeyslotsTestCase):
    """One passphrase takes the place of all others."""

    def make(self, kind, *passphrases):
        if kind == "luks1":
            return self.make_volume(*passphrases)
        return self.make_volume(*passphrases, size=20 * units.MIB,
                                options=LUKS2)

    @ddt.data("luks1", "luks2")
    def test_only_the_new_one_opens(self, kind):
        image = self.make(kind, base.OLD, base.OTHER, b"third")
        key = self.volume_key(image, base.OTHER)
        header = keyslots.replace_all(image, base.OTHER, base.NEW)
        self.assertEqual(header, header_io.read_header(image))
        self.assertEqual([3], numbers(image))
        self.assertEqual(key, self.volume_key(image, base.NEW))
        for passphrase in (base.OLD, base.OTHER, b"third"):
            self.assertFalse(self.opens(image, passphrase))

    @ddt.data("luks1", "luks2")
    def test_key_material_of_the_others_is_overwritten(self, kind):
        image = self.make(kind, base.OLD, base.OTHER)
        areas = [(slot.offset, image.read(slot.offset, slot.length))
                 for slot in header_io.read_header(image).keyslots]
        keyslots.replace_all(image, base.OLD, base.NEW)
        for offset, area in areas:
            found = image.read(offset, len(area))
            self.assertFalse(
                {area[n:n + 32] for n in range(0, len(area), 32)}
                & {found[n:n + 32] for n in range(0, len(area), 32)})

    def test_order(self):
        """The new one is complete before an old one goes."""
        image = self.make_volume(base.OLD, base.OTHER)
        offsets = [block.key_material_offset * 512 for block in
                   header_io.read_header(image).phdr.key_blocks]
        keyslots.replace_all(image, base.OLD, base.NEW)
        self.assertEqual(
            [offsets[2], 0, offsets[0], offsets[1], 0],
            [event.offset for event in self.kinds(image, "write")])
        self.assertEqual(1, len(self.kinds(image, "lock")))

    def test_damaged_ones_go_as_well(self):
        """They may be another program's."""
        image = self.make_volume(base.OLD, base.OTHER)
        self.patch_keyslot(image, 1, "iterations", bytes(4))
        keyslots.replace_all(image, base.OLD, base.NEW)
        self.assertEqual([2], numbers(image))

    def test_same_passphrase(self):
        image = self.make_volume(base.OLD, base.OTHER)
        keyslots.replace_all(image, base.OLD, base.OLD)
        self.assertEqual([2], numbers(image))
        self.assertTrue(self.opens(image, base.OLD))

    def test_cost(self):
        image = self.make_volume()
        keyslots.replace_all(image, base.OLD, base.NEW, iterations=2345)
        slot, = header_io.read_header(image).keyslots
        self.assertEqual(2345, slot.kdf.iterations)
        image = self.make("luks2")
        cost = kdfs.Argon2Cost(1, 64, 1)
        header = keyslots.replace_all(image, base.OLD, base.NEW, argon2=cost)
        self.assertEqual(cost, header.keyslots[0].kdf.cost)

    @ddt.data((b"wrong", base.NEW, {}, exception.WrongPassphrase),
              (base.OLD, b"", {}, exception.InvalidParameter),
              (base.OLD, base.NEW, {"iterations": 999},
               exception.InvalidParameter),
              (base.OLD, base.NEW, {"argon2": kdfs.Argon2Cost(1, 64, 1)},
               exception.InvalidParameter))
    @ddt.unpack
    def test_refused(self, old, new, options, expected):
        image = self.make_volume()
        self.assert_untouched(
            image, lambda: keyslots.replace_all(image, old, new, **options),
            expected)

    def test_no_free_keyslot(self):
        image = self.make_volume(*EIGHT)
        self.assert_untouched(
            image, lambda: keyslots.replace_all(image, EIGHT[0], base.NEW),
            exception.NoFreeKeyslot)

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume())
        self.assertRaises(exception.HeaderChanged, keyslots.replace_all, image,
                          base.OLD, base.NEW)
        self.assertTrue(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.OTHER))

    @ddt.data("luks1", "luks2")
    def test_every_prefix_leaves_old_or_new(self, kind):
        image = self.make(kind, base.OLD, base.OTHER)
        seen = set()
        for cut, left in self.cuts(
                image, lambda image: keyslots.replace_all(
                    image, base.OLD, base.NEW)):
            works = tuple(self.opens(left, passphrase) for passphrase
                          in (base.OLD, base.OTHER, base.NEW))
            self.assertTrue(works[0] or works[2], cut)
            # None of them is destroyed before the new one works.
            self.assertTrue(works[:2] == (True, True) or works[2], cut)
            seen.add(works)
            # What still works is enough to finish the work.
            keyslots.replace_all(
                left, base.NEW if works[2] else base.OLD, b"newest")
            self.assertEqual(1, len(numbers(left)))
            self.assertTrue(self.opens(left, b"newest"), cut)
        self.assertIn((True, True, False), seen)
        self.assertIn((False, False, True), seen)

    def test_torn_writes(self):
        image = self.make_volume(base.OLD, base.OTHER, atomic=False)
        for cut, left in self.cuts(
                image, lambda image: keyslots.replace_all(
                    image, base.OLD, base.NEW),
                (1, 210, 255, 258, 300, 591, 40000)):
            self.assertTrue(self.opens(left, base.OLD)
                            or self.opens(left, base.NEW), cut)


@ddt.ddt
class KeepOnlyTest(KeyslotsTestCase):

    @ddt.data(base.QUICK, LUKS2)
    def test_all_others_go(self, options):
        image = self.make_volume(base.OLD, base.OTHER, base.NEW,
                                 size=32 * units.MIB, options=options)
        image.content.snapshots.append("s")
        self.assertEqual(keyslots.Result(None, None, ["s"]),
                         keyslots.remove_others(image, base.NEW))
        self.assertEqual([2], numbers(image))
        self.assertTrue(self.opens(image, base.NEW))

    def test_known_keyslot(self):
        """No other one is tried, which may cost seconds."""
        image = self.make_volume(base.OLD, base.OTHER, base.NEW)
        with costs.Costs() as found:
            keyslots.remove_others(image, base.NEW, 2)
        self.assertEqual({"open": 1, "verify": 1, "read_start": 1},
                         found.counts)
        self.assertEqual([2], numbers(image))

    @ddt.data((1, exception.WrongPassphrase), (3, exception.KeyslotNotFound))
    @ddt.unpack
    def test_not_the_known_keyslot(self, keyslot, expected):
        image = self.make_volume(base.OLD, base.OTHER, base.NEW)
        self.assert_untouched(
            image, lambda: keyslots.remove_others(image, base.NEW, keyslot),
            expected)

    def test_alone_already(self):
        image = self.make_volume()
        keyslots.remove_others(image, base.OLD)
        self.assertEqual([], self.kinds(image, "write"))

    def test_wrong_passphrase(self):
        image = self.make_volume(base.OLD, base.OTHER)
        self.assert_untouched(
            image, lambda: keyslots.remove_others(image, base.NEW),
            exception.WrongPassphrase)

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume(base.OLD, base.NEW))
        self.assertRaises(exception.HeaderChanged, keyslots.remove_others,
                          image, base.NEW)
        self.assertTrue(self.opens(image, base.OLD))


class RemoveTest(KeyslotsTestCase):

    def test_by_passphrase(self):
        image = self.make_volume(base.OLD, base.NEW)
        area = self.raw_area(image, 0)
        self.assertEqual(keyslots.Result(None, 0, []),
                         keyslots.remove(image, base.OLD))
        self.assertFalse(self.opens(image, base.OLD))
        self.assertTrue(self.opens(image, base.NEW))
        self.assertNotEqual(area, self.raw_area(image, 0))

    def test_key_material_before_header(self):
        image = self.make_volume(base.OLD, base.NEW)
        slot = header_io.read_header(image).keyslots[0]
        keyslots.remove(image, base.OLD)
        self.assertEqual(
            [("write", slot.offset, slot.length), ("flush", 0, 0),
             ("write", 0, ondisk.SIZE), ("flush", 0, 0)],
            self.kinds(image, "write", "flush"))

    def test_snapshots_are_told(self):
        image = self.make_volume(base.OLD, base.NEW)
        stores.take_snapshot(image, "before")
        self.assertEqual(["before"], keyslots.remove(
            image, base.OLD).stale_snapshots)
        image = self.make_volume(base.OLD, base.NEW)
        stores.take_snapshot(image, "before")
        self.assertEqual(["before"], keyslots.remove_number(
            image, 0, None).stale_snapshots)

    def test_wrong_passphrase(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.assert_untouched(
            image, lambda: keyslots.remove(image, b"wrong"),
            exception.WrongPassphrase)

    def test_last_one(self):
        image = self.make_volume()
        for call in (lambda: keyslots.remove(image, base.OLD),
                     lambda: keyslots.remove_number(image, 0, None),
                     lambda: keyslots.remove_number(image, 0, base.OLD)):
            error = self.assert_untouched(image, call, exception.LastKeyslot)
            self.assertEqual(0, error.keyslot)

    def test_last_sound_one(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        for call in (lambda: keyslots.remove(image, base.OLD),
                     lambda: keyslots.remove_number(image, 0, None)):
            self.assert_untouched(image, call, exception.LastKeyslot)

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume(base.OLD, base.NEW))
        self.assertRaises(exception.HeaderChanged, keyslots.remove, image,
                          base.OLD)
        self.assertTrue(self.opens(image, base.OLD))


class RemoveNumberTest(KeyslotsTestCase):

    def test_with_proof(self):
        image = self.make_volume(base.OLD, base.NEW, base.OTHER)
        self.assertEqual(keyslots.Result(None, 0, []),
                         keyslots.remove_number(image, 0, base.OTHER))
        self.assertEqual([1, 2], numbers(image))

    def test_without_proof(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.assertEqual(keyslots.Result(None, 1, []),
                         keyslots.remove_number(image, 1, None))
        self.assertFalse(self.opens(image, base.NEW))
        self.assertTrue(self.opens(image, base.OLD))

    def test_its_own_passphrase_is_no_proof(self):
        image = self.make_volume(base.OLD, base.NEW)
        for passphrase in (base.OLD, b"wrong"):
            self.assert_untouched(
                image, lambda passphrase=passphrase: keyslots.remove_number(
                    image, 0, passphrase), exception.WrongPassphrase)

    def test_not_in_use(self):
        image = self.make_volume(base.OLD, base.NEW)
        for number in (2, 8, -1):
            error = self.assert_untouched(
                image, lambda number=number: keyslots.remove_number(
                    image, number, base.OLD), exception.KeyslotNotFound)
            self.assertEqual(number, error.keyslot)

    def test_damaged_one(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        keyslots.remove_number(image, 1, base.OLD)
        self.assertEqual([0], numbers(image))

    def test_damaged_one_is_no_proof(self):
        image = self.make_volume(base.OLD, base.NEW, base.OTHER)
        self.patch_keyslot(image, 1, "iterations", bytes(4))
        self.assert_untouched(
            image, lambda: keyslots.remove_number(image, 2, base.NEW),
            exception.WrongPassphrase)

    def test_changed_meanwhile(self):
        image = self.change_meanwhile(self.make_volume(base.OLD, base.NEW))
        self.assertRaises(exception.HeaderChanged, keyslots.remove_number,
                          image, 1, None)
        self.assertTrue(self.opens(image, base.NEW))
