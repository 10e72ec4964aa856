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

"""A header backup over a volume that has a header, cut at any byte."""

from __future__ import annotations

import itertools

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import restore as luks2_restore
from os_brick_rbd_luks.tests import cuts
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import disk as disks
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import keyring as rings

#: Present and backup keyslots by number, and the places of their areas;
#: equal letters are equal keyslots.
CASES = {
    "same numbers, other passphrases": ({0: "a"}, {0: "b"}, {}, {}),
    "two of each": ({0: "a", 1: "b"}, {0: "c", 1: "d"}, {}, {}),
    "present one is not in the way": ({1: "a"}, {0: "b"}, {}, {}),
    "backup's number was free": ({0: "a"}, {5: "b"}, {}, {}),
    "3 present, 2 in the backup": (
        {0: "a", 1: "b", 2: "c"}, {0: "d", 1: "e"}, {}, {}),
    "2 present, 3 in the backup": (
        {0: "a", 1: "b"}, {0: "c", 1: "d", 2: "e"}, {}, {}),
    "identical": ({0: "a", 3: "b"}, {0: "a", 3: "b"}, {}, {}),
    "one of two is identical": ({0: "a", 1: "b"}, {0: "a", 1: "c"}, {}, {}),
    "one was removed": ({0: "a"}, {0: "a", 1: "b"}, {}, {}),
    "one was added": ({0: "a", 1: "b"}, {0: "a"}, {}, {}),
    "re-keyed: other number": ({1: "b"}, {0: "a"}, {}, {}),
    "other number, same area": ({1: "b"}, {0: "a"}, {1: 0}, {}),
    "areas exchanged": ({0: "a", 1: "b"}, {0: "a", 1: "b"}, {},
                        {0: 1, 1: 0}),
    "areas half on each other": ({0: "a"}, {0: "b"}, {0: 0.5}, {0: 1}),
    "one on two": ({0: "a", 1: "b"}, {0: "c"}, {}, {0: 0.5}),
    "two on one": ({0: "a"}, {0: "b", 1: "c"}, {0: 0.5}, {}),
    "seven of each": (dict(enumerate("abcdefg")), dict(enumerate("hijklmn")),
                      {}, {}),
    "last places": ({0: "a"}, {0: "b"}, {0: 14}, {0: 14}),
    "high numbers": ({31: "a"}, {31: "b"}, {31: 3}, {31: 3}),
    "none present": ({}, {0: "a"}, {}, {}),
}


def both(name, **options):
    now, then, here, there = CASES[name]
    return (rings.make(now, here, **options),
            rings.make(then, there, **options))


class RestoreTestCase(testtools.TestCase):

    def plan(self, current, backup):
        return luks2_restore.over_header(current.header, current.areas,
                                   backup.header, backup.areas)

    def check_cuts(self, current, backup, plan, **how):
        """All passphrases of now open it, or all of the backup's do."""
        disk = disks.Disk.of(current.header, current.areas)
        for cut in disk.cuts(plan, **how):
            now, then = rings.opens(disk, current, backup)
            self.assertTrue(now or then, cut)
        self.check_done(current, backup, disk)

    def check_done(self, current, backup, disk):
        found = disk.header()
        self.assertIsNone(found.ailment)
        self.assertEqual(backup.header.metadata.tree, found.metadata.tree)
        self.assertEqual(backup.areas, disk.areas(backup.header))
        self.assertTrue(found.same_volume(current.header))
        self.assertGreater(found.seqid, max(current.header.seqid,
                                            backup.header.seqid))
        # Nobody opens what a removed passphrase opened, nor its copy.
        for keyslot in current.keyslots - backup.keyslots:
            for start in range(0, len(keyslot.area), len(keyslot.area) // 4):
                self.assertLess(disk.data.count(
                    keyslot.area[start:start + 512]), 2)
            self.assertEqual(-1, disk.data.find(keyslot.area))


@ddt.ddt
class RestoreTest(RestoreTestCase):

    @ddt.data(*CASES)
    def test_cuts(self, name):
        now, then = both(name)
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.FEW,
                        every=False)

    @selection.limit(300)
    @ddt.data(*selection.cases("areas exchanged",
                               full=("two of each", "one on two")))
    def test_cuts_at_every_byte(self, name):
        now, then = both(name)
        self.check_cuts(now, then, self.plan(now, then))

    def test_clone(self):
        now, then = both("two of each", clone=True)
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.FEW,
                        every=False)

    @selection.limit(300)
    @ddt.data(*selection.cases("areas exchanged",
                               full=("two of each", "one on two")))
    def test_cut_and_begun_anew(self, name):
        now, then = both(name)
        disk = disks.Disk.of(now.header, now.areas)
        for cut in disk.cuts(self.plan(now, then), areas=cuts.FEW,
                             every=False):
            saved = bytes(disk.data)
            found = disk.header()
            if found.ailment is not None and found.ailment.damage:
                disk.apply(found.repair().plan)
                found = disk.header()
            second = luks2_restore.over_header(found, disk.areas(found),
                                         then.header, then.areas)
            for again in disk.cuts(second, areas=cuts.WHOLE, every=False):
                self.assertTrue(any(rings.opens(disk, now, then)),
                                f"{cut}, then {again}")
            self.assertEqual([True], rings.opens(disk, then), cut)
            self.assertIsNone(disk.header().ailment)
            disk.data[:] = saved

    def test_every_arrangement_of_two_areas(self):
        """Three places for the areas of two present and two new ones."""
        arrangements = list(itertools.permutations((0, 0.5, 1, 2), 2))
        valid = [places for places in arrangements
                 if abs(places[0] - places[1]) >= 1]
        self.assertEqual(8, len(valid))
        for here, there in itertools.product(valid, valid):
            now = rings.make({0: "a", 1: "b"}, dict(enumerate(here)))
            then = rings.make({0: "a", 1: "c"}, dict(enumerate(there)))
            disk = disks.Disk.of(now.header, now.areas)
            for cut in disk.cuts(self.plan(now, then), areas=cuts.WHOLE,
                                 every=False):
                self.assertTrue(any(rings.opens(disk, now, then)),
                                f"{here} {there} {cut}")
            self.check_done(now, then, disk)

    def test_no_room(self):
        now = rings.make({number: f"a{number}" for number in range(15)})
        then = rings.make({0: "b"})
        error = self.assertRaises(exception.OperationRefused, self.plan, now,
                                  then)
        self.assertIn("no room", error.reason)

    def test_room_for_one(self):
        now = rings.make({number: f"a{number}" for number in range(14)})
        then = rings.make({0: "b"})
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.WHOLE,
                        every=False)

    def test_backup_that_opens_nothing(self):
        """It would destroy the volume: that is what erase is for."""
        self.assertRaises(exception.OperationRefused, self.plan,
                          rings.make({0: "a"}), rings.make({}))

    @ddt.data(0, 1)
    def test_requirements(self, which):
        pair = list(both("two of each"))
        tree = base.tree(base.Volume(pair[which].header, {}, b""))
        tree["config"]["requirements"] = {"mandatory": ["later"]}
        pair[which] = pair[which]._replace(header=luks2.Luks2Header.parse(
            base.craft(pair[which].header, tree)))
        self.assertRaises(exception.UnsupportedHeader, self.plan, *pair)

    def test_damaged_copy(self):
        now, then = both("two of each")
        packed = bytearray(now.header.pack())
        packed[20] ^= 1
        now = now._replace(header=luks2.Luks2Header.parse(bytes(packed)))
        self.assertRaises(exception.DamagedHeaderCopy, self.plan, now, then)

    def test_stale_copy(self):
        now, then = both("two of each")
        old = rings.make({3: "z"})
        newer = now.header.over(now.header).over(now.header)
        packed = (newer.copy(ondisk.PRIMARY)
                  + old.header.copy(ondisk.SECONDARY))
        found = luks2.Luks2Header.parse(packed)
        plan = luks2_restore.over_header(
            found, now.areas, then.header, then.areas)
        disk = disks.Disk.of(found, now.areas, packed)
        for cut in disk.cuts(plan, areas=cuts.WHOLE, every=False):
            self.assertTrue(any(rings.opens(disk, now, then)), cut)
        self.check_done(now, then, disk)

    def test_plan_is_for_the_present_header(self):
        now, then = both("two of each")
        (expected,) = self.plan(now, then).expected
        self.assertEqual((0, now.header.pack()),
                         (expected.offset, expected.data))


class OverNothingTest(testtools.TestCase):

    def test_old_copies_go_first(self):
        old, backup = both("two of each")
        for found in (bytes(base.BOTH), old.header.pack(),
                      bytes(16384) + old.header.pack()[16384:]):
            plan = luks2_restore.over_nothing(
                backup.header, backup.areas, found)
            disk = disks.Disk(base.DATA_OFFSET, (0, found))
            for cut in disk.cuts(plan, areas=cuts.WHOLE, every=False):
                try:
                    opened = rings.opens(disk, old, backup)
                except exception.HeaderError:
                    continue
                # No cut leaves the old header above new key material.
                header_there = disk.header().metadata
                if header_there == old.header.metadata:
                    self.assertFalse(opened[1], cut)
                else:
                    self.assertTrue(opened[1], cut)
            self.assertEqual(backup.header, disk.header())
            self.assertEqual([True], rings.opens(disk, backup))
