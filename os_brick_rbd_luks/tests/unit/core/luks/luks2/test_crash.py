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

"""Power lost at any byte of a keyslot change: the volume opens."""

from __future__ import annotations

import random

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.tests import cuts
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import disk as disks


def sound_copies(disk):
    """Which copies are as somebody wrote them."""
    data = bytes(disk.data[:base.BOTH])
    found = set()
    for which, offset in ((ondisk.PRIMARY, 0), (ondisk.SECONDARY, 16384)):
        try:
            header_copies.read(data, which, offset)
        except exception.HeaderError:
            continue
        found.add(which)
    return found


class DiskTest(testtools.TestCase):
    """The tool of these tests."""

    def test_cuts_pass_through_every_header_byte_that_changes(self):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW)
        disk = disks.Disk.of(volume.header, volume.areas)
        states = {bytes(disk.data[:base.BOTH])
                  for _cut in disk.cuts(change.plan)}
        before, after = volume.header.pack(), change.header.pack()
        for cut in range(base.BOTH + 1):
            self.assertIn(after[:cut] + before[cut:], states)
        self.assertGreater(len(states), 1000)

    def test_cuts_end_with_the_whole_plan(self):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.erase([0, 1])
        disk = disks.Disk.of(volume.header, volume.areas)
        names = list(disk.cuts(change.plan))
        whole = disks.Disk.of(volume.header, volume.areas)
        whole.apply(change.plan)
        self.assertEqual(whole.data, disk.data)
        self.assertTrue(any(name.startswith("reversed") for name in names))


@ddt.ddt
class CrashTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.opens = disks.Locksmith().opens

    def run_cuts(self, volume, plan, always, enough, every=False,
                 packed=None, least=None):
        """Check every cut of *plan*.

        :param always: passphrases that open the volume at every cut
        :param enough: passphrases of which one does
        :returns: those that open it in the end
        """
        disk = disks.Disk.of(volume.header, volume.areas, packed)
        keys = disks.Locksmith()
        count = 0
        for cut in disk.cuts(plan, every=every):
            # That it can be parsed says that one copy at least is sound.
            self.assertEqual(set(always), keys.opens(disk, *always), cut)
            self.assertTrue(always or keys.any_opens(disk, *enough), cut)
            count += 1
        self.assertGreater(count, least or (500 if every else 20))
        self.assertIsNone(disk.header().ailment)
        return keys.opens(disk, *always, *enough)

    def test_add_at_every_byte(self):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW)
        self.assertEqual({base.OLD, base.NEW}, self.run_cuts(
            volume, change.plan, [base.OLD], [base.NEW], every=True))

    def test_replace_at_every_byte(self):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual({base.NEW, base.OTHER}, self.run_cuts(
            volume, change.plan, [base.OTHER], [base.OLD, base.NEW],
            every=True))

    def test_erase_at_every_byte(self):
        volume = base.sample(base.OLD, base.OTHER, base.NEW)
        change = volume.header.erase([0, 2])
        self.assertEqual({base.OTHER}, self.run_cuts(
            volume, change.plan, [base.OTHER], [base.OLD, base.NEW],
            every=True))

    @ddt.data(None, 1, 5, 31)
    def test_add(self, keyslot):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, keyslot=keyslot)
        self.assertEqual({base.OLD, base.NEW}, self.run_cuts(
            volume, change.plan, [base.OLD], [base.NEW]))

    @ddt.data(0, 3, 31)
    def test_replace(self, keyslot):
        volume = base.add(base.bare(), base.OLD, keyslot)
        change = volume.header.replace(keyslot, volume.key, base.NEW)
        self.assertEqual({base.NEW}, self.run_cuts(
            volume, change.plan, [], [base.OLD, base.NEW]))

    @ddt.data(("aes-xts-plain64", 64), ("aes-cbc-essiv:sha256", 32))
    @ddt.unpack
    def test_replace_with_other_ciphers(self, spec, size):
        volume = base.sample(base.OLD, spec=spec, size=size)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual({base.NEW}, self.run_cuts(
            volume, change.plan, [], [base.OLD, base.NEW]))

    def test_replace_in_a_clone_s_header(self):
        volume = base.sample(base.OLD, clone=True)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual({base.NEW}, self.run_cuts(
            volume, change.plan, [], [base.OLD, base.NEW]))

    def test_erased_passphrases_are_gone_before_the_header_is(self):
        """Lost power between the two leaves no way to the volume key."""
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.erase([0, 1])
        disk = disks.Disk.of(volume.header, volume.areas)
        for write in change.plan.stages[0]:
            disk.put(write.offset, write.data)
        self.assertEqual([0, 1], [slot.number
                                  for slot in disk.header().keyslots])
        self.assertEqual(set(), self.opens(disk, base.OLD, base.OTHER))

    def test_both_copies_are_sound_between_stages(self):
        """Each copy is written while the other one is whole."""
        volume = base.sample(base.OLD)
        change = volume.header.replace(0, volume.key, base.NEW)
        disk = disks.Disk.of(volume.header, volume.areas)
        for stage in change.plan.stages:
            self.assertEqual(2, len(sound_copies(disk)))
            for write in stage:
                disk.put(write.offset, write.data)
        self.assertEqual(2, len(sound_copies(disk)))

    def test_a_change_after_a_cut_change(self):
        """Cut anywhere, repaired or not: a second change can be cut, too."""
        volume = base.sample(base.OLD)
        change = volume.header.replace(0, volume.key, base.NEW)
        disk = disks.Disk.of(volume.header, volume.areas)
        source = random.Random(4)
        tried = set()
        for cut in disk.cuts(change.plan, areas=cuts.FEW, every=False):
            saved = bytes(disk.data)
            found = disk.header()
            works = sorted(self.opens(disk, base.OLD, base.NEW))[0]
            if found.ailment is not None and found.ailment.damage:
                self.assertRaises(exception.DamagedHeaderCopy, found.add,
                                  volume.key, base.OTHER)
                disk.apply(found.repair().plan)
                found = disk.header()
            tried.add(found.ailment)
            second = found.add(volume.key, base.OTHER,
                               random=source.randbytes)
            for again in disk.cuts(second.plan, areas=cuts.FEW, every=False):
                self.assertIn(works, self.opens(disk, works),
                              f"{cut}, then {again}")
            self.assertEqual({works, base.OTHER},
                             self.opens(disk, works, base.OTHER))
            disk.data[:] = saved
        self.assertEqual({None, header_copies.Ailment(ondisk.SECONDARY, None)},
                         tried)

    @ddt.data(ondisk.PRIMARY, ondisk.SECONDARY)
    def test_change_of_a_header_with_a_stale_copy(self, which):
        """The stale copy tells of a keyslot whose area was used again.

        Were the newer copy overwritten first and torn, nothing would open.
        """
        first = base.sample(base.OLD)
        second = first.header.replace(0, first.key, base.OTHER)
        areas = {second.keyslot: base.area_of(second)}
        stale, newer = first.header, second.header
        packed = (stale.copy(ondisk.PRIMARY) + newer.copy(ondisk.SECONDARY)
                  if which == ondisk.PRIMARY else
                  newer.copy(ondisk.PRIMARY) + stale.copy(ondisk.SECONDARY))
        found = luks2.Luks2Header.parse(packed)
        self.assertEqual(header_copies.Ailment(which, None), found.ailment)
        change = found.add(first.key, base.NEW)
        # The new key material goes where the old one was.
        self.assertEqual(first.header.keyslot(0).offset,
                         change.header.keyslot(change.keyslot).offset)
        self.assertEqual({base.OTHER, base.NEW}, self.run_cuts(
            base.Volume(found, areas, first.key), change.plan, [base.OTHER],
            [base.NEW], packed=packed))

    @ddt.data(ondisk.PRIMARY, ondisk.SECONDARY)
    def test_repair(self, which):
        volume = base.sample(base.OLD)
        packed = bytearray(volume.header.pack())
        packed[(0 if which == ondisk.PRIMARY else 16384) + 5000] ^= 1
        found = luks2.Luks2Header.parse(bytes(packed))
        self.assertEqual(which, found.ailment.which)
        self.run_cuts(base.Volume(found, volume.areas, volume.key),
                      found.repair().plan, [base.OLD], [],
                      every=True, packed=bytes(packed), least=80)
