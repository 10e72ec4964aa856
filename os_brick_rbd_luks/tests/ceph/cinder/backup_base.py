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

"""Volumes that Cinder knows and that are in a real Ceph cluster."""

from __future__ import annotations

import gc
import inspect
import json
from unittest import mock
import uuid

from cinder import context
from cinder import objects
from cinder.tests.unit import fake_constants
from cinder.tests.unit import test
from eventlet import tpool
from os_brick.initiator import linuxrbd
from oslo_config import cfg
from oslo_utils import importutils

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

CONF = cfg.CONF

PIECE = 4 * units.MIB

OURS = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"
UPSTREAM = "cinder.backup.drivers.ceph.CephBackupDriver"

OPTIONS = {"luks1": formatting.Options(),
           "luks2": formatting.Options(type="luks2")}

#: Offset in a volume of 1 GiB -> what a guest wrote there. The last one is
#: the end of its disk, others are amid holes of an object.
DATA = {0: b"first" * 4096, 300 * units.MIB + 8192: b"amid" * 1024,
        301 * units.MIB - 4096: b"over" * 2048,
        units.GIB - 65536: b"last" * 16384}


class CinderTestCase(base.FunctionalTestCase, test.TestCase):
    """Has Cinder's database and backup manager, and a pool for backups."""

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        # Handles that upstream leaves open close themselves in eventlet's
        # threads, and would wait for ever when Python has ended these.
        gc.collect()

    def setUp(self):
        super().setUp()
        self.ctxt = context.get_admin_context()
        self.backups = self.backup_pool()
        for option, value in {"backup_ceph_conf": self.conf,
                              "backup_ceph_user": "admin",
                              "backup_ceph_pool": "backups"}.items():
            # Registered with the driver's module.
            importutils.import_module("cinder.backup.drivers.ceph")
            CONF.set_override(option, value)
        self.keys = []
        for path, new in (
                ("cinder.volume.volume_utils.clone_encryption_key",
                 self.clone_key),
                ("cinder.volume.volume_utils.delete_encryption_key",
                 lambda *args: None),
                ("cinder.volume.volume_utils.brick_get_connector_properties",
                 lambda *args, **kwargs: {})):
            patch = mock.patch(path, new)
            patch.start()
            self.addCleanup(patch.stop)
        from cinder.backup import manager
        patch = mock.patch.dict(manager.MAPPING)
        patch.start()
        self.addCleanup(patch.stop)

    def backup_pool(self):
        """The pool; what is in it goes with the test."""
        handle = self.open_pool(user="admin")._handle
        code, _out, text = handle.mon_command(json.dumps({
            "prefix": "osd pool create", "pool": "backups", "pg_num": 8,
            "format": "json"}), b"")
        self.assertEqual(0, code, text)
        pool = self.open_pool("backups", user="admin")
        librbd.bindings().RBD().pool_init(pool._ioctx, True)
        self.addCleanup(self.empty, pool)
        return pool

    @staticmethod
    def empty(pool):
        for name in pool.images():
            with pool.open(name) as image:
                for snapshot in image.snapshots():
                    image.remove_snapshot(snapshot)
            pool.remove(name)

    def clone_key(self, *_args):
        """As Cinder's: a key of another id with the same value."""
        self.keys.append(str(uuid.uuid4()))
        return self.keys[-1]

    # Volumes

    def record(self, size, key_id=None, volume_type=None):
        """A volume that Cinder knows."""
        volume = objects.Volume(
            context=self.ctxt, size=size, host="host@backend#pool",
            user_id=fake_constants.USER_ID, display_name="volume",
            project_id=fake_constants.PROJECT_ID, status="available",
            previous_status="available", encryption_key_id=key_id,
            volume_type_id=volume_type or fake_constants.VOLUME_TYPE_ID)
        volume.create()
        self.addCleanup(self._remove, volume.name)
        return volume

    def volume(self, kind, size=1, data=None, length=None):
        """An encrypted volume with *data* in it, or of kind None a plain
        one.

        :param size: GiB
        :param length: bytes, for who does not look at the size
        """
        length = length or size * units.GIB
        volume = self.record(size, kind and str(uuid.uuid4()))
        if kind:
            creating.create(self.pool, volume.name, length, base.KEY,
                            OPTIONS[kind])
        else:
            self.pool.create(volume.name, length).__exit__()
        self.write(volume, kind, data or {})
        return volume

    def write(self, volume, kind, data):
        """Write as a guest."""
        with self.pool.open(volume.name) as image:
            if kind:
                image.load_encryption(kind, base.KEY)
            for offset, value in data.items():
                image.write(offset, value)

    def snapshot(self, volume):
        """Take one and let Cinder know."""
        snapshot = objects.Snapshot(
            context=self.ctxt, volume_id=volume.id, status="available",
            volume_size=volume.size, user_id=fake_constants.USER_ID,
            project_id=fake_constants.PROJECT_ID,
            volume_type_id=fake_constants.VOLUME_TYPE_ID)
        snapshot.create()
        return snapshot

    def raw(self, name, pool=None, snapshot=None):
        """Size, and offset -> data of the pieces that are not zeros."""
        with (pool or self.pool).open(
                name, read_only=True, snapshot=snapshot) as image:
            return image.size(), self.pieces(image, image.extents())

    def plain(self, volume, kind):
        """The same as a guest sees it through librbd."""
        with self.pool.open(volume.name, read_only=True) as image:
            image.load_encryption(kind, base.KEY)
            return image.size(), self.pieces(image)

    def seen(self, volume, kind):
        """All that is to be the same after a restore.

        What was never written in an object that is there is zeros to librbd
        with BlueStore, and noise with memstore: so not what a test wrote.
        """
        return self.raw(volume.name), self.plain(volume, kind)

    @staticmethod
    def pieces(image, extents=None):
        found = {}
        size = image.size()
        wanted = {at - at % PIECE for begin, length in extents or [(0, size)]
                  for at in (*range(begin, begin + length, PIECE),
                             begin + length - 1)}
        for offset in sorted(wanted):
            data = image.read(offset, PIECE)
            if data.count(0) != len(data):
                found[offset] = data
        return found

    def expected(self, size, *written):
        """What :meth:`plain` is to give."""
        found = {}
        for data in written:
            for offset, value in data.items():
                while value:
                    inside = offset % PIECE
                    part = value[:PIECE - inside]
                    piece = found.setdefault(offset - inside,
                                             bytearray(PIECE))
                    piece[inside:inside + len(part)] = part
                    offset, value = offset + len(part), value[len(part):]
        return size, {offset: bytes(data) for offset, data in found.items()}

    def assert_same(self, expected, found):
        """Compare what is too much to be shown."""
        self.assertEqual(expected[0], found[0])
        self.assertEqual(sorted(expected[1]), sorted(found[1]))
        for offset, data in expected[1].items():
            other = found[1][offset]
            if data != other:
                first = next(at for at in range(0, len(data), 512)
                             if data[at:at + 512] != other[at:at + 512])
                self.fail(f"other data at {offset + first}")

    # Backups

    def manager(self, driver=OURS):
        """A backup service that was started with that driver."""
        CONF.set_override("backup_driver", driver)
        from cinder.backup import manager
        service = manager.BackupManager(host="host")
        service.volume_rpcapi = mock.Mock()
        service.volume_rpcapi.secure_file_operations_enabled = (
            lambda *args: True)
        service._attach_device = self.attach
        service._detach_device = self.detach
        service.message_api = mock.Mock()
        service.setup_backup_backend(self.ctxt)
        service.is_initialized = True
        return service

    def attach(self, _context, device, *_args):
        """What os-brick's connector gives: the image as it is."""
        client = linuxrbd.RBDClient("cinder", "volumes", conffile=self.conf,
                                    rbd_cluster_name="ceph")
        volume = linuxrbd.RBDVolume(client, device.name)
        return {"device": {"path": linuxrbd.RBDVolumeIOWrapper(
            linuxrbd.RBDImageMetadata(volume, "volumes", "cinder",
                                      self.conf))}}

    def detach(self, _context, attach_info, *_args, **_kwargs):
        attach_info["device"]["path"].close()

    def back_up(self, volume, *, service=None, parent=None, snapshot=None,
                source=None):
        """Make a backup as Cinder's API and manager do.

        :param source: the volume that is attached, if it is another one
        """
        service = service or self.manager()
        backup = objects.Backup(
            context=self.ctxt, volume_id=volume.id, status="creating",
            user_id=fake_constants.USER_ID, size=volume.size, host="host",
            project_id=fake_constants.PROJECT_ID,
            parent_id=parent and parent.id,
            snapshot_id=snapshot and snapshot.id)
        backup.create()
        for record in (volume, snapshot):
            if record:
                record.status = "backing-up"
                record.save()
        service.create_backup(self.ctxt, backup)
        service.volume_rpcapi.get_backup_device.assert_called_once()
        service.volume_rpcapi.reset_mock()
        service.continue_backup(self.ctxt, backup, objects.BackupDeviceInfo(
            volume=source or volume, secure_enabled=True))
        backup.refresh()
        self.assertEqual("available", backup.status)
        volume.refresh()
        return backup

    def restore(self, backup, volume, *, service=None, is_new=False):
        """Restore as Cinder's API and manager do."""
        service = service or self.manager()
        volume.status = "restoring-backup"
        volume.save()
        backup.status = "restoring"
        backup.save()
        # In Cinder 21 nobody asks.
        more = ([is_new] if "volume_is_new" in inspect.signature(
            service.restore_backup).parameters else [])
        service.restore_backup(self.ctxt, backup, volume.id, *more)
        volume.refresh()
        self.assertEqual("available", volume.status)

    def wrapper(self, volume):
        """A volume's handle, for a driver without a manager."""
        handle = self.attach(None, volume)["device"]["path"]
        self.addCleanup(handle.close)
        return tpool.Proxy(handle)
