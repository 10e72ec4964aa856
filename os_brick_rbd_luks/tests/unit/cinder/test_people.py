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

"""Keys that belong to somebody else, and a key manager that is away."""

from __future__ import annotations

import contextlib
import os
from unittest import mock

from cinder import exception as cinder_exception
from cinder.keymgr import conf_key_mgr
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests.unit.cinder import moving
from os_brick_rbd_luks.tests.unit.cinder import people
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import journal
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import rotations

FIXED_KEY = "5a" * 32


class FixedKeys(base.Keys):
    """The one key of a configuration."""

    def new(self):
        return self.manager.key_id

    def passphrase(self, _key_id):
        return FIXED_KEY.encode()

    def known(self):
        return {self.manager.key_id}

    left = known


@ddt.ddt
class FixedKeyTest(base.DriverTestCase):
    """All volumes have one key: there is no other to give."""

    # Loaded before castellan registers that option otherwise.
    key_manager = (f"{conf_key_mgr.__name__}."
                   f"{conf_key_mgr.ConfKeyManager.__name__}")

    #: Cinder's own base: locks are those of the coordination.
    MOCK_TOOZ = False

    def make_keys(self):
        made = FixedKeys(self.context)  # which knows the option
        self.override_config("fixed_key", FIXED_KEY, "key_manager")
        return made

    def test_nothing_is_added_or_noted(self):
        volume = self.filled("luks2")
        key_id = volume.encryption_key_id
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")
        before = self.content(volume).read(0, units.MIB)
        self.mock_object(pending_keys, "write", side_effect=AssertionError)
        volume.status = "reserved"
        volume.save()
        self.driver.initialize_connection(volume, {"host": "here"})
        self.assertEqual(before, self.content(volume).read(0, units.MIB))
        # Not once more at the next time.
        self.assertNotIn(ownership.NOTE, self.content(volume).notes)
        self.assertEqual(key_id, volume.encryption_key_id)
        self.check(volume)

    def test_rotation(self):
        """A volume key of its own is all that a volume can get."""
        volume = self.filled("luks2")
        before = self.header(volume).uuid
        self.assertRaises(
            exception.NotRotated, rotation.Rotation(self.in_project).begin,
            self.driver, volume.id)
        self.assertEqual(before, self.header(volume).uuid)
        how = rotation.Rotation(self.in_project, anew=True)
        begun = how.begin(self.driver, volume.id)
        how.settle(self.driver, volume.id, begun.old_key)
        self.assertNotEqual(before, self.header(volume).uuid)
        self.check(volume)

    def test_rotation_is_looked_at(self):
        """As it would be done."""
        volume = self.create("luks2")
        self.assertRaises(
            exception.NotRotated, rotation.Rotation(self.in_project).look,
            self.driver, volume.id)
        rotation.Rotation(self.in_project, anew=True).look(
            self.driver, volume.id)

    @ddt.data(False, True)
    def test_rotation_by_age(self, anew):
        """That key has none."""
        volume = self.create("luks2")
        how = rotation.Rotation(self.in_project, anew=anew,
                                older_than=lambda _made: True)
        for step in (how.look, how.begin):
            self.assertRaises(exception.NotRotated, step, self.driver,
                              volume.id)

    def test_deep_rotation_is_done_once(self):
        """The key tells of no step, for it is the same before and after."""
        volume = self.create("luks2")
        path = os.path.join(self.temp, "journal")
        how = rotation.Rotation(self.in_project, anew=True)

        def run(kept, sleep):
            return [*rotations.Rotations(
                how, dict.fromkeys(
                    rotations.left([volume.id], kept), self.driver),
                rotations.Pace(1, 60), kept, sleep=sleep).run()]

        with journal.create(path, {}) as kept, contextlib.suppress(
                rotating.Death):
            run(kept, mock.Mock(side_effect=rotating.Death))
        done = self.header(volume).uuid
        with journal.resume(path) as kept:
            run(kept, lambda seconds: None)
            self.assertEqual([], rotations.left([volume.id], kept))
        self.assertEqual(done, self.header(volume).uuid)

    def in_project(self, _project_id):
        return self.context

    def header(self, volume):
        with self.pool() as pool, pool.open(
                volume.name, read_only=True) as image:
            return header_io.read_header(image)


@ddt.ddt
class AwayTest(people.PeopleTestCase):
    """The key manager goes away, at any call, and stays away."""

    release = 18

    def new(self, source, **values):
        """A volume that is to be made, with its copy of the source's key."""
        return self.volume(
            type_id=source.volume_type_id,
            key_id=self.keys.copy(source.encryption_key_id), **values)

    def check_new(self, source):
        """What is left after a volume was to be made of *source*."""
        def check(volume, worked):
            copy = self.copies[-1]
            volume.refresh()
            if worked:
                self.check(volume)
            else:
                # As before, for the user to delete it.
                self.assertEqual(copy, volume.encryption_key_id)
                self.assertNotIn(volume.name, self.images())
            self.check(source)

        return check

    def walk_new(self, source, operation, **values):
        def make():
            volume = self.new(source, **values)
            self.copies.append(volume.encryption_key_id)
            return volume

        self.copies = []
        return self.walk(make, operation, self.check_new(source))

    @ddt.data("luks", "luks2")
    def test_create(self, provider):
        def check(volume, worked):
            self.assertEqual(worked, volume.name in self.images())
            if worked:
                self.check(volume, {})

        self.assertEqual(1, self.walk(
            lambda: self.volume(provider), self.build, check))

    @ddt.data("luks", "luks2")
    def test_clone(self, provider):
        source = self.filled(provider)
        # The old key and a new one: not the deletion of the old one.
        self.assertEqual(2, self.walk_new(
            source, lambda volume: self.driver.create_cloned_volume(
                volume, source), source_volid=source.id))

    @ddt.data("luks", "luks2")
    def test_from_snapshot(self, provider):
        source = self.filled(provider)
        snapshot = self.snapshot(source)
        self.assertEqual(2, self.walk_new(
            source, lambda volume: self.driver.create_volume_from_snapshot(
                volume, snapshot), snapshot_id=snapshot.id))

    def test_no_other_backend_is_asked(self):
        """It would ask the same key manager, for the same volume."""
        source = self.filled()
        volume = self.new(source)
        with self.away(1):
            self.assertRaises(
                cinder_exception.MetadataCopyFailure,
                self.driver.create_cloned_volume, volume, source)

    def test_delete(self):
        """Cinder's API has deleted the key that it knows."""
        def make():
            volume = self.filled()
            with self.pool() as pool, pool.open(volume.name) as image:
                pending_keys.write(image, [self.keys.new(), self.keys.new()])
            self.keys.delete(volume.encryption_key_id)
            return volume

        def check(volume, worked):
            self.assertTrue(worked)
            self.assertRaises(cinder_exception.VolumeNotFound, volume.refresh)
            self.assert_images()

        self.walk(make, lambda volume: self.backend.delete_volume(
            self.context, volume), check)

    def test_delete_one_of_a_retype(self):
        """Of a temporary volume, nobody else deletes the key."""
        def check(volume, worked):
            self.assertTrue(worked)
            self.assert_images()

        self.walk(lambda: self.filled(use_quota=False),
                  lambda volume: self.backend.delete_volume(
                      self.context, volume), check)

    def test_one_key_that_cannot_be_deleted_stops_no_other(self):
        volume = self.filled()
        orphans = [self.keys.new(), self.keys.new(), self.keys.new()]
        with self.pool() as pool, pool.open(volume.name) as image:
            pending_keys.write(image, orphans)
        self.keys.delete(volume.encryption_key_id)
        self.server.secrets[orphans[0]].project_id = "another"
        self.backend.delete_volume(self.context, volume)
        self.assert_keys(orphans[0])
        self.assertIn(orphans[0], self.warnings.output)
        self.assertIn("openstack secret delete", self.warnings.output)
        self.assertIn("project-tenant", self.warnings.output)

    def transferred(self):
        """A volume that somebody else has owned, to be attached."""
        volume = self.filled("luks2")
        with self.pool() as pool, pool.open(volume.name) as image:
            image.set_note(ownership.NOTE, "1")
        volume.status = "reserved"
        volume.save()
        self.old = volume.encryption_key_id
        return volume

    def test_attach_after_a_transfer(self):
        def connect(volume):
            self.driver.initialize_connection(volume, {"host": "here"})

        def check(volume, worked):
            """It is attached, with its old key or with a new one."""
            self.assertTrue(worked)
            volume.refresh()
            self.check(volume)
            self.assertIn(volume.encryption_key_id, self.keys.left())

        self.walk(self.transferred, connect, check)

    # What it says of a volume that is in use

    def busy(self):
        """A volume to be deleted, that somebody has open."""
        self.option(rbd_luks_erase_on_delete=True)
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        volume = self.filled()
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        return volume

    def refused(self, volume):
        return str(self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.driver.delete_volume, volume))

    def test_its_key_is_gone(self):
        volume = self.busy()
        self.keys.delete(volume.encryption_key_id)
        self.assertIn("its key is deleted already", self.refused(volume))

    def test_nobody_knows_of_its_key(self):
        volume = self.busy()
        with self.away():
            text = self.refused(volume)
        self.assertNotIn("deleted already", text)
        self.assertIn("not known", text)
        self.check(volume)

    def test_its_key_is_the_tenants(self):
        """An administrator deletes it: it is there, and stays usable."""
        volume = self.busy()
        self.assertRaises(
            cinder_exception.VolumeIsBusy, self.driver.delete_volume,
            self.as_admin(volume))
        self.check(volume)

    def test_its_key_is_there(self):
        volume = self.busy()
        self.assertRaises(cinder_exception.VolumeIsBusy,
                          self.driver.delete_volume, volume)
        self.check(volume)


class RetypeTest(people.PeopleTestCase, moving.MovingTestCase):

    @selection.full
    def test_retype(self):
        new_type = self.volume_type("luks2")

        def make():
            volume = self.filled("luks")
            self.before = volume.encryption_key_id
            return volume

        def check(volume, worked):
            volume.refresh()
            self.check(volume)
            self.assertEqual(worked, volume.volume_type_id == new_type)
            if not worked:
                self.assertEqual(self.before, volume.encryption_key_id)
                self.assertEqual("luks1", self.header(volume))

        self.assertGreater(self.walk(make, lambda volume: self.retype(
            volume, new_type), check), 2)

    def header(self, volume):
        return "luks2" if self.is_luks2(volume) else "luks1"
