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

"""Connecting to write a backup: not where that takes a key from snapshots."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder import objects
import ddt

from os_brick_rbd_luks.tests.unit.cinder import base


@ddt.ddt
class RestoringTest(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        self.target = self.filled()
        self.snapshot(self.target)

    def backup(self, key_id, **values):
        """A backup that is being restored to the target, by Cinder's API."""
        backup = objects.Backup(self.context, **{
            "user_id": self.context.user_id, "volume_id": self.target.id,
            "project_id": self.context.project_id, "status": "restoring",
            "encryption_key_id": key_id,
            "restore_volume_id": self.target.id, **values})
        backup.create()
        self.target.status = "restoring-backup"
        self.target.save()

    def connect(self):
        return self.driver.initialize_connection(
            self.target, {"host": "here"})

    def test_refused(self):
        self.backup(self.keys.new())
        error = self.assertRaises(cinder_exception.InvalidVolume,
                                  self.connect)
        self.assertIn(self.target.id, str(error))
        self.assertIn("has snapshots", str(error))
        self.check(self.target)

    @ddt.data("same key", "no key", "other volume", "other time")
    def test_not_refused(self, case):
        key_id, values = self.keys.new(), {}
        if case == "same key":
            key_id = self.target.encryption_key_id
        elif case == "no key":
            key_id = None
        elif case == "other volume":
            values["restore_volume_id"] = self.create().id
        else:
            values["status"] = "available"
        self.backup(key_id, **values)
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    def test_no_snapshots(self):
        snapshot, = objects.SnapshotList.get_all_for_volume(
            self.context, self.target.id)
        self.delete_snapshot(snapshot)
        self.backup(self.keys.new())
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    def test_to_be_used(self):
        """A backup of it may be restored elsewhere meanwhile."""
        self.backup(self.keys.new())
        self.target.status = "reserved"
        self.assertEqual("rbd", self.connect()["driver_volume_type"])
