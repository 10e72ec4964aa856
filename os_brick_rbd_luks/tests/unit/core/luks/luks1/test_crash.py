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

import ddt
import testtools

from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import disk as disks
from os_brick_rbd_luks.tests import units


class DiskTest(testtools.TestCase):
    """The tool of these tests."""

    def test_cuts_pass_through_every_header_byte_that_changes(self):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW)
        disk = disks.Disk.of(volume.header, volume.areas)
        states = {bytes(disk.data[:ondisk.SIZE])
                  for _cut in disk.cuts(change.plan)}
        before, after = volume.header.pack(), change.header.pack()
        self.assertEqual({after[:cut] + before[cut:]
                          for cut in range(ondisk.SIZE + 1)}, states)
        self.assertGreater(len(states), 30)

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

    def run_cuts(self, volume, plan, always, enough):
        """Check every cut of *plan*.

        :param always: passphrases that open the volume at every cut
        :param enough: passphrases of which one does
        :returns: those that open it in the end
        """
        disk = disks.Disk.of(volume.header, volume.areas)
        keys = disks.Locksmith()
        count = 0
        for cut in disk.cuts(plan):
            self.assertEqual(set(always), keys.opens(disk, *always), cut)
            self.assertTrue(always or keys.any_opens(disk, *enough), cut)
            count += 1
        self.assertGreater(count, 30)
        return keys.opens(disk, *always, *enough)

    @ddt.data(None, 1, 5, 7)
    def test_add(self, keyslot):
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, keyslot=keyslot)
        self.assertEqual({base.OLD, base.NEW}, self.run_cuts(
            volume, change.plan, [base.OLD], [base.NEW]))

    def test_add_in_front(self):
        """A free keyslot before the one in use."""
        volume = base.add(base.bare(), base.OLD, 3)
        change = volume.header.add(volume.key, base.NEW)
        self.assertEqual({base.OLD, base.NEW}, self.run_cuts(
            volume, change.plan, [base.OLD], [base.NEW]))

    def test_add_with_many_iterations(self):
        """Torn between 0 and that, no count is beyond the limit."""
        volume = base.sample(base.OLD)
        change = volume.header.add(volume.key, base.NEW, iterations=65537)
        self.run_cuts(volume, change.plan, [base.OLD], [base.NEW])

    @ddt.data(0, 3, 7)
    def test_replace(self, keyslot):
        volume = base.add(base.bare(), base.OLD, keyslot)
        change = volume.header.replace(keyslot, volume.key, base.NEW)
        self.assertEqual({base.NEW}, self.run_cuts(
            volume, change.plan, [], [base.OLD, base.NEW]))

    def test_replace_leaves_a_third_one(self):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual({base.NEW, base.OTHER}, self.run_cuts(
            volume, change.plan, [base.OTHER], [base.OLD, base.NEW]))

    @ddt.data(("aes-xts-plain64", 64, 2068480),
              ("aes-cbc-essiv:sha256", 32, 4 * units.MIB))
    @ddt.unpack
    def test_replace_with_other_ciphers(self, spec, size, data_offset):
        volume = base.sample(base.OLD, spec=spec, size=size,
                             data_offset=data_offset)
        change = volume.header.replace(0, volume.key, base.NEW)
        self.assertEqual({base.NEW}, self.run_cuts(
            volume, change.plan, [], [base.OLD, base.NEW]))

    @ddt.data((0, base.OTHER), (1, base.OLD))
    @ddt.unpack
    def test_erase_one_of_two(self, keyslot, stays):
        volume = base.sample(base.OLD, base.OTHER)
        change = volume.header.erase([keyslot])
        self.assertEqual({stays}, self.run_cuts(
            volume, change.plan, [stays], [base.OLD, base.OTHER]))

    def test_erase_several(self):
        volume = base.sample(base.OLD, base.OTHER, base.NEW)
        change = volume.header.erase([0, 2])
        self.assertEqual({base.OTHER}, self.run_cuts(
            volume, change.plan, [base.OTHER], [base.OLD, base.NEW]))

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
