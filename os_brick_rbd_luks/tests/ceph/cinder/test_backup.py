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

"""Backups to Ceph, and all that comes back from them."""

from __future__ import annotations

from cinder import exception
from cinder.tests.unit import fake_constants
from cinder.volume.drivers import rbd as volume_driver
import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.tests.ceph.cinder import backup_base as base
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

OFFSETS = {"luks1": 4 * units.MIB, "luks2": 16 * units.MIB}


@ddt.ddt
class BackupTest(base.CinderTestCase):

    def assert_restored(self, seen, volume, kind, *written):
        """All data, the holes and the size are there.

        :param seen: of the volume that was backed up
        """
        raw, plain = seen
        size = volume.size * units.GIB
        self.assert_same((size + OFFSETS[kind], raw[1]),
                         self.raw(volume.name))
        found = self.plain(volume, kind)
        if kind == "luks2":
            self.assert_same((size, plain[1]), found)
        # Holes of a LUKS1 volume are noise to a guest in any case.
        self.assertEqual(size, found[0])
        for data in written:
            self.assert_reads(volume, kind, data)

    def assert_reads(self, volume, kind, data):
        with self.pool.open(volume.name, read_only=True) as image:
            image.load_encryption(kind, functional.KEY)
            self.assertEqual(volume.size * units.GIB, image.size())
            for offset, value in data.items():
                self.assertEqual(value, image.read(offset, len(value)))

    @ddt.data(*selection.cases("luks1", full=["luks2"]))
    def test_same_volume(self, kind):
        volume = self.volume(kind, data=base.DATA)
        before = self.seen(volume, kind)
        backup = self.back_up(volume)
        self.write(volume, kind, {units.GIB - 4096: b"lost" * 1024,
                                  700 * units.MIB: b"more" * 1024})
        self.restore(backup, volume)
        self.assert_restored(before, volume, kind, base.DATA)

    @ddt.data(*selection.cases("luks2", full=["luks1"]))
    def test_new_volume(self, kind):
        volume = self.volume(kind, data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume(kind)
        self.restore(backup, other, is_new=True)
        self.assert_restored(self.seen(volume, kind), other, kind, base.DATA)

    @ddt.data(*selection.cases("luks1", full=["luks2"]))
    def test_incremental(self, kind):
        volume = self.volume(kind, data=base.DATA)
        service = self.manager()
        full = self.back_up(volume, service=service)
        more = {units.GIB - 32768: b"tail" * 8192,
                500 * units.MIB: b"more" * 1024}
        self.write(volume, kind, more)
        increment = self.back_up(volume, service=service, parent=full)
        later = self.seen(volume, kind)
        self.write(volume, kind, {600 * units.MIB: b"late" * 1024})
        other = self.volume(kind)
        self.restore(increment, other, service=service)
        self.assert_restored(later, other, kind, more)
        # And what was before it.
        self.restore(full, other, service=service)
        self.assert_reads(other, kind, base.DATA)

    @ddt.data(*selection.cases("luks1", full=["luks2"]))
    def test_larger_volume(self, kind):
        volume = self.volume(kind, data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume(kind, 2, {2 * units.GIB - 4096: b"gone" * 1024})
        self.restore(backup, other)
        self.assert_restored(self.seen(volume, kind), other, kind, base.DATA)

    @ddt.data("luks1", "luks2")
    @selection.full
    def test_volume_that_grew_between_backups(self, kind):
        volume = self.volume(kind, data=base.DATA)
        service = self.manager()
        full = self.back_up(volume, service=service)
        with self.pool.open(volume.name) as image:
            resizing.resize(image, 2 * units.GIB)
        volume.size = 2
        volume.save()
        more = {2 * units.GIB - 4096: b"grow" * 1024}
        self.write(volume, kind, more)
        increment = self.back_up(volume, service=service, parent=full)
        other = self.volume(kind, 2)
        self.restore(increment, other, service=service)
        self.assert_restored(self.seen(volume, kind), other, kind, base.DATA,
                             more)

    @ddt.data(*selection.cases(
        ("luks2", "luks1"), full=[("luks1", "luks2")]))
    @ddt.unpack
    def test_target_of_another_data_offset(self, kind, there):
        volume = self.volume(kind, data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume(there, data={units.GIB - 4096: b"gone" * 1024})
        self.restore(backup, other)
        self.assert_restored(self.seen(volume, kind), other, kind, base.DATA)

    @selection.full
    def test_upstreams_layout(self):
        """QEMU's header, whose data offset is a multiple of nothing."""
        volume, other = (self.record(1, self.clone_key()) for _ in range(2))
        self.qemu_create(volume.name, units.GIB)
        self.qemu_create(other.name, units.GIB)
        self.qemu_io(volume.name, functional.KEY,
                     f"write -P 7 {units.GIB - 65536} 65536")
        self.restore(self.back_up(volume), other)
        self.assert_same(self.raw(volume.name), self.raw(other.name))
        self.assertEqual(units.GIB,
                         self.guest_size(other.name, functional.KEY))
        self.qemu_io(other.name, functional.KEY,
                     f"read -P 7 {units.GIB - 65536} 65536")

    @ddt.data(*selection.cases("luks2", full=["luks1"]))
    def test_backup_of_a_snapshot(self, kind):
        """Comes from a temporary volume, whose name it does not have."""
        volume = self.volume(kind, data=base.DATA)
        backup = self.back_up(volume, snapshot=self.snapshot(volume))
        with self.backups.open(f"volume-{volume.id}.backup.base") as image:
            self.assertEqual(units.GIB + OFFSETS[kind], image.size())
            self.assertLess(sum(length for _at, length in image.extents()),
                            100 * units.MIB)
        other = self.volume(kind)
        self.restore(backup, other)
        self.assert_restored(self.seen(volume, kind), other, kind, base.DATA)

    @selection.full
    def test_snapshots_of_the_target_stay(self):
        volume = self.volume("luks2", data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume("luks2", data={4096: b"old!" * 1024})
        with self.pool.open(other.name) as image:
            image.create_snapshot("s")
        before = self.raw(other.name, snapshot="s")
        self.restore(backup, other)
        self.assert_restored(self.seen(volume, "luks2"), other, "luks2",
                             base.DATA)
        self.assert_same(before, self.raw(other.name, snapshot="s"))

    def test_target_that_is_a_clone(self):
        volume = self.volume("luks2", data=base.DATA)
        backup = self.back_up(volume)
        source = self.volume("luks2", data={900 * units.MIB: b"base" * 1024})
        other = self.record(1, self.clone_key())
        snapshot = f"{other.name}.clone_snap"
        with self.pool.open(source.name) as image:
            image.create_snapshot(snapshot)
        cloning.rekeyed(self.pool, self.pool.parent(source.name, snapshot),
                        other.name, functional.KEY, functional.NEW_KEY)
        self.restore(backup, other)
        self.assert_restored(self.seen(volume, "luks2"), other, "luks2",
                             base.DATA)
        # Nothing is left of what it was.
        with self.pool.open(other.name) as image, \
                self.pool.open(source.name) as parent:
            self.assertIsNone(image.parent())
            self.assertEqual([], parent.snapshots())

    def test_clone_with_its_own_header_is_refused(self):
        """Its parent's data in a backup would be plain text."""
        volume = self.volume("luks1")
        with self.pool.open(volume.name) as image:
            # As librbd of Ceph 18 marks them.
            image.write(0, b"RBDL\xba\xbe")
        service = self.manager()
        self.assertRaisesRegex(
            exception.BackupOperationError, "flatten it first",
            self.back_up, volume, service=service)
        self.assertEqual([], self.backups.images())
        backup = base.objects.BackupList.get_all(self.ctxt)[0]
        self.assertEqual("error", backup.status)

    def refused(self, text, backup, target):
        """It is as it was, and the backup can be restored elsewhere."""
        before = self.raw(target.name)
        key_id = target.encryption_key_id
        self.assertRaisesRegex(exception.BackupOperationError, text,
                               self.restore, backup, target)
        self.assert_same(before, self.raw(target.name))
        target.refresh()
        self.assertEqual(("error_restoring", key_id),
                         (target.status, target.encryption_key_id))
        backup.refresh()
        self.assertEqual("available", backup.status)

    def test_snapshots_that_need_the_key_of_the_target(self):
        volume = self.volume("luks2", data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume("luks2", data={4096: b"old!" * 1024})
        base.objects.Snapshot(
            self.ctxt, volume_id=other.id, volume_size=1, status="available",
            user_id=other.user_id, project_id=other.project_id,
            encryption_key_id=other.encryption_key_id).create()
        self.refused("has snapshots", backup, other)

    def test_target_of_another_type(self):
        volume = self.volume("luks1", data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume("luks2")
        other.volume_type_id = fake_constants.VOLUME_TYPE2_ID
        other.save()
        self.refused(fake_constants.VOLUME_TYPE2_ID, backup, other)

    def test_backup_is_larger_than_the_target(self):
        """Cinder's API looks at GiB only."""
        volume = self.volume("luks1", data=base.DATA)
        backup = self.back_up(volume)
        name, = self.backups.images()
        with self.backups.open(name) as image:
            snapshot, = image.snapshots()
            image._image.rollback_to_snap(snapshot)
            image.remove_snapshot(snapshot)
            image.resize(2 * units.GIB)
            image.create_snapshot(snapshot)
        other = self.volume("luks1")
        before = self.raw(other.name)
        self.assertRaisesRegex(
            exception.BackupOperationError, "make it larger",
            self.restore, backup, other)
        self.assert_same(before, self.raw(other.name))
        other.refresh()
        self.assertEqual("error_restoring", other.status)


@ddt.ddt
class PlainTest(base.CinderTestCase):
    """Volumes that Cinder does not encrypt are upstream's."""

    @ddt.data(*selection.cases(base.OURS, full=[base.UPSTREAM]))
    def test_new_and_same(self, driver):
        volume = self.volume(None, data=base.DATA)
        service = self.manager(driver)
        backup = self.back_up(volume, service=service)
        expected = self.expected(units.GIB, base.DATA)
        self.write(volume, None, {units.GIB - 4096: b"lost" * 1024})
        self.restore(backup, volume, service=service)
        self.assert_same(expected, self.raw(volume.name))
        other = self.volume(None)
        self.restore(backup, other, service=service, is_new=True)
        self.assert_same(expected, self.raw(other.name))

    def test_header_of_a_user(self):
        """Inside of a plain volume a header says nothing to us."""
        volume = self.volume(None)
        with self.pool.open(volume.name) as image:
            base.formatting.format_new(image, b"user", base.OPTIONS["luks2"])
        before = self.raw(volume.name)
        backup = self.back_up(volume)
        other = self.volume(None)
        self.restore(backup, other)
        self.assert_same(before, self.raw(other.name))

    def test_plain_data_into_an_encrypted_volume(self):
        """It would not be usable, and Cinder finds nothing wrong."""
        volume = self.volume(None, data=base.DATA)
        backup = self.back_up(volume)
        other = self.volume("luks1")
        before = self.raw(other.name)
        self.assertRaisesRegex(
            exception.BackupOperationError, "without encryption",
            self.restore, backup, other)
        self.assert_same(before, self.raw(other.name))


@selection.full
class UpstreamTest(base.CinderTestCase):
    """What ours is for. Where these fail, upstream does it as well."""

    def test_end_is_lost(self):
        volume = self.volume("luks1", data=base.DATA)
        service = self.manager(base.UPSTREAM)
        backup = self.back_up(volume, service=service)
        other = self.volume("luks1")
        self.restore(backup, other, service=service)
        expected, found = self.raw(volume.name), self.raw(other.name)
        self.assertEqual(expected[0], found[0])
        self.assertIn(units.GIB, sorted(expected[1]))
        self.assertNotIn(units.GIB, sorted(found[1]))

    def test_holes_become_noise(self):
        volume = self.volume("luks2", data={0: b"data" * 1024})
        service = self.manager(base.UPSTREAM)
        backup = self.back_up(volume, service=service)
        self.restore(backup, volume, service=service)
        _size, found = self.plain(volume, "luks2")
        self.assertIn(100 * units.MIB, sorted(found))


class ServiceTest(base.CinderTestCase):
    """Backups of the one driver in the hands of the other."""

    def test_upstreams_backup(self):
        volume = self.volume("luks1", data=base.DATA)
        backup = self.back_up(volume, service=self.manager(base.UPSTREAM))
        self.assertEqual(base.UPSTREAM, backup.service)
        other = self.volume("luks1")
        self.restore(backup, other)
        self.assert_same(self.raw(volume.name), self.raw(other.name))

    @selection.full
    def test_increment_on_upstreams_backup(self):
        volume = self.volume("luks2", data=base.DATA)
        full = self.back_up(volume, service=self.manager(base.UPSTREAM))
        more = {units.GIB - 4096: b"more" * 1024}
        self.write(volume, "luks2", more)
        increment = self.back_up(volume, parent=full)
        other = self.volume("luks2")
        self.restore(increment, other)
        self.assert_same(self.raw(volume.name), self.raw(other.name))

    def test_upstream_deletes_and_restores_ours(self):
        volume = self.volume(None, data=base.DATA)
        backup = self.back_up(volume)
        self.assertEqual(base.UPSTREAM, backup.service)
        service = self.manager(base.UPSTREAM)
        service.driver_name = base.UPSTREAM
        other = self.volume(None)
        with base.mock.patch.dict("cinder.backup.manager.MAPPING",
                                  clear=True):
            self.restore(backup, other, service=service)
            self.assert_same(self.raw(volume.name), self.raw(other.name))
            backup.status = "deleting"
            backup.save()
            service.delete_backup(self.ctxt, backup)
        self.assertEqual([], self.backups.images())

    def test_record(self):
        """Exported and imported again, by the names of either."""
        service = self.manager()
        self.assertEqual(base.OURS, service.driver_name)
        # The first thing that a service does, before it gets any requests.
        service.service(self.ctxt)
        for name, expected in ((base.OURS, True), (base.UPSTREAM, True),
                               ("cinder.backup.drivers.ceph", True),
                               ("cinder.backup.drivers.nfs", False)):
            self.assertIs(expected, service._is_our_backup(name), name)

    def test_volume_is_not_cloned_for_it(self):
        """Upstream's RBD driver sees that it is a Ceph backup.

        In this very moment the record has the driver's own name.
        """
        volume = self.volume("luks1")
        backup = base.objects.Backup(
            context=self.ctxt, volume_id=volume.id, service=base.OURS,
            user_id="u", project_id="p")
        backup.create()
        found, is_snapshot = volume_driver.RBDDriver.get_backup_device(
            base.mock.Mock(spec=volume_driver.RBDDriver), self.ctxt, backup)
        self.assertEqual(volume.id, found.id)
        self.assertFalse(is_snapshot)
