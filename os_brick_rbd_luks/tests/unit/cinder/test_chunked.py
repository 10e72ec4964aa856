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

"""Backups in chunks, and what becomes of volumes that they are restored to.

Upstream's own code reads and writes them.
"""

from __future__ import annotations

import importlib

from cinder.backup.drivers import posix as upstream_posix
from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.backup.drivers import posix
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.unit.cinder import backups
from os_brick_rbd_luks.tests import units

OURS = posix.RBDLuksPosixBackupDriver
THEIRS = upstream_posix.PosixBackupDriver


@ddt.ddt
class ChunkedDriverTest(backups.ChunkedTestCase):

    def restored(self, driver, provider="luks2", is_new=False):
        """What a guest has before and after, and both volumes."""
        volume = self.volume_with(self.DATA, provider)
        backup = self.back_up(driver, volume, backup_metadata=False)
        # The manager gives it a copy of the key that the backup has.
        key_id = self.keys.copy(backup.encryption_key_id)
        other = self.volume_with({} if is_new else {
            5 * units.MIB: b"old" * units.MIB}, provider)
        self.restore(driver, backup, other, is_new)
        other.encryption_key_id = key_id
        other.save()
        return self.plain(volume), self.plain(other), volume, other

    @ddt.data(False, True)
    def test_holes_are_holes_again(self, is_new):
        before, after, volume, other = self.restored(
            OURS, is_new=is_new)
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
            THEIRS)
        self.assertNotEqual(before, after)

    def test_luks1(self):
        _before, _after, volume, other = self.restored(
            OURS, "luks")
        for offset in range(0, 36 * units.MIB, units.MIB):
            self.assertEqual(self.content(volume).read(offset, units.MIB),
                             self.content(other).read(offset, units.MIB))

    def test_restored_is_too_small(self):
        self.patch("os_brick_rbd_luks.backup.drivers.chunked.Target.write",
                   side_effect=exception.ImageTooSmall(size=1, needed=2))
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.restored,
            OURS)
        self.assertIn("1", str(error))

    def test_plain_volume_is_upstreams(self):
        self.patch("os_brick_rbd_luks.backup.drivers.chunked.Target",
                   side_effect=AssertionError)
        service = OURS(self.context)
        restore = self.mock_object(THEIRS, "restore",
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


@ddt.ddt
class RefusedTest(backups.ChunkedTestCase):
    """What Cinder regrets when all is written, and ours before."""

    def plain_one(self):
        volume = self.create(None)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.resize(36 * units.MIB)
            image.write(0, b"plain" * 1000)
        return volume

    def assert_refused(self, backup, target, text):
        before = self.content(target).whole()
        # Where the volume driver cannot know: it has no record of that.
        self.patch("os_brick_rbd_luks.volume.restoring._backups",
                   return_value=[])
        error = self.assertRaises(
            cinder_exception.BackupOperationError, self.restore, OURS,
            backup, target)
        self.assertIn(text, str(error))
        self.assertEqual(before, self.content(target).whole())
        target.refresh()
        self.assert_opens(target)

    def test_plain(self):
        target = self.volume_with(self.DATA, "luks")
        self.snapshot(target)
        self.assert_refused(self.back_up(OURS, self.plain_one()), target,
                            "without encryption")

    @ddt.data("luks", "luks2")
    def test_other_type(self, provider):
        source = self.volume_with({}, provider)
        self.assert_refused(
            self.back_up(OURS, source), self.volume_with(
                self.DATA, "luks" if provider == "luks2" else "luks2"),
            f"of type {source.volume_type_id}")

    def test_other_key_with_snapshots(self):
        target = self.volume_with(self.DATA, "luks")
        self.snapshot(target)
        backup = self.back_up(OURS, self.volume_with({}, "luks"))
        self.assert_refused(backup, target, "has snapshots")

    def test_increment_of_another_type(self):
        """The volume was retyped; Cinder restores one after the other."""
        source = self.volume_with({}, "luks")
        wanted = source.volume_type_id
        first = self.back_up(OURS, source)
        source.volume_type_id = self.create("luks2").volume_type_id
        source.save()
        increment = self.back_up(OURS, source, first)
        target = self.volume_with(self.DATA, "luks2")
        target.volume_type_id = source.volume_type_id
        target.save()
        self.assert_refused(increment, target, f"of type {wanted}")

    def test_plain_into_a_plain_one(self):
        source, target = self.plain_one(), self.plain_one()
        self.restore(OURS, self.back_up(OURS, source), target)
        self.assertEqual(self.content(source).whole(),
                         self.content(target).whole())

    @ddt.data(True, False)
    def test_same_type(self, has_metadata):
        """Nothing is refused either where Cinder has kept nothing."""
        source = self.volume_with({}, "luks2")
        target = self.volume_with(self.DATA, "luks2")
        backup = self.back_up(OURS, source, backup_metadata=has_metadata)
        self.restore(OURS, backup, target)
        target.refresh()
        self.assertEqual(source.encryption_key_id if has_metadata
                         else target.encryption_key_id,
                         target.encryption_key_id)


@ddt.ddt
class CloneTest(backups.ChunkedTestCase):
    """A backup restored over a clone, whose parent would stay."""

    release = 18

    def assert_restored(self, driver, target):
        parent = self.content(target).parent
        self.assertIsNotNone(parent)
        source = self.volume_with(self.DATA, "luks2")
        backup = self.back_up(driver, source)
        self.restore(driver, backup, target)
        target.refresh()
        # The manager gives it a copy of the key that the backup has.
        target.encryption_key_id = self.keys.copy(backup.encryption_key_id)
        target.status = "available"
        target.save()
        self.assertIsNone(self.content(target).parent)
        self.assert_opens(target)
        if driver is OURS:
            self.assertEqual([], [
                number for number, (before, after) in enumerate(
                    zip(self.plain(source), self.plain(target)))
                if before != after])
        with self.view(target) as view:
            for offset, value in self.DATA.items():
                found = view.read(offset, len(value))
                self.assertTrue(value == found, f"other data at {offset}")
        self.assertNotIn(sealed.NOTE, self.content(target).notes)

    @ddt.data(OURS, THEIRS)
    def test_of_a_volume(self, driver):
        other = self.volume_with({n * units.MIB: b"S" * units.MIB
                                  for n in range(32)}, "luks2")
        self.assert_restored(driver, self.clone(other))
        with self.pool() as pool, pool.open(other.name) as image:
            self.assertEqual([], image.snapshots())

    @ddt.data(OURS, THEIRS)
    def test_of_an_image(self, driver):
        image_id = self.in_ceph(32 * units.MIB, {
            4 * units.MIB * n: bytes([n + 1]) * (4 * units.MIB)
            for n in range(8)})
        self.assert_restored(driver, self.of_image(image_id, "luks2"))
