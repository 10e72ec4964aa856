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

"""What the volume driver gives to a backup service to read."""

from __future__ import annotations

from cinder import objects
import ddt

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

POSIX = "cinder.backup.drivers.posix.PosixBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.posix.RBDLuksPosixBackupDriver"


@ddt.ddt
class DeviceTest(base.DriverTestCase):

    def device(self, volume, service):
        backup = objects.Backup(
            context=self.context, volume_id=volume.id, status="creating",
            user_id=volume.user_id, project_id=volume.project_id,
            size=volume.size, host="here", service=service,
            encryption_key_id=volume.encryption_key_id)
        backup.create()
        device, is_snapshot = self.driver.get_backup_device(
            self.context, backup)
        self.assertFalse(is_snapshot)
        return device

    def extents(self, volume):
        with self.pool() as pool, pool.open(volume.name) as image:
            return [*image.extents()]

    def test_holes_are_written_into_a_clone(self):
        volume = self.filled("luks2")
        before = self.extents(volume)
        device = self.device(volume, POSIX)
        self.assertNotEqual(volume.id, device.id)
        self.assertEqual(before, self.extents(volume))
        with self.pool() as pool, pool.open(device.name) as image:
            begin = header_io.read_header(image).data_offset
            step = 4 * units.MIB
            self.assertEqual([], [
                at for at in range(begin, image.size(), step)
                if [*zero_runs.gaps(image.read(at, step), 512)]])
        disk = self.disk(volume)
        copy = reader.Disk(self.conf, "volumes", device.name, "luks2",
                           [self.passphrase(volume)], self.temp)
        extents = [*reader.filling(1), reader.Extent(
            64 * units.MIB, 0, 64 * units.MIB)]
        for found in (disk, copy):
            found.check(units.GIB, extents)
        self.driver.delete_volume(device)
        self.check(volume, extents)
        self.assertEqual(before, self.extents(volume))
        self.assert_images(volume)
        self.assert_keys(volume)

    @ddt.data(*selection.cases(("luks2", OURS), full=[("luks", POSIX)]))
    @ddt.unpack
    def test_holes_that_stay(self, provider, service):
        volume = self.filled(provider)
        before = self.extents(volume)
        self.assertEqual(volume.id, self.device(volume, service).id)
        self.assertEqual(before, self.extents(volume))
