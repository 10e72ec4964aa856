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

"""A header backup put back over a header: every cut opens the volume."""

from __future__ import annotations

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks1 import restore as luks1_restore
from os_brick_rbd_luks.tests import cuts
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import disk as disks
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import keyring as rings
from os_brick_rbd_luks.tests import units

#: 64-byte keys and the payload where upstream's driver puts it: 4040
#: sectors, no room behind the areas.
UPSTREAM = {"spec": "aes-xts-plain64", "size": 64, "data_offset": 2068480}
OURS = {"spec": "aes-xts-plain64", "size": 64, "data_offset": 4 * units.MIB}
TIGHT = {"data_offset": rings.TIGHT}
ROOM_FOR_ONE = {"data_offset": rings.TIGHT + 65536}
ROOMY = {"data_offset": 4 * units.MIB}

#: Present and backup keyslots by number; equal letters are equal keyslots.
CASES = {
    "same numbers, other passphrases": ({0: "a"}, {0: "b"}),
    "two of each": ({0: "a", 1: "b"}, {0: "c", 1: "d"}),
    "present one is kept": ({1: "a"}, {0: "b"}),
    "backup's number was free": ({0: "a"}, {5: "b"}),
    "3 present, 2 in the backup": (
        {0: "a", 1: "b", 2: "c"}, {0: "d", 1: "e"}),
    "2 present, 3 in the backup": (
        {0: "a", 1: "b"}, {0: "c", 1: "d", 2: "e"}),
    "identical": ({0: "a", 3: "b"}, {0: "a", 3: "b"}),
    "one of two is identical": ({0: "a", 1: "b"}, {0: "a", 1: "c"}),
    "one was removed": ({0: "a"}, {0: "a", 1: "b"}),
    "one was added": ({0: "a", 1: "b"}, {0: "a"}),
    "re-keyed: other number": ({1: "b"}, {0: "a"}),
    "four of each": (dict(enumerate("abcd")), dict(enumerate("efgh"))),
    "last numbers": ({6: "a", 7: "b"}, {6: "c", 7: "d"}),
    "seven and one": (dict(enumerate("abcdefg")), {0: "h"}),
    "seven and the eighth": (dict(enumerate("abcdefg")), {7: "h"}),
    "all eight identical": (dict(enumerate("abcdefgh")),
                            dict(enumerate("abcdefgh"))),
}


class RestoreTestCase(testtools.TestCase):

    def plan(self, current, backup):
        return luks1_restore.over_header(current.header, current.areas,
                                   backup.header, backup.areas)

    def check_cuts(self, current, backup, plan, **how):
        """All passphrases of now open it, or all of the backup's do."""
        disk = disks.Disk.of(current.header, current.areas)
        for cut in disk.cuts(plan, **how):
            try:
                now, then = rings.opens(disk, current, backup)
            except exception.HeaderError as error:
                self.fail(f"{cut}: {error}")
            self.assertTrue(now or then, cut)
        self.check_done(current, backup, disk)

    def check_done(self, current, backup, disk):
        self.assertEqual(backup.header.pack(),
                         bytes(disk.data[:ondisk.SIZE]))
        self.assertEqual(backup.areas, disk.areas(backup.header))
        # Nobody opens what a removed passphrase opened, nor its copy.
        for keyslot in current.keyslots - backup.keyslots:
            for start in range(0, len(keyslot.area), len(keyslot.area) // 4):
                self.assertEqual(-1, disk.data.find(
                    keyslot.area[start:start + 512]))


@ddt.ddt
class RestoreTest(RestoreTestCase):

    @ddt.data(*[(name, place) for name in CASES
                for place in (TIGHT, ROOM_FOR_ONE, ROOMY)])
    @ddt.unpack
    def test_header_writes_are_whole(self, name, place):
        """As on RADOS."""
        now, then = (rings.make(names, **place) for names in CASES[name])
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.FEW,
                        every=False)

    @ddt.data(*[(name, place) for name in CASES
                for place in (TIGHT, ROOM_FOR_ONE, ROOMY)])
    @ddt.unpack
    def test_header_writes_tear(self, name, place):
        """As in a plain file, and as a plan promises."""
        now, then = (rings.make(names, **place) for names in CASES[name])
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.WHOLE)

    @selection.limit(300)
    @ddt.data(("two of each", TIGHT),
              ("3 present, 2 in the backup", ROOM_FOR_ONE),
              ("re-keyed: other number", ROOMY))
    @ddt.unpack
    def test_key_material_tears(self, name, place):
        now, then = (rings.make(names, **place) for names in CASES[name])
        self.check_cuts(now, then, self.plan(now, then), every=False)

    @ddt.data(*[(name, place) for name in (
        "same numbers, other passphrases", "3 present, 2 in the backup")
        for place in (UPSTREAM, OURS)])
    @ddt.unpack
    def test_64_byte_keys(self, name, place):
        now, then = (rings.make(names, **place) for names in CASES[name])
        self.check_cuts(now, then, self.plan(now, then), areas=cuts.FEW)

    @ddt.data(UPSTREAM, OURS)
    def test_no_keyslot_left_to_keep_one_in(self, place):
        now = rings.make(dict(enumerate("abcdefgh")), **place)
        for names in ({0: "i"}, dict(enumerate("abcdefgi"))):
            error = self.assertRaises(
                exception.OperationRefused, self.plan, now,
                rings.make(names, **place))
            self.assertIn("no room", error.reason)

    @ddt.data(
        # The backup's area is where the copy would have to go.
        ({0: "a"}, {0: "b"}, [1, 0, 2, 3, 4, 5, 6, 7]),
        # The backup's unused area is where the kept one is.
        ({1: "a"}, {0: "b"}, [0, 2, 1, 3, 4, 5, 6, 7]))
    @ddt.unpack
    def test_areas_elsewhere_in_the_way(self, now, then, order):
        self.assertRaises(exception.OperationRefused, self.plan,
                          rings.make(now), rings.make(then, order=order))

    def test_backup_that_opens_nothing(self):
        """It would destroy the volume: that is what erase is for."""
        now = rings.make({0: "a"})
        self.assertRaises(exception.OperationRefused, self.plan, now,
                          rings.make({}))
        self.assertRaises(exception.OperationRefused, self.plan, now,
                          rings.damage(rings.make({0: "b", 3: "c"}), 0, 3))

    @ddt.data({0: "a", 1: "b"}, {0: "c", 1: "b"}, {0: "d"}, {5: "d"})
    def test_damaged_present_keyslot(self, names):
        """It neither counts nor hinders; in the end it is gone."""
        damaged = rings.damage(rings.make({0: "a", 1: "b"}), 1)
        now = rings.Keyring(damaged.header, {0: damaged.areas[0]})
        then = rings.make(names)
        plan = self.plan(damaged, then)
        disk = disks.Disk.of(damaged.header, damaged.areas)
        for cut in disk.cuts(plan, areas=cuts.FEW):
            self.assertTrue(any(rings.opens(disk, now, then)), cut)
        self.check_done(damaged, then, disk)

    def test_damaged_backup_keyslot(self):
        """What the backup has besides is restored."""
        now = rings.make({0: "a", 2: "b"})
        damaged = rings.damage(rings.make({0: "c", 1: "d"}), 0)
        then = rings.Keyring(damaged.header, {1: damaged.areas[1]})
        disk = disks.Disk.of(now.header, now.areas)
        for cut in disk.cuts(self.plan(now, damaged), areas=cuts.FEW):
            self.assertTrue(any(rings.opens(disk, now, then)), cut)
        self.check_done(now, damaged, disk)

    def test_nothing_present(self):
        now, then = rings.make({}), rings.make({0: "a", 4: "b"})
        plan = self.plan(now, then)
        disk = disks.Disk.of(now.header, now.areas)
        disk.apply(plan)
        self.check_done(now, then, disk)

    def test_plan_is_for_the_present_header(self):
        now, then = rings.make({0: "a"}), rings.make({0: "b"})
        (expected,) = self.plan(now, then).expected
        self.assertEqual((0, now.header.pack()),
                         (expected.offset, expected.data))

    @ddt.data(TIGHT, ROOMY)
    def test_passphrases(self, place):
        """With real keys: what opens by its bytes opens by its passphrase."""
        now = base.sample(base.NEW, base.OTHER, **place)
        then = base.sample(base.OLD, **place)
        opens = disks.Locksmith().opens
        disk = disks.Disk.of(now.header, now.areas)
        opened = set()
        for cut in disk.cuts(self.plan(now, then), areas=cuts.FEW,
                             every=False):
            opened = opens(disk, base.OLD, base.NEW, base.OTHER)
            self.assertTrue({base.NEW, base.OTHER} <= opened
                            or base.OLD in opened, cut)
        self.assertEqual({base.OLD}, opened)


@ddt.ddt
class RestoreAgainTest(RestoreTestCase):
    """A restore that was cut short is done again from where it is."""

    @ddt.data(*CASES)
    def test_again(self, name):
        now, then = (rings.make(names) for names in CASES[name])
        disk = disks.Disk.of(now.header, now.areas)
        for cut in disk.cuts(self.plan(now, then), areas=cuts.FEW,
                             every=False):
            second = disks.Disk(len(disk.data), (0, disk.data))
            found = second.header()
            try:
                plan = luks1_restore.over_header(found, second.areas(found),
                                           then.header, then.areas)
            except exception.OperationRefused as error:
                self.fail(f"{cut}: {error}")
            for again in second.cuts(plan, areas=cuts.WHOLE, every=False):
                self.assertTrue(any(rings.opens(second, now, then)),
                                f"{cut}, then {again}")
            self.check_done(now, then, second)


def keyrings(letters):
    """Which keyslots are in use, and what by."""
    return strategies.dictionaries(
        strategies.integers(0, 7), strategies.sampled_from(letters),
        min_size=1, max_size=5)


class RestoreAnythingTest(RestoreTestCase):

    @hypothesis.given(
        now=keyrings("abc"), then=keyrings("ad"),
        place=strategies.sampled_from([TIGHT, ROOM_FOR_ONE, ROOMY]),
        every=strategies.booleans())
    @properties.hostile(50)
    def test_any_keyslots(self, now, then, place, every):
        moving = {number for number in now.keys() & then.keys()
                  if now[number] != then[number]}
        free = 8 - len(now.keys() | then.keys())
        current, backup = rings.make(now, **place), rings.make(then, **place)
        try:
            plan = self.plan(current, backup)
        except exception.OperationRefused:
            self.assertGreater(len(moving), free)
            return
        self.assertLessEqual(len(moving), free)
        self.check_cuts(current, backup, plan, areas=cuts.FEW, every=every)

    @hypothesis.given(
        now=keyrings("abc"), then=keyrings("ad"),
        before=strategies.permutations(range(8)),
        after=strategies.permutations(range(8)),
        place=strategies.sampled_from([TIGHT, ROOMY]))
    @hypothesis.example(now={0: "a"}, then={0: "d"}, before=range(8),
                        after=[2, 1, 0, 3, 4, 5, 6, 7], place=TIGHT)
    @properties.hostile(50)
    def test_areas_in_other_places(self, now, then, before, after, place):
        """Nobody makes such headers, but nobody forbids them: whole or not
        at all.
        """
        current = rings.make(now, order=before, **place)
        backup = rings.make(then, order=after, **place)
        try:
            plan = self.plan(current, backup)
        except exception.OperationRefused:
            return
        self.check_cuts(current, backup, plan, areas=cuts.FEW, every=False)


@ddt.ddt
class OverNothingTest(RestoreTestCase):
    """A backup put where there is no header, or not a usable one."""

    def cut(self, backup, disk, found):
        plan = luks1_restore.over_nothing(backup.header, backup.areas, found)
        for cut in disk.cuts(plan, areas=cuts.FEW):
            start = bytes(disk.data[:ondisk.SIZE])
            if start == found:
                continue
            try:
                disk.header()
            except exception.HeaderError:
                continue
            self.assertEqual(backup.header.pack(), start, cut)
            self.assertEqual([True], rings.opens(disk, backup), cut)
        self.assertEqual([True], rings.opens(disk, backup))

    @ddt.data(TIGHT, OURS)
    def test_over_noise(self, place):
        backup = rings.make({0: "a", 3: "b", 7: "c"}, **place)
        found = b"\xa5" * ondisk.SIZE
        self.cut(backup, disks.Disk(backup.header.data_offset, (0, found)),
                 found)

    @ddt.data({0: "a"}, {0: "b", 1: "c"}, dict(enumerate("abcdefgh")))
    def test_over_another_header(self, names):
        """No cut leaves the records of one with the areas of the other."""
        backup, other = rings.make({0: "d", 3: "b"}), rings.make(names)
        disk = disks.Disk.of(other.header, other.areas)
        self.cut(backup, disk, other.header.pack())

    def test_what_it_expects(self):
        backup = rings.make({0: "a"})
        (expected,) = luks1_restore.over_nothing(backup.header, backup.areas,
                                           b"found").expected
        self.assertEqual((0, b"found"), (expected.offset, expected.data))
