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

"""cinder-rbd-luks header backup-all."""

from __future__ import annotations

import os

from castellan.common.objects import symmetric_key
import ddt

from os_brick_rbd_luks.headers import backup_series
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.image import record_store
from os_brick_rbd_luks.tests.unit.cinder import commanding
from os_brick_rbd_luks.tests.unit.cinder import rotating
from os_brick_rbd_luks.tests import units

DAMAGED = 4


@ddt.ddt
class BackupAllTest(commanding.CommandTestCase):

    def setUp(self):
        super().setUp()
        # The least that scrypt may cost.
        self.patch(f"{backup_series.__name__}.find_key.__defaults__", (10,))
        self.backups = os.path.join(self.temp, "backups")
        os.mkdir(self.backups)
        # The operator's: of the project of Cinder's user.
        self.key_id = self.keys.manager.store(
            rotating.service(), symmetric_key.SymmetricKey(
                "AES", 256, b"\7" * 32))

    def save(self, *arguments, code=0):
        row = self.run_program("header backup-all", "--to", self.backups,
                               "--backup-key-id", self.key_id, *arguments,
                               code=code)
        self.assert_nothing_is_open()
        return row

    @ddt.data("luks", "luks2")
    def test_saved_and_restored(self, provider):
        volume = self.filled(provider)
        found = self.save()
        self.assertEqual((1, 1, []), (found["images"], found["saved"],
                                      found["problems"]))
        self.assertEqual(1, self.save()["unchanged"])
        self.content(volume).write(0, bytes(2 * units.MIB))
        with self.pool() as pool, pool.open(volume.name) as image:
            header_backup.restore(image, backup_series.Series(
                record_store.Folder(self.backups), pool.name).find(
                    image, self.keys.passphrase(self.key_id)).data,
                force=True)
        self.assert_opened_by(volume, volume.encryption_key_id)

    def test_in_a_pool_of_the_cluster(self):
        self.filled()
        self.backups = "rados:volumes"
        self.assertEqual(1, self.save()["saved"])
        self.assertEqual(1, self.save()["unchanged"])

    def test_pool_that_is_not_there(self):
        self.backups = "rados:nowhere"
        self.save(code=DAMAGED)
        self.assertIn("nowhere", self.stderr)

    def test_key_of_somebody_else(self):
        self.key_id = self.keys.new()
        self.filled()
        self.save(code=2)
        self.assertEqual([], [*record_store.Folder(self.backups).groups()])

    def test_damage_is_told(self):
        volume = self.filled()
        self.save()
        self.content(volume).write(108, bytes(4))
        found = self.save(code=DAMAGED)
        self.assertIn("the LUKS header is damaged", found["problems"][0])

    def test_backend_that_is_away(self):
        """It is told of, and the others are saved."""
        self.filled()
        self.other_backend_is_away()
        found = self.save(code=DAMAGED)
        self.assertEqual(1, found["saved"])
        self.assertIn("backend away: ", found["problems"][0])
