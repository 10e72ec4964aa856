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

"""Backups of volumes: their records, os-brick's handles, and chunks."""

from __future__ import annotations

import inspect

from cinder.backup.drivers import posix as upstream_posix
from cinder import objects
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units

CEPH = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"


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


class ChunkedTestCase(BackupTestCase):
    """Backs up in chunks: upstream's own code reads and writes them."""

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

    def plain(self, volume):
        with self.view(volume, "volumes") as view:
            return [view.read(offset, units.MIB)
                    for offset in range(0, view.size(), units.MIB)]

    def back_up(self, driver, volume, parent=None, **options):
        """A backup of a volume, by its service; what the manager has then.

        :param parent: the backup that it is an increment of
        """
        backup = self.record(volume, service=f"{driver.__module__}."
                                             f"{driver.__qualname__}")
        if parent:
            backup.parent_id = parent.id
            backup.save()
        backup.update(driver(self.context).backup(
            backup, self.handle(volume.name), **options) or {})
        # Its metadata are read again, to be restored.
        backup.save()
        return backup

    def restore(self, driver, backup, volume, is_new=False):
        """Restore as the manager does, which connects first."""
        backup.status, backup.restore_volume_id = "restoring", volume.id
        backup.save()
        volume.status = "restoring-backup"
        volume.save()
        self.driver.initialize_connection(volume, {"host": "here"})
        # In Cinder 21 nobody asks whether it is new.
        more = [is_new] if "volume_is_new" in inspect.signature(
            upstream_posix.PosixBackupDriver.restore).parameters else []
        driver(self.context).restore(
            backup, volume.id, self.handle(volume.name), *more)
