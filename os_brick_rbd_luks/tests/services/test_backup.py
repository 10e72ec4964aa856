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

"""Backup and restore, with Ceph's driver and with a chunked one."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests import units


class BackupTestCase(base.IntegrationTestCase):
    """Has the backup service with one driver, for as long as a test is."""

    driver = ""

    def setUp(self):
        super().setUp()
        if self.lab.about["backup"]["driver"] != self.driver:
            self.lab.tool("backup", self.driver)

    def back_up(self, volume, **options):
        """A backup; it is deleted with the test."""
        backup = self.user.block_storage.create_backup(
            volume_id=volume.id, name="one", **options)
        self.addCleanup(self.delete, backup)
        return self.ready(backup)

    def restore(self, backup, volume):
        """Restore to a volume.

        Without one, Cinder makes one of the default type, and refuses that
        if the backup is of an encrypted volume.
        """
        self.user.block_storage.restore_backup(
            backup, volume_id=volume.id, name="restored")
        self.ready(backup)
        self.ready(volume)

    def check_restores(self, volume_type):
        """Full and incremental; to the same, a new and a larger volume."""
        volume = self.filled(volume_type)
        first = self.back_up(volume)
        self.disk(volume).write(base.reader.filling(units.GIB, 0x31))
        second = self.back_up(volume, is_incremental=True)
        self.assertTrue(second.is_incremental)

        larger = self.create(volume_type, 2)
        own = self.key_id(larger)
        self.restore(first, larger)
        self.check(larger, size=2)
        self.assertNotEqual(self.key_id(volume), self.key_id(larger))
        self.delete(larger)
        self.assertNotIn(own, self.keys())

        self.disk(volume).write(base.reader.filling(units.GIB, 0x71))
        self.restore(second, volume)
        self.check(volume, base.reader.filling(units.GIB, 0x31))
        self.restore(first, volume)
        self.check(volume)

        new = self.create(volume_type)
        self.restore(second, new)
        self.check(new, base.reader.filling(units.GIB, 0x31))
        self.assertNotEqual(self.key_id(volume), self.key_id(new))


@ddt.ddt
class CephTest(BackupTestCase):
    """Upstream's restores lose the end, or shift all (faults D3, D4)."""

    driver = "ours"

    @ddt.data(*selection.cases("luks", full=("luks2",)))
    def test_restores(self, provider):
        self.check_restores(f"ours-{provider}")


@selection.full
class PosixTest(BackupTestCase):
    """The chunked drivers read to the end of the image, and know no holes."""

    driver = "posix"

    def test_restores(self):
        self.check_restores("ours-luks2")
