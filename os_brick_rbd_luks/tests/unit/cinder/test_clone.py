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

from os_brick_rbd_luks.tests.contracts import cinder_clone as contract
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import pending_keys


class CloneTestCase(contract.ClonesContract, base.DriverTestCase):
    """Knows what is in volumes, and noted on them."""

    def data(self, gib, new=False):
        return base.data(gib, b"B" if new else b"A")

    def check_own(self, source, *clones, **options):
        super().check_own(source, *clones, **options)
        for clone in clones:
            with self.pool() as pool, pool.open(clone.name) as image:
                self.assertEqual([], pending_keys.read(image))
        self.assert_nothing_is_open()

    def new_clone(self, source, **values):
        """A clone that is to be made, with its copy of the source's key."""
        return self.volume(
            type_id=source.volume_type_id, source_volid=source.id,
            key_id=self.keys.copy(source.encryption_key_id), **values)


@ddt.ddt
class CloneTest(CloneTestCase):

    @ddt.data(*base.PROVIDERS)
    def test_own_key(self, provider):
        self.check_clone(provider)

    @ddt.data("luks", "luks2")
    def test_cost(self, provider):
        """The old passphrase opens it, and then the new one has to.

        Two keyslots' digests are compared when they open, and once more that
        of the key that is put into the new one. Each step reads the header of
        the image that it opens; a step is what may be interrupted.
        """
        source = self.filled(provider)
        clone = self.new_clone(source)
        with costs.Costs() as found:
            self.driver.create_cloned_volume(clone, source)
        self.assertEqual({"open": 2, "seal": 1, "verify": 3},
                         {name: count for name, count in found.counts.items()
                          if name != "read_start"})
        self.assertLessEqual(found.counts["read_start"], 6)

    def test_plain(self):
        source = self.create(None)
        clone = self.build(self.volume(
            type_id=source.volume_type_id, source_volid=source.id),
            source_volid=source.id)
        self.assertEqual(units.GIB, self.content(clone).size)
        larger = self.build(self.volume(
            size=2, type_id=source.volume_type_id, source_volid=source.id),
            source_volid=source.id)
        self.assertEqual(2 * units.GIB, self.content(larger).size)
        self.assert_keys()

    @ddt.data("luks", "luks2")
    def test_same_key(self, provider):
        # cinderlib's: nobody has made a copy of the key.
        source = self.filled(provider)
        clone = self.volume(
            type_id=source.volume_type_id, source_volid=source.id,
            key_id=source.encryption_key_id, size=2)
        self.driver.create_cloned_volume(clone, source)
        self.check(clone, base.data(1))
        self.assertEqual(source.encryption_key_id, clone.encryption_key_id)
        self.assert_keys(source)

    @ddt.data("luks", "luks2")
    def test_larger(self, provider):
        self.check_larger_clone(provider)

    @ddt.data("luks", "luks2")
    def test_clone_of_a_clone(self, provider):
        first = self.filled(provider)
        second = self.clone(first)
        third = self.clone(second, size=2)
        self.check(third, base.data(1))
        self.check(second)
        self.check(first)
        self.assert_no_key_leaked(first, second, third)
        self.delete(second)
        self.delete(first)
        self.check(third, base.data(1))
        self.delete(third)
        self.assert_nothing_left()

    @ddt.data("luks", "luks2")
    def test_flattened_at_the_greatest_depth(self, provider):
        self.check_greatest_depth(provider)

    @ddt.data("luks", "luks2")
    def test_copied_if_clones_are_off(self, provider):
        self.check_copied(provider)


class CloneOnCeph18Test(CloneTest):
    release = 18


@ddt.ddt
class SnapshotTest(CloneTestCase):

    @ddt.data("luks", "luks2")
    def test_own_key(self, provider):
        self.check_from_snapshot(provider)

    @ddt.data("luks", "luks2")
    def test_larger(self, provider):
        self.check_larger_from_snapshot(provider)

    @ddt.data("luks", "luks2")
    def test_flattened(self, provider):
        self.check_flat_from_snapshot(provider)

    @ddt.data("luks", "luks2")
    def test_snapshot_is_deleted_before_its_volume(self, provider):
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        volume = self.from_snapshot(snapshot)
        if not self.flattens():
            # Not before its volumes.
            self.assertRaises(cinder_exception.SnapshotIsBusy,
                              self.delete_snapshot, snapshot)
            self.check(volume)
            return
        # Upstream flattens what is in the way, and wants to be asked again.
        self.assertRaises(cinder_exception.SnapshotIsBusy,
                          self.delete_snapshot, snapshot)
        self.delete_snapshot(snapshot)
        self.check(volume)
        self.assert_images(source, volume)
        self.delete(source)
        self.check(volume)

    def test_snapshot_of_a_plain_volume(self):
        source = self.create(None)
        snapshot = self.snapshot(source)
        volume = self.build(self.volume(
            size=2, type_id=source.volume_type_id, snapshot_id=snapshot.id),
            snapshot_id=snapshot.id)
        self.assertEqual(2 * units.GIB, self.content(volume).size)
        self.delete(volume)
        self.delete_snapshot(snapshot)
        self.delete(source)
        self.assert_nothing_left()


class SnapshotOnCeph18Test(SnapshotTest):
    release = 18


@ddt.ddt
class FaultTest(CloneTestCase):
    """Clones that are not made: nothing is left of them."""

    release = 18

    def setUp(self):
        super().setUp()
        self.source = self.filled("luks2")

    def walk(self, source, others, each):
        """Let each call fail while a volume is cloned.

        :param each: :meth:`each_call_fails` or :meth:`each_key_call_fails`
        :param others: whose keys there are besides
        """
        volumes = [self.new_clone(source)]
        copies = [volumes[0].encryption_key_id]

        def operation():
            self.driver.create_cloned_volume(volumes[-1], source)

        def check(worked, name):
            volume = volumes[-1]
            volume.refresh()
            if volume.name in self.images():
                self.assert_still_opens(volume)
            else:
                self.assertFalse(worked, name)
            if worked:
                # Only what tidies up has failed.
                self.assert_opens(volume)
            if not worked and volume.encryption_key_id != copies[-1]:
                # The last step failed, with the new key stored: the image
                # is removed, and the key that it had noted stays.
                base.keystore.VAULT.secrets.pop(copies[-1], None)
            self.assert_no_key_leaked(source, volume, *others)
            self.driver.delete_volume(volume)
            self.keys.delete(volume.encryption_key_id)
            self.assertNotIn(volume.name, self.images())
            self.assert_keys(source, *others)
            self.assert_nothing_is_open()
            self.assert_opens(source)
            volumes.append(self.new_clone(source))
            copies.append(volumes[-1].encryption_key_id)

        return each(operation, check)

    def test_each_call_fails(self):
        self.walk(self.source, [], self.each_call_fails)

    def test_each_call_of_the_key_manager_fails(self):
        second = self.clone(self.source)
        self.check(second)
        failed = self.walk(second, [self.source], self.each_key_call_fails)
        # The old key, and a new one, whose value nobody has to ask for.
        self.assertEqual({"get", "store", "delete"}, {*failed})
        self.check(second)

    def test_old_key_cannot_be_deleted(self):
        source = self.filled("luks")
        volume = self.new_clone(source)
        old = volume.encryption_key_id
        base.keystore.VAULT.refuses = ["delete"]
        self.build(volume, source_volid=source.id)
        base.keystore.VAULT.refuses = []
        self.check(volume)
        # It is noted, and goes with the volume.
        self.assert_keys(self.source, source, volume, old)
        self.delete(volume)
        self.assert_keys(self.source, source)

    def test_key_of_the_source_is_gone(self):
        volume = self.new_clone(self.source)
        own = volume.encryption_key_id
        self.keys.delete(own)
        error = self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.create_cloned_volume, volume, self.source)
        self.assertIn(own, str(error))
        self.check(self.source)
        self.assert_images(self.source)
        self.assert_keys(self.source)
