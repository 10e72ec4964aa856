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

import importlib
import inspect

from cinder.backup.drivers import ceph as upstream
from cinder.backup.drivers import posix as upstream_posix
from cinder import exception as cinder_exception
from cinder import objects
import ddt
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.backup.drivers import posix
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import volume_keys

CEPH = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"
POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.posix.RBDLuksPosixBackupDriver"


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
class FailureTest(BackupTestCase):
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

    @ddt.data(("luks", "in-use", False), ("luks2", "available", False),
              ("luks2", "in-use", False), ("luks2", "available", True),
              ("luks2", "in-use", True))
    @ddt.unpack
    def test_key_manager_fails(self, provider, status, of_snapshot):
        volume, snapshot, backup = self.begin(provider, status, of_snapshot)
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


@ddt.ddt
class ChunkedDriverTest(BackupTestCase):
    """Backups in chunks: upstream's own code reads and writes them."""

    DATA = {0: b"A" * 65536, units.MIB: b"B" * 4096,
            9 * units.MIB: b"C" * 65536, 32 * units.MIB - 512: b"D" * 512}

    def setUp(self):
        super().setUp()
        self.override_config("backup_posix_path", self.temp)
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)

    def volume_with(self, data, provider):
        volume = self.create(provider)
        passphrase = self.passphrase(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            holes.keep(image)
            view = plaintext.Plaintext(image, unlocking.unlock(
                image, passphrase))
            for offset, value in data.items():
                view.write(offset, value)
        return volume

    def restored(self, driver, provider="luks2", is_new=False):
        """What a guest has before and after, and both volumes."""
        service = driver(self.context)
        volume = self.volume_with(self.DATA, provider)
        backup = self.record(volume, service=f"{driver.__module__}."
                                             f"{driver.__qualname__}")
        updates = service.backup(backup, self.handle(volume.name),
                                 backup_metadata=False)
        backup.update(updates or {})
        # The manager gives it a copy of the key that the backup has.
        key_id = self.keys.copy(backup.encryption_key_id)
        other = self.volume_with({} if is_new else {
            5 * units.MIB: b"old" * units.MIB}, provider)
        handle = self.handle(other.name)
        # In Cinder 21 nobody asks whether it is new.
        more = [is_new] if "volume_is_new" in inspect.signature(
            upstream_posix.PosixBackupDriver.restore).parameters else []
        backup.status = "restoring"
        backup.save()
        service.restore(backup, other.id, handle, *more)
        other.encryption_key_id = key_id
        other.save()
        return self.plain(volume), self.plain(other), volume, other

    def plain(self, volume):
        with self.view(volume, "volumes") as view:
            return [view.read(offset, units.MIB)
                    for offset in range(0, view.size(), units.MIB)]

    @ddt.data(False, True)
    def test_holes_are_holes_again(self, is_new):
        before, after, volume, other = self.restored(
            posix.RBDLuksPosixBackupDriver, is_new=is_new)
        self.assertEqual([], [number for number, piece in enumerate(before)
                              if piece != after[number]])
        expected, found = self.content(volume), self.content(other)
        payload = 16 // 4
        self.assertEqual(
            {number: expected.written_in(number)
             for number in expected.allocated() if number >= payload},
            {number: found.written_in(number)
             for number in found.allocated() if number >= payload})
        self.assertEqual("1", found.notes[holes.NOTE])

    def test_upstreams_are_noise(self):
        before, after, *_volumes = self.restored(
            upstream_posix.PosixBackupDriver)
        self.assertNotEqual(before, after)

    def test_luks1(self):
        _before, _after, volume, other = self.restored(
            posix.RBDLuksPosixBackupDriver, "luks")
        for offset in range(0, 36 * units.MIB, units.MIB):
            self.assertEqual(self.content(volume).read(offset, units.MIB),
                             self.content(other).read(offset, units.MIB))

    def test_restored_is_too_small(self):
        self.patch("os_brick_rbd_luks.backup.drivers.chunked.Target.write",
                   side_effect=exception.ImageTooSmall(size=1, needed=2))
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.restored,
            posix.RBDLuksPosixBackupDriver)
        self.assertIn("1", str(error))

    def test_plain_volume_is_upstreams(self):
        self.patch("os_brick_rbd_luks.backup.drivers.chunked.Target",
                   side_effect=AssertionError)
        service = posix.RBDLuksPosixBackupDriver(self.context)
        restore = self.mock_object(upstream_posix.PosixBackupDriver, "restore",
                                   return_value=7)
        volume = self.create(None)
        handle = self.handle(volume.name)
        self.assertEqual(7, service.restore(self.record(volume), volume.id,
                                            handle))
        self.assertEqual(handle, restore.call_args[0][2])

    @ddt.data("gcs", "glusterfs", "nfs", "posix", "s3", "swift")
    def test_each_knows_upstreams_backups(self, name):
        """Nobody restores ours who makes no holes."""
        from cinder.backup import manager
        try:
            module = importlib.import_module(
                f"os_brick_rbd_luks.backup.drivers.{name}")
        except ModuleNotFoundError as error:
            # Cinder requires no client of Google's.
            self.assertEqual(("gcs", "googleapiclient"), (name, error.name))
            return
        ours, = (found for found in vars(module).values()
                 if isinstance(found, type))
        ours._know_upstreams_backups()
        path = f"{ours.__module__}.{ours.__qualname__}"
        upstream = ours.__mro__[2]
        self.assertEqual(path, manager.MAPPING[
            f"{upstream.__module__}.{upstream.__qualname__}"])
        self.assertEqual(f"cinder.backup.drivers.{name}",
                         upstream.__module__)
        self.assertNotIn(path, manager.MAPPING)
