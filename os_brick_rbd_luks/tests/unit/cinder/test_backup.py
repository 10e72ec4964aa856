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

"""What our backup driver does in place of upstream's, without a cluster."""

from __future__ import annotations

import json
from unittest import mock

from cinder.backup.drivers import ceph as upstream
from cinder import context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.tests.unit import fake_constants as fake
from cinder.tests.unit import test
import ddt

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.backup.drivers import parents
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.tests import units

UPSTREAM = "cinder.backup.drivers.ceph.CephBackupDriver"
OURS = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"

REFUSED = exception.OperationRefused(reason="no copy of it")


class Image:
    """What a handle says of its image."""

    def __init__(self, size=units.GIB + 4096):
        self.size = mock.Mock(return_value=size)


class Handle:
    """As os-brick's, of an RBD image."""

    rbd_user = "cinder"
    rbd_pool = "volumes"
    rbd_conf = ""

    def __init__(self):
        self.rbd_image = Image()


@ddt.ddt
class BackupDriverTest(test.TestCase):

    def setUp(self):
        super().setUp()
        from cinder.backup import manager
        self.patch_dict(manager.MAPPING)
        self.context = context.get_admin_context()
        self.driver = ceph.RBDLuksBackupDriver(self.context)
        self.calls = mock.Mock()
        for name in ("backup", "_full_backup", "_restore_volume",
                     "_transfer_data", "_diff_restore_allowed"):
            self.replace(upstream.CephBackupDriver, name)
        for name in ("back_up_volume", "restore_volume", "refuse_clone"):
            self.replace(rawcopy, name)
        self.stored, self.snapshots = None, []
        for owner, name, new in (
                (upstream.rbd_driver, "RADOSClient", mock.MagicMock()),
                (upstream, "VolumeMetadataBackup", lambda *_args: mock.Mock(
                    get=lambda: self.stored)),
                (objects.SnapshotList, "get_all_for_volume",
                 lambda *_args: self.snapshots)):
            patch = mock.patch.object(owner, name, new)
            patch.start()
            self.addCleanup(patch.stop)
        self.calls.back_up_volume.return_value = None
        self.calls.restore_volume.return_value = None
        self.handle = Handle()

    def patch_dict(self, target):
        patch = mock.patch.dict(target)
        patch.start()
        self.addCleanup(patch.stop)

    def replace(self, owner, name):
        patch = mock.patch.object(owner, name, getattr(self.calls, name))
        patch.start()
        self.addCleanup(patch.stop)

    def record(self, key_id=None):
        backup = objects.Backup(
            context=self.context, user_id=fake.USER_ID, status="creating",
            project_id=fake.PROJECT_ID, volume_id=fake.VOLUME_ID,
            service=OURS, encryption_key_id=key_id)
        backup.create()
        return backup

    def names(self):
        return [call[0] for call in self.calls.mock_calls]

    # To whom a backup belongs

    def test_upstreams_name_is_in_the_record(self):
        backup = self.record()
        self.calls.backup.side_effect = cinder_exception.BackupOperationError
        self.assertRaises(cinder_exception.BackupOperationError,
                          self.driver.backup, backup, self.handle)
        backup.refresh()
        self.assertEqual(UPSTREAM, backup.service)

    def test_manager_knows_upstreams(self):
        from cinder.backup import manager
        self.assertEqual(OURS, manager.MAPPING[UPSTREAM])
        service = mock.Mock(driver_name=OURS)
        for name in (OURS, UPSTREAM, "cinder.backup.drivers.ceph", ""):
            self.assertTrue(manager.BackupManager._is_our_backup(
                service, name), name)
        self.assertFalse(manager.BackupManager._is_our_backup(
            service, "cinder.backup.drivers.s3.S3BackupDriver"))

    def test_path_is_what_the_volume_driver_looks_for(self):
        self.assertIn("backup.drivers.ceph", OURS)
        self.assertEqual(OURS, f"{ceph.__name__}.RBDLuksBackupDriver")

    # Backups

    def back_up(self, backup, handle):
        self.calls.backup.side_effect = lambda *args, **kwargs: (
            self.driver._full_backup(backup, handle, "name", units.GIB))
        return self.driver.backup(backup, handle, backup_metadata=False)

    def test_snapshot_of_an_encrypted_volume(self):
        backup = self.record(fake.ENCRYPTION_KEY_ID)
        self.back_up(backup, self.handle)
        self.assertEqual(["refuse_clone", "backup", "_full_backup"],
                         self.names())
        self.calls.backup.assert_called_once_with(backup, self.handle,
                                                  backup_metadata=False)
        self.calls._full_backup.assert_called_once_with(
            backup, self.handle, "name", units.GIB + 4096)

    @ddt.data(True, False)
    def test_other_backups_are_upstreams(self, is_rbd):
        """Of plain volumes, and encrypted ones that are not RBD images."""
        backup = self.record(None if is_rbd else fake.ENCRYPTION_KEY_ID)
        handle = self.handle if is_rbd else object()
        self.back_up(backup, handle)
        self.calls._full_backup.assert_called_once_with(
            backup, handle, "name", units.GIB)
        self.driver._transfer_data("a", "b", "c", "d", units.GIB)
        self.calls._transfer_data.assert_called_once_with(
            "a", "b", "c", "d", units.GIB)
        self.assertNotIn("refuse_clone", self.names())

    def test_refused_before_anything(self):
        self.calls.refuse_clone.side_effect = REFUSED
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.driver.backup,
            self.record(fake.ENCRYPTION_KEY_ID), self.handle)
        self.assertIn("no copy of it", str(error))
        self.assertEqual(["refuse_clone"], self.names())

    def test_backup_copies_exactly(self):
        self.back_up(self.record(fake.ENCRYPTION_KEY_ID), self.handle)
        self.driver._transfer_data(self.handle, "volume", Handle(), "base",
                                   units.GIB + 4096)
        source, target, size = self.calls.back_up_volume.call_args[0]
        self.assertEqual(("volume", "base", units.GIB + 4096),
                         (source.name, target.name, size))
        self.assertNotIn("_transfer_data", self.names())

    # Restores

    def restore(self, *keys, stored="same", type_id="type", snapshots=()):
        """Restore; each of backup and volume may have a key.

        :param stored: key id and type that Cinder keeps with the backup, None
            if it keeps nothing
        """
        if stored == "same":
            stored = keys[0], "type"
        self.stored = stored and json.dumps({
            "version": 2, "volume-base-metadata": dict(zip(
                ("encryption_key_id", "volume_type_id"), stored))})
        backup, volume = (mock.Mock(
            encryption_key_id=key, volume_type_id=type_id) for key in keys)
        self.snapshots = list(snapshots)
        self.calls._restore_volume.side_effect = lambda *args, **kwargs: (
            self.driver._transfer_data(
                Handle(), "base", self.handle, "volume", units.GIB,
                discard_zeros=True))
        self.calls._diff_restore_allowed.return_value = True, "point"
        # In Cinder 21 there is no fourth one.
        self.driver._restore_volume(backup, volume, self.handle, True)
        self.calls._restore_volume.assert_called_once_with(
            backup, volume, self.handle, True)
        return self.driver._diff_restore_allowed("base", backup)

    @ddt.data(("a", "b"), ("a", None))
    def test_encrypted(self, keys):
        self.assertEqual((False, "point"), self.restore(*keys))
        source, target, size = self.calls.restore_volume.call_args[0]
        self.assertEqual(("base", "volume", units.GIB),
                         (source.name, target.name, size))
        self.assertNotIn("_transfer_data", self.names())

    def test_plain(self):
        self.assertEqual((True, "point"), self.restore(None, None))
        self.calls._transfer_data.assert_called_once_with(
            mock.ANY, "base", self.handle, "volume", units.GIB,
            discard_zeros=True)
        self.assertNotIn("restore_volume", self.names())

    @ddt.data(
        # A backup of another type is refused by Cinder, when all is written.
        (("a", "b"), {"stored": ("a", "other")}, "of type other"),
        (("a", None), {"stored": ("a", "other")}, "of type other"),
        ((None, "b"), {}, "without encryption"),
        # As of a volume that was retyped since.
        ((None, "b"), {"stored": (None, "other")}, "without encryption"),
        # Cinder deletes key b afterwards.
        (("a", "b"), {"snapshots": ["s"]}, "has snapshots"),
        ((None, "b"), {"stored": ("a", "type"), "snapshots": ["s"]},
         "has snapshots"))
    @ddt.unpack
    def test_refused_before_a_byte_is_written(self, keys, options, text):
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.restore, *keys,
            **options)
        self.assertIn(text, str(error))
        self.assertEqual([], self.names())

    @ddt.data(
        (("a", "b"), {"stored": ("a", "other"), "type_id": None}),
        # Cinder keeps the key that is the same.
        (("a", "a"), {"snapshots": ["s"]}),
        (("a", None), {"snapshots": ["s"]}),
        # It keeps nothing with the backup, and so changes no key.
        (("a", "b"), {"stored": None, "snapshots": ["s"]}))
    @ddt.unpack
    def test_not_refused(self, keys, options):
        self.restore(*keys, **options)
        self.assertEqual(1, self.names().count("restore_volume"))

    def test_plain_data_for_an_encrypted_volume(self):
        """Of a backup with which Cinder keeps nothing."""
        self.calls.restore_volume.side_effect = exception.NotLuks()
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.restore, None, "b",
            stored=None)
        self.assertIn("no LUKS header", str(error))
        self.assertNotIn("_transfer_data", self.names())

    def test_refused_restore(self):
        self.calls.restore_volume.side_effect = REFUSED
        error = self.assertRaises(cinder_exception.BackupOperationError,
                                  self.restore, "a", "b")
        self.assertIn("no copy of it", str(error))
        self.assertNotIn("_transfer_data", self.names())

    def test_parent_that_is_none_any_more(self):
        parent = base.Parent("volumes", "", "source", "volume.clone_snap")
        self.calls.restore_volume.return_value = parent
        with mock.patch.object(
                parents.brick, "pool_of", autospec=True) as pool_of, \
                mock.patch.object(parents.flattening, "release_parents",
                                  autospec=True) as release:
            self.restore("a", "b")
            pool = pool_of.return_value.__enter__.return_value
            release.assert_called_once_with(pool, parent, "volume")

    def test_parent_that_stays(self):
        """The volume is restored all the same."""
        self.calls.restore_volume.return_value = base.Parent("p", "", "i", "s")
        with mock.patch.object(
                parents.brick, "pool_of", autospec=True,
                side_effect=exception.ImageIOError(action="a", reason="b")):
            self.restore("a", "b")
