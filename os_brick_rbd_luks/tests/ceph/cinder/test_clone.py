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

"""Volumes of volumes and of snapshots: each with a key of its own."""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.contracts import cinder_clone as contract
from os_brick_rbd_luks.tests import selection


class CloneTestCase(contract.ClonesContract, base.DriverTestCase):
    """Knows what is in volumes."""

    def data(self, gib, new=False):
        return reader.filling(gib, 0x61 if new else 0x41)

    def write(self, volume, data):
        self.disk(volume).write(data)


@ddt.ddt
class CloneTest(CloneTestCase):

    @ddt.data(*base.PROVIDERS)
    def test_h3_clone_has_its_own_key(self, provider):
        self.check_clone(provider)

    @ddt.data(*base.PROVIDERS)
    def test_s1_larger_clone(self, provider):
        self.check_larger_clone(provider)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_clone_of_a_clone(self, provider):
        first = self.filled(provider)
        second = self.clone(first)
        third = self.clone(second, size=2)
        self.check(third, reader.filling(1))
        self.check(second)
        self.check(first)
        passphrases = {self.passphrase(volume)
                       for volume in (first, second, third)}
        self.assertEqual(3, len(passphrases))

    @ddt.data("luks", "luks2")
    def test_source_is_deleted_first(self, provider):
        first = self.filled(provider)
        second = self.clone(first)
        third = self.clone(second)
        self.delete(second)
        self.delete(first)
        left = {third.name}
        if provider == "luks" or releases.installed().release >= 18:
            # Else librbd fails on clones of clones, and it is none.
            left |= {f"{first.name}.deleted", f"{second.name}.deleted"}
        self.assertEqual(left, set(self.images()))
        self.check(third)
        self.delete(third)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_chain_is_deleted_from_its_end(self, provider):
        first = self.filled(provider)
        second = self.clone(first)
        third = self.clone(second)
        self.delete(third)
        self.check(second)
        self.delete(second)
        self.check(first)
        self.assert_images(first)
        self.assert_keys(first)
        self.delete(first)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_one_of_two_clones_is_deleted(self, provider):
        source = self.filled(provider)
        first, second = self.clone(source), self.clone(source)
        self.delete(source)
        self.delete(first)
        self.assert_images(second, images={
            f"{source.name}.deleted": [f"{second.name}.clone_snap"]})
        self.check(second)
        self.delete(second)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_flattened_at_the_greatest_depth(self, provider):
        self.check_greatest_depth(provider)

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_copied_if_clones_are_off(self, provider):
        self.check_copied(provider)

    @selection.full
    def test_snapshot_of_the_source_stays_for_others(self):
        source = self.filled()
        snapshot = self.snapshot(source)
        clone = self.clone(source)
        self.delete(clone)
        self.assert_images(images={source.name: [snapshot.name]})


@ddt.ddt
class SnapshotTest(CloneTestCase):

    @ddt.data(*base.PROVIDERS)
    def test_h3_volume_of_a_snapshot_has_its_own_key(self, provider):
        self.check_from_snapshot(provider)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_d2_larger_volume_of_a_snapshot(self, provider):
        self.check_larger_from_snapshot(provider)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_flattened(self, provider):
        self.check_flat_from_snapshot(provider)

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_snapshot_is_deleted_before_its_volume(self, provider):
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        volume = self.from_snapshot(snapshot)
        if not hasattr(self.driver, "_flatten_children"):
            # Cinder 21: not before its volumes.
            self.assertRaises(cinder_exception.SnapshotIsBusy,
                              self.delete_snapshot, snapshot)
            self.check(volume)
            return
        # Upstream's driver flattens what is in the way.
        self.delete_snapshot(snapshot)
        self.check(volume)
        self.assert_images(source, volume)
        self.delete(source)
        self.check(volume)
        self.delete(volume)
        self.assert_nothing_left()
