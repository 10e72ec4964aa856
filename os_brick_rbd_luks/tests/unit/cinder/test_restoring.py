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

"""Connecting to write a backup: not where Cinder regrets it afterwards."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder import objects
from cinder.tests.unit import fake_constants as fake
import ddt

from os_brick_rbd_luks.tests.unit.cinder import base

CEPH = "cinder.backup.drivers.ceph.CephBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.posix.RBDLuksPosixBackupDriver"
THEIRS = "cinder.backup.drivers.posix.PosixBackupDriver"


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
        self.assert_refused("has snapshots")
        self.check(self.target)

    @ddt.data("same key", "other volume", "other time")
    def test_not_refused(self, case):
        key_id, values = self.keys.new(), {}
        if case == "same key":
            key_id = self.target.encryption_key_id
        elif case == "other volume":
            values["restore_volume_id"] = self.create().id
        else:
            values["status"] = "available"
        self.backup(key_id, **values)
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    @ddt.data((THEIRS, False), (THEIRS, True), (None, False),
              # Whatever drives it, its volume says that it is plain.
              (CEPH, True), (OURS, True))
    @ddt.unpack
    def test_plain_backup(self, service, is_there):
        """With snapshots or without: Cinder deletes the volume's key."""
        self.without_snapshots()
        self.backup(None, service=service, volume_id=(
            self.create(None).id if is_there else fake.VOLUME_ID))
        self.assert_refused("without encryption")

    @ddt.data((CEPH, False), (OURS, False), (CEPH, True), (OURS, True))
    @ddt.unpack
    def test_backup_that_may_be_older_than_its_key_id(self, service,
                                                      is_there):
        """Those drivers look themselves."""
        self.backup(None, service=service, volume_id=(
            self.target.id if is_there else fake.VOLUME_ID))
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    def test_plain_backup_into_a_new_volume(self):
        """Its status is another one: it is made for this backup."""
        self.without_snapshots()
        self.backup(None, service=THEIRS, volume_id=self.create(None).id)
        self.target.status = "creating"
        self.target.save()
        self.assert_refused("without encryption")

    @ddt.data("ours", "theirs")
    def test_another_type(self, whose):
        """The source may have been retyped since, so only drivers of ours,
        which read what is kept with the backup, can refuse it.
        """
        self.without_snapshots()
        source = self.create("luks2")
        self.backup(source.encryption_key_id, volume_id=source.id,
                    service=OURS if whose == "ours" else THEIRS)
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    def assert_refused(self, text):
        error = self.assertRaises(cinder_exception.InvalidVolume,
                                  self.connect)
        self.assertIn(self.target.id, str(error))
        self.assertIn(text, str(error))
        self.assertIn("Nothing was written", str(error))

    def without_snapshots(self):
        for snapshot in objects.SnapshotList.get_all_for_volume(
                self.context, self.target.id):
            self.delete_snapshot(snapshot)

    def test_no_snapshots(self):
        self.without_snapshots()
        self.backup(self.keys.new())
        self.assertEqual("rbd", self.connect()["driver_volume_type"])

    def test_to_be_used(self):
        """A backup of it may be restored elsewhere meanwhile."""
        self.backup(self.keys.new())
        self.target.status = "reserved"
        self.assertEqual("rbd", self.connect()["driver_volume_type"])
