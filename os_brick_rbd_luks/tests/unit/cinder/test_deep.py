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
"""A volume gets another volume key, and what a run leaves that is killed."""

from __future__ import annotations

import itertools

from cinder.db import api as db
import ddt
import fixtures

from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import moving
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import session

#: Of the calls of a rotation, every so many ends it.
STRIDE = 29 if selection.QUICK else 13


@ddt.ddt
class DeepTest(rotating.RotationTestCase):

    def setUp(self):
        super().setUp()
        self.rotation = rotation.Rotation(rotating.service, anew=True)

    def assert_complete(self, volume):
        """It is there, free, and exactly the database's key opens it."""
        self.check(volume)
        self.assert_settled(volume)
        self.assertEqual("available", volume.status)
        self.assertIsNone(volume.previous_status)

    @ddt.data("luks", "luks2")
    def test_available(self, provider):
        volume = self.filled(provider)
        before, key = self.names(), self.volume_key(volume)
        old, new = self.rotated(volume)
        self.assertNotEqual(old, new)
        self.assertNotEqual(key, self.volume_key(volume))
        self.assert_complete(volume)
        self.assert_keys(volume)
        self.assertEqual(before, self.names())
        self.assertEqual("", self.warnings.output)

    def test_clone(self):
        """It has no parent any more, which can be deleted."""
        source = self.filled("luks2")
        clone = self.clone(source)
        self.rotated(clone)
        self.assert_complete(clone)
        self.delete(source)
        self.check(clone)
        self.assertEqual({clone.name}, self.names())

    def test_what_is_noted_of_the_volume(self):
        """Its former owner knows the passphrase of the new image, too."""
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")
            image.set_note(moving.NOTE, "another image")
        self.rotated(volume)
        notes = self.content(volume).notes
        self.assertEqual("1", notes.get(ownership.NOTE))
        self.assertNotIn(moving.NOTE, notes)

    def test_an_operator_s_passphrase_is_lost(self):
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name) as image:
            passphrases.add(image, self.passphrase(volume), b"operator's")
        self.rotated(volume)
        self.assert_complete(volume)
        self.assertIn("1 passphrases that Cinder does not know",
                      self.warnings.output)

    def multiattach(self):
        """A volume whose image may be written to by several clients."""
        volume = self.filled()
        db.volume_type_extra_specs_update_or_create(
            self.context, volume.volume_type_id, {"multiattach": "<is> True"})
        volume.refresh()
        return volume

    def test_of_several_servers(self):
        """Its new image is as upstream sets one up, killed or not."""
        set_up = self.patch(
            "cinder.volume.drivers.rbd.RBDDriver._enable_multiattach",
            return_value={})
        volume = self.multiattach()
        self.rotated(volume)
        self.assertEqual(1, set_up.call_count)
        set_up.side_effect = rotating.Death
        self.assertRaises(rotating.Death, self.rotation.begin, self.driver,
                          volume.id)
        self.ceph.locks.clear()
        set_up.side_effect = None
        set_up.reset_mock()
        self.rotation = rotation.Rotation(rotating.service)
        self.rotated_again(volume)
        self.assertEqual([volume.id], [
            call.args[0].id for call in set_up.call_args_list])
        self.assert_complete(volume)

    def test_attached(self):
        volume = self.attached(self.filled())
        key = self.volume_key(volume)
        for step in (self.rotation.begin, self.rotation.look):
            error = self.assertRaises(exception.NotRotated, step,
                                      self.driver, volume.id)
            self.assertIn("attached", str(error))
        self.assertEqual(key, self.volume_key(volume))
        self.check(volume)

    def test_attached_whatever_its_status(self):
        """An administrator has set it."""
        volume = self.attached(self.filled())
        volume.status = "available"
        volume.save()
        self.assertRaises(exception.NotRotated, self.rotation.begin,
                          self.driver, volume.id)

    def test_snapshots(self):
        volume = self.filled()
        ids = {self.snapshot(volume).id for _number in range(7)}
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        named = {found for found in ids if found in str(error)}
        self.assertEqual(5, len(named))
        self.assertIn("2 more", str(error))
        self.assertNotIn("--with-snapshots", str(error))
        self.check(volume)

    def test_snapshots_that_cinder_does_not_know(self):
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name) as image:
            image.create_snapshot("an operator's")
        error = self.assertRaises(
            exception.SnapshotsKeepVolumeKey, self.rotation.begin,
            self.driver, volume.id)
        self.assertIn("an operator's", str(error))
        self.assert_complete(volume)

    def test_somebody_begins_meanwhile(self):
        volume = self.filled()
        key = self.volume_key(volume)

        def meanwhile(_name):
            db.volume_update(self.context, volume.id, {"status": "reserved"})

        self.server.on_call = meanwhile
        error = self.assertRaises(exception.NotRotated, self.rotation.begin,
                                  self.driver, volume.id)
        self.assertIn("began to work", str(error))
        self.server.on_call = None
        self.assertEqual(key, self.volume_key(volume))
        self.check(volume)
        self.assertEqual("reserved", volume.status)

    def test_nobody_can_begin_while_it_is_copied(self):
        volume = self.filled()
        seen = []
        count = self.ceph.count

        def counted(rados, name):
            if name == "rename":
                volume.refresh()
                seen.append(volume.status)
            count(rados, name)

        self.ceph.count = counted
        self.rotated(volume)
        self.assertIn("maintenance", seen)

    @ddt.data(2, 3)
    def test_cluster_goes_away_and_stays_away(self, rename):
        """Nobody attaches a volume whose image may have no name."""
        volume = self.filled()
        count, renames = self.ceph.count, []

        def counted(rados, name):
            if rados.is_ours:
                renames.extend([name] if name == "rename" else [])
                if len(renames) >= rename:
                    self.ceph.fail_at = len(self.ceph.calls)
            count(rados, name)

        with self.ceph.fail(None), fixtures.MockPatchObject(
                self.ceph, "count", counted):
            self.assertRaises(exception.ImageError, self.rotation.begin,
                              self.driver, volume.id)
        self.assertTrue(self.is_interrupted(volume))
        self.rotated_again(volume)
        self.assert_complete(volume)

    def killed(self, number):
        """A volume, and whether a rotation of it was killed at that call."""
        volume = self.filled("luks2")
        with self.killed_at(number) as seen:
            self.rotation.begin(self.driver, volume.id)
        return volume, len(seen) > number

    def each_kill(self):
        for number in itertools.count(0, STRIDE):
            volume, was_killed = self.killed(number)
            if not was_killed:
                return
            yield number, volume

    def test_killed_and_done_again(self):
        for _number, volume in self.each_kill():
            self.rotated_again(volume)
            self.assert_complete(volume)
            self.delete(volume)
            self.assert_nothing_left()

    def rotated_again(self, volume):
        self.rotation.begin(self.driver, volume.id)
        self.rotation.settle(self.driver, volume.id)
        volume.refresh()
        self.forget_unknown_keys(volume)

    def forget_unknown_keys(self, *volumes):
        """One that was made in the moment of death is in no note."""
        for key_id in self.keys.left() - self.keys_of_images() - {
                volume.encryption_key_id for volume in volumes}:
            self.keys.delete(key_id)

    @selection.full
    def test_killed_and_settled_by_the_service(self):
        """Its image is found again, by whoever looks for what is left."""
        for number, volume in self.each_kill():
            looking = leftovers.Leftovers()
            for _look in range(2):
                with session.Session(self.driver) as here:
                    looking.remove(here)
            self.assertIn(volume.name, self.names(), number)
            self.assertEqual([], [
                name for name in self.names()
                if replacing.volume_name(name) != name], number)
            volume.refresh()
            self.assertIn(volume.status, ("available", "maintenance"))
            self.assertIs(volume.status == "maintenance",
                          deep.is_interrupted(volume))
            self.rotated_again(volume)
            self.assert_complete(volume)
            self.delete(volume)

    @selection.full
    def test_killed_and_deleted(self):
        """After an administrator has reset its status."""
        for _number, volume in self.each_kill():
            volume.refresh()
            volume.status = "available"
            volume.save()
            self.delete(volume)
            self.forget_unknown_keys()
            self.assert_nothing_left()

    def test_a_shallow_one_puts_it_right_as_well(self):
        _number, volume = next(
            (number, volume) for number, volume in self.each_kill()
            if self.is_interrupted(volume))
        self.rotation = rotation.Rotation(rotating.service)
        self.rotated_again(volume)
        self.assert_complete(volume)

    def is_interrupted(self, volume):
        volume.refresh()
        return deep.is_interrupted(volume)
