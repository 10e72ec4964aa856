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
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units

CEPH = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"
POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"


class BackupTestCase(imaging.ImageTestCase):
    """Has records of backups."""

    def setUp(self):
        super().setUp()
        from cinder.backup import manager
        self.mock_object(manager, "MAPPING", dict(manager.MAPPING))

    def record(self, volume, service=CEPH, snapshot=None):
        """A backup that Cinder's API has made a record of."""
        backup = objects.Backup(
            context=self.context, volume_id=volume.id, status="creating",
            user_id=volume.user_id, project_id=volume.project_id,
            size=volume.size, host="here", service=service,
            snapshot_id=snapshot and snapshot.id,
            encryption_key_id=volume.encryption_key_id)
        backup.create()
        return backup

    def handle(self, name):
        """A handle of os-brick's of an image."""
        client = linuxrbd.RBDClient("cinder", "volumes", conffile="",
                                    rbd_cluster_name="ceph")
        handle = linuxrbd.RBDVolumeIOWrapper(linuxrbd.RBDImageMetadata(
            linuxrbd.RBDVolume(client, name), "volumes", "cinder", ""))
        self.addCleanup(handle.close)
        return handle


@ddt.ddt
class DeviceTest(BackupTestCase):
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

    @ddt.data(("luks", 0), ("luks2", 8))
    @ddt.unpack
    def test_holes_are_written_for_others(self, provider, written):
        # To QEMU, which reads LUKS1, they are noise before and after.
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)
        volume = self.create(provider)
        content = self.content(volume)
        before = content.allocated()
        device = self.device(volume, service=POSIX)
        self.assertEqual(volume.id, device.id)
        self.assertEqual(written, len(set(content.allocated())
                                      - set(before)))
        self.assert_opens(volume)
        self.assert_keys(volume)

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

    def test_plain(self):
        volume = self.create(None)
        self.assertEqual(volume.id, self.device(volume).id)

    def test_key_is_gone(self):
        volume = self.create()
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   return_value=(volume, False))
        self.keys.delete(volume.encryption_key_id)
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.device, volume, service=POSIX)


@ddt.ddt
class CephDriverTest(BackupTestCase):
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
