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

"""Backups: what the volume driver makes ready, and Ceph's backup driver."""

from __future__ import annotations

import inspect

from cinder.backup.drivers import ceph as upstream
from cinder import exception as cinder_exception
from cinder import objects
import ddt

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import backups
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import volume_keys

POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.posix.RBDLuksPosixBackupDriver"


@ddt.ddt
class DeviceTest(backups.BackupTestCase):
    """What the volume driver gives to the backup service."""

    release = 18

    def device(self, volume, **options):
        device, is_snapshot = self.driver.get_backup_device(
            self.context, self.record(volume, **options))
        self.assertFalse(is_snapshot)
        return device

    @ddt.data("luks", "luks2")
    def test_volume_for_ceph(self, provider):
        volume = self.filled(provider)
        self.assertEqual(volume.id, self.device(volume).id)
        self.check(volume)
        self.assert_images(volume)

    def test_own_header_for_ceph(self):
        # Only its keys can make all of it its own.
        volume = self.of_image(self.in_ceph(units.GIB), "luks2")
        self.device(volume)
        self.assertIsNone(self.content(volume).parent)
        self.check(volume, imaging.DATA)
        self.assert_keys(volume)

    def small(self, provider):
        """A volume of 32 MiB with a hole in an object, and others."""
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)
        volume = self.create(provider)
        self.write(volume, {0: b"first", 9 * units.MIB: b"amid"})
        return volume

    def written(self, name):
        """The objects of an image, and what is no hole of each."""
        with self.pool() as pool, pool.open(name, read_only=True):
            content = self.ceph.content(f"volumes/{name}")
            return {number: content.written_in(number)
                    for number in content.allocated()}

    def temporary(self, volume, service):
        """The clone that such a backup reads; its record says so."""
        backup = self.record(volume, service=service)
        device, is_snapshot = self.driver.get_backup_device(
            self.context, backup)
        self.assertFalse(is_snapshot)
        backup.refresh()
        self.assertEqual(device.id, backup.temp_volume_id)
        self.assertEqual("backing-up", device.status)
        self.assertNotEqual(volume.id, device.id)
        return device

    def test_holes_are_written_for_others(self):
        """Not into the volume, which would be full for good."""
        volume = self.small("luks2")
        before = self.written(volume.name)
        device = self.temporary(volume, POSIX)
        self.assertEqual(before, self.written(volume.name))
        payload = 16 * units.MIB
        with self.pool() as pool, pool.open(device.name) as image:
            data = image.read(payload, image.size() - payload)
        self.assertEqual([], [*zero_runs.gaps(data, 512)])
        self.assertEqual([self.passphrase(volume)],
                         self.openers(device.name))
        self.driver.delete_volume(device)
        self.assertEqual(before, self.written(volume.name))
        self.assert_opens(volume)
        self.assert_images(volume)
        self.assert_keys(volume)

    @ddt.data(("luks", POSIX), ("luks", OURS), ("luks2", OURS))
    @ddt.unpack
    def test_holes_that_stay(self, provider, service):
        """To QEMU, which reads LUKS1, they are noise before and after.

        And a driver of ours makes them again.
        """
        volume = self.small(provider)
        before = self.written(volume.name)
        device = self.device(volume, service=service)
        self.assertEqual(volume.id, device.id)
        self.assertEqual(before, self.written(volume.name))

    @ddt.data(*selection.cases(POSIX, full=[OURS]))
    def test_own_header_for_others(self, service):
        """The volume stays a clone of its image."""
        self.patch("os_brick_rbd_luks.copies.fill.fill_holes", return_value=7)
        volume = self.of_image(self.in_ceph(units.GIB), "luks2")
        device = self.temporary(volume, service)
        with self.pool() as pool:
            with pool.open(volume.name) as image:
                self.assertTrue(flattening.needs_keys(image))
            with pool.open(device.name) as image:
                self.assertFalse(flattening.needs_keys(image))
        self.assertEqual([self.passphrase(volume)],
                         self.openers(device.name))

    def test_clone_of_an_own_header_for_others(self):
        volume = self.of_image(self.in_ceph(units.GIB), "luks2")
        device = self.driver._create_temp_cloned_volume(self.context, volume)
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   return_value=(device, False))
        self.patch("os_brick_rbd_luks.copies.fill.fill_holes", return_value=7)
        self.device(volume, service=POSIX)
        with self.pool() as pool, pool.open(device.name) as image:
            self.assertFalse(flattening.needs_keys(image))
        self.assertEqual([self.passphrase(volume)],
                         self.openers(device.name))

    @ddt.data(("luks", POSIX), ("luks", OURS), ("luks2", OURS))
    @ddt.unpack
    def test_key_is_not_needed(self, provider, service):
        """A clone, as of a volume in use, that is complete as it is."""
        volume = self.small(provider)
        device = self.driver._create_temp_cloned_volume(self.context, volume)
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   return_value=(device, False))
        keystore.VAULT.is_away, keystore.VAULT.calls = True, []
        self.assertEqual(device.id, self.device(volume, service=service).id)
        self.assertEqual([], keystore.VAULT.calls)

    def test_plain(self):
        volume = self.create(None)
        self.assertEqual(volume.id, self.device(volume).id)

    def test_key_is_gone(self):
        volume = self.create("luks2")
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   return_value=(volume, False))
        self.keys.delete(volume.encryption_key_id)
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.device, volume, service=POSIX)


@ddt.ddt
class FailureTest(backups.BackupTestCase):
    """There is no device, and the backup service is not called back."""

    release = 18

    def setUp(self):
        super().setUp()
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)

    def begin(self, provider, status, of_snapshot, service=POSIX):
        """A backup, when its service asks for the device."""
        volume = self.create(provider)
        snapshot = self.snapshot(volume) if of_snapshot else None
        volume.previous_status = status
        volume.status = status if snapshot else "backing-up"
        volume.save()
        if snapshot:
            snapshot.status = "backing-up"
            snapshot.save()
        return volume, snapshot, self.record(
            volume, service=service, snapshot=snapshot)

    def assert_ended(self, volume, snapshot, backup, status):
        """As if the backup itself had failed; nothing is left."""
        for found in volume, backup:
            found.refresh()
        self.assertEqual(status, volume.status)
        if snapshot:
            snapshot.refresh()
            self.assertEqual("available", snapshot.status)
        else:
            self.assertEqual("error_backing-up", volume.previous_status)
        self.assertEqual("error", backup.status)
        self.assertIn("it is down", backup.fail_reason)
        self.assertIsNone(backup.temp_volume_id)
        self.assertEqual([volume.id], [
            found.id for found in objects.VolumeList.get_all(self.context)])
        self.assert_images(images={
            volume.name: [snapshot.name] if snapshot else []})
        self.assert_still_opens(volume)
        self.assert_keys(volume)
        self.assert_nothing_is_open()

    def fail(self, backup):
        """Ask as the backup service does: nobody waits for an answer."""
        return self.assertRaises(
            cinder_exception.VolumeBackendAPIException,
            self.backend.get_backup_device, self.context, backup,
            want_objects=True, async_call=True)

    @ddt.data(("available", False), ("in-use", False), ("available", True),
              ("in-use", True))
    @ddt.unpack
    def test_key_manager_fails(self, status, of_snapshot):
        volume, snapshot, backup = self.begin("luks2", status, of_snapshot)
        self.mock_object(volume_keys.Keys, "passphrase", side_effect=(
            exception.PassphraseUnavailable(
                source="the key manager", reason="it is down")))
        error = self.fail(backup)
        self.assertIn("it is down", str(error))
        self.assert_ended(volume, snapshot, backup, status)

    @ddt.data(*selection.cases(("available", False), full=[
        ("in-use", False), ("available", True)]))
    @ddt.unpack
    def test_calls_of_the_cluster_fail(self, status, of_snapshot):
        volume, snapshot, backup = self.begin("luks2", status, of_snapshot)

        def check(worked, name):
            if worked:
                # The backup service removes it in the end.
                backup.refresh()
                if backup.temp_volume_id:
                    self.backend.delete_volume(
                        self.context, objects.Volume.get_by_id(
                            self.context, backup.temp_volume_id))
            else:
                backup.refresh()
                self.assertEqual("error", backup.status, name)
                volume.refresh()
                self.assertEqual(status, volume.status, name)
            for found, value in ((volume, "backing-up" if not snapshot
                                  else status), (backup, "creating")):
                found.status = value
                found.save()
            if snapshot:
                snapshot.status = "backing-up"
                snapshot.save()
            volume.previous_status = status
            volume.save()
            backup.temp_volume_id = None
            backup.save()

        self.patch("cinder.backup.rpcapi.BackupAPI")
        self.each_call_fails(lambda: self.backend.get_backup_device(
            self.context, backup, want_objects=True, async_call=True), check)

    def test_temporary_volume_cannot_be_deleted(self):
        """The backup service tries again when it starts."""
        volume, _snapshot, backup = self.begin("luks2", "in-use", False)
        self.mock_object(volume_keys.Keys, "passphrase", side_effect=(
            exception.PassphraseUnavailable(
                source="the key manager", reason="it is down")))
        self.mock_object(self.driver, "delete_volume",
                         side_effect=cinder_exception.VolumeIsBusy("busy"))
        self.assertIn("it is down", str(self.fail(backup)))
        backup.refresh()
        volume.refresh()
        self.assertEqual(("error", "in-use"), (backup.status, volume.status))
        self.assertIsNotNone(backup.temp_volume_id)

    def test_volume_that_was_reset_meanwhile(self):
        volume, _snapshot, backup = self.begin("luks2", "available", False)

        def reset(*_args):
            volume.status = "error"
            volume.save()
            raise exception.PassphraseUnavailable(
                source="the key manager", reason="no " * 200)

        self.mock_object(volume_keys.Keys, "passphrase", side_effect=reset)
        self.fail(backup)
        volume.refresh()
        backup.refresh()
        self.assertEqual("error", volume.status)
        self.assertEqual(255, len(backup.fail_reason))

    def test_plain_volume(self):
        volume, _snapshot, backup = self.begin(None, "in-use", False)
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   side_effect=cinder_exception.VolumeBackendAPIException(
                       data="no"))
        self.fail(backup)
        volume.refresh()
        backup.refresh()
        self.assertEqual(("error", "in-use"), (backup.status, volume.status))


@ddt.ddt
class CephDriverTest(backups.BackupTestCase):
    """Backups of snapshots, which are full, and their restore."""

    def setUp(self):
        super().setUp()
        for option, value in {"backup_ceph_conf": "",
                              "backup_ceph_user": "cinder",
                              "backup_ceph_pool": "backups"}.items():
            self.override_config(option, value)
        self.backups = ceph.RBDLuksBackupDriver(self.context)

    def back_up(self, volume):
        """Back up a snapshot: the differential way starts programs."""
        backup = self.record(volume, snapshot=self.snapshot(volume))
        self.mock_object(upstream.CephBackupDriver, "_backup_metadata")
        self.backups.backup(backup, self.handle(volume.name))
        backup.refresh()
        return backup

    def restore(self, backup, volume):
        self.mock_object(upstream.CephBackupDriver, "_diff_restore_allowed",
                         return_value=(False, None))
        # In Cinder 21 nobody asks whether it is new.
        more = [True] if "volume_is_new" in inspect.signature(
            upstream.CephBackupDriver._restore_volume).parameters else []
        self.backups._restore_volume(
            backup, volume, self.handle(volume.name), *more)

    @ddt.data("luks", "luks2")
    def test_all_of_it(self, provider):
        volume = self.filled(provider)
        backup = self.back_up(volume)
        self.assertIn("cinder.backup.drivers.ceph", backup.service)
        name, = self.ceph.pools["backups"].contents
        self.assertEqual(self.content(volume).size,
                         self.ceph.content(f"backups/{name}").size)
        # The manager gives it a copy of the key that the backup has.
        other = self.create(provider, key_id=self.keys.copy(
            backup.encryption_key_id))
        self.restore(backup, other)
        self.check(other)
        self.check(volume)
        self.assert_keys(volume, other)
