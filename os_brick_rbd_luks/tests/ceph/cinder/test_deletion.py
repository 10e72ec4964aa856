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

"""Deletion when something is in its way, and what it leaves to nobody."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder.volume.drivers import rbd
import ddt

from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import session


class TrashTestCase(base.DriverTestCase):
    """Looks into the trash, and empties it of what is the test's."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self._empty)

    def _trash(self, pool):
        """Id and name of each of the test's images there."""
        return [(entry["id"], entry["name"])
                for entry in librbd.bindings().RBD().trash_list(pool._ioctx)
                if self.is_ours(entry["name"])]

    def _empty(self):
        with self.pool() as pool:
            for image_id, _name in self._trash(pool):
                librbd.bindings().RBD().trash_remove(
                    pool._ioctx, image_id, force=True)

    def assert_trash(self, *volumes):
        """These volumes are there."""
        with self.pool() as pool:
            self.assertEqual(
                sorted(volume.name for volume in volumes),
                sorted(name for _id, name in self._trash(pool)))

    def restore(self, volume):
        """Put an image back, as an operator would."""
        with self.pool() as pool:
            for image_id, name in self._trash(pool):
                if name == volume.name:
                    librbd.bindings().RBD().trash_restore(
                        pool._ioctx, image_id, name)


@ddt.ddt
class PurgeTest(TrashTestCase):
    """What was made for clones goes when the trash is emptied."""

    def setUp(self):
        super().setUp()
        # Of images that other tests are making, this is no business.
        images = rbd_pool.Pool.images
        self.patch("os_brick_rbd_luks.image.rbd_pool.Pool.images",
                   lambda pool: [name for name in images(pool)
                                 if self.is_ours(name)])
        self.leftovers = leftovers.Leftovers()

    def look(self, times=1):
        for _time in range(times):
            with session.Session(self.driver) as here:
                self.leftovers.remove(here)

    def trash(self, volume):
        """Move an image there, as an operator would; Cinder deletes it."""
        with self.pool() as pool:
            librbd.bindings().RBD().trash_move(pool._ioctx, volume.name)
        self.delete(volume)
        self.assert_trash(volume)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_clone(self, provider):
        source = self.filled(provider)
        clone = self.clone(source)
        taken = [f"{clone.name}.clone_snap"]
        self.trash(clone)
        self.look(2)
        self.assert_images(images={source.name: taken})
        self._empty()
        self.look()
        self.assert_images(source)
        self.check(source)

    def test_clone_whose_source_is_deleted_before(self):
        source = self.filled()
        clone = self.clone(source)
        self.trash(clone)
        self.delete(source)
        self._empty()
        self.look(2)
        self.assert_nothing_left()

    def test_source_deleted_when_nobody_has_looked(self):
        source = self.filled()
        self.trash(self.clone(source))
        self._empty()
        self.delete(source)
        self.assert_nothing_left()

    def test_restored(self):
        source = self.filled()
        clone = self.clone(source)
        with self.pool() as pool:
            librbd.bindings().RBD().trash_move(pool._ioctx, clone.name)
            self.look()
            self.restore(clone)
        self.look(2)
        self.check(clone)
        self.assert_images(clone, images={
            source.name: [f"{clone.name}.clone_snap"]})

    def test_half_made(self):
        volume = self.volume()
        half = f"rbd-luks-partial.{volume.name}"
        with self.pool() as pool:
            with pool.create(half, units.GIB):
                self.look(2)
                self.assert_images(images={half: []})
            self.look(2)
        self.assert_images()


@ddt.ddt
class BusyTest(TrashTestCase):

    def setUp(self):
        super().setUp()
        # A client that was killed counts for longer, too.
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0.5)

    def test_d7_busy_and_its_key_is_gone(self):
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name):
            if not self.flattens():
                # Upstream deletes it all the same.
                self.delete(volume)
                self.assert_nothing_left()
                self.assert_trash(volume)
                return
            self.assertRaises(cinder_exception.VolumeBackendAPIException,
                              self.delete, volume)
        volume.refresh()
        self.assertEqual("error_deleting", volume.status)
        # Again, when nobody has it open.
        self.backend.delete_volume(self.context, volume)
        self.assert_nothing_left()

    @ddt.data(False, True)
    def test_d7_busy_and_its_key_is_there(self, erase):
        self.option(rbd_luks_erase_on_delete=erase)
        volume = self.filled()
        with self.pool() as pool, pool.open(volume.name):
            self.backend.delete_volume(self.context, volume)
        if not erase and not self.flattens():
            # Upstream deletes it all the same, and destroys nothing.
            self.assertRaises(cinder_exception.VolumeNotFound, volume.refresh)
            self.assert_images()
            self.assert_trash(volume)
            self.restore(volume)
            self.disk(volume).check(units.GIB, reader.filling(1))
            return
        volume.refresh()
        self.assertEqual("available", volume.status)
        self.check(volume)
        self.assert_trash()


@ddt.ddt
class EraseTest(TrashTestCase):
    """With ``rbd_luks_erase_on_delete``."""

    def setUp(self):
        super().setUp()
        self.option(rbd_luks_erase_on_delete=True,
                    enable_deferred_deletion=True,
                    deferred_deletion_delay=3600)
        #: by name, what opens each image when upstream is to delete it:
        #: what it removes, or moves to the trash, is in that state
        self.seen = {}
        upstream = rbd.RBDDriver.delete_volume

        def look(driver, volume):
            if volume.name in self.images():
                self.seen[volume.name] = self.openers(volume.name)
            upstream(driver, volume)

        self.patch("cinder.volume.drivers.rbd.RBDDriver.delete_volume", look)

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_erased_first(self, provider):
        volume = self.filled(provider)
        self.assertEqual([self.passphrase(volume)],
                         self.openers(volume.name))
        self.delete(volume)
        self.assertEqual({volume.name: []}, self.seen)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_not_erased_while_clones_need_its_header(self, provider):
        volume = self.filled(provider)
        passphrase = self.passphrase(volume)
        first, second = self.clone(volume), self.clone(volume)
        # Its keys are known as long as the test needs them.
        self.backend.delete_volume(self.context, volume)
        self.assertEqual([passphrase], self.seen[volume.name])
        self.assertEqual([passphrase], self.openers(
            f"{volume.name}.deleted"))
        self.delete_clone(first)
        self.assertEqual([], self.seen[first.name])
        self.check(second)
        self.delete_clone(second)
        self.assertEqual([], self.seen[second.name])
        if self.flattens():
            self.assert_images()
            return
        # The snapshots stay, as those of plain volumes do.
        self.assert_images(images={f"{volume.name}.deleted": [
            f"{clone.name}.clone_snap" for clone in (first, second)]})
        self.assert_trash(first, second)

    def delete_clone(self, clone):
        """Delete a clone, whose snapshot is busy while it is in the trash.

        Cinder 21 moves it there, and fails afterwards if clones are of
        Ceph's first format; asked again, it finds no image.
        """
        if not self.flattens():
            self.assertRaises(librbd.bindings().ImageBusy, self.delete, clone)
            clone.refresh()
            self.assertEqual("error_deleting", clone.status)
            self.backend.delete_volume(self.context, clone)
            self.assertRaises(cinder_exception.VolumeNotFound, clone.refresh)
            return
        self.delete(clone)


@ddt.ddt
class DeletionTest(base.DriverTestCase):

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_image_is_gone_already(self, provider):
        volume = self.create(provider)
        with self.pool() as pool:
            pool.remove(volume.name)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_temporary_clone_of_a_backup(self, provider):
        # The bytes that it reads, and the key that the backup has a copy of.
        volume = self.filled(provider)
        temporary = self.driver._create_temp_cloned_volume(
            self.context, volume)
        self.assertIsNone(temporary.encryption_key_id)
        passphrase = self.passphrase(volume)
        self.assertEqual([passphrase], self.openers(temporary.name))
        with self.pool() as pool, pool.open(temporary.name) as image, \
                pool.open(volume.name) as source:
            self.assertEqual(source.size(), image.size())
        self.driver.delete_volume(temporary)
        temporary.destroy()
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)

    def test_temporary_volume_to_revert_from(self):
        # Cinder would copy it as it is, header and all, over a volume.
        volume = self.filled()
        other = self.filled(value=0x61)
        snapshot = self.snapshot(other)
        self.assertRaises(
            cinder_exception.CinderException,
            self.driver._create_temp_volume_from_snapshot, self.context,
            volume, snapshot, volume_options={"display_name": "[revert]"})
        self.check(volume)
        self.assert_images(volume, images={other.name: [snapshot.name]})

    @selection.full
    def test_several_snapshots_and_their_volumes(self):
        volume = self.filled()
        snapshots = [self.snapshot(volume) for _ in range(2)]
        volumes = [self.from_snapshot(snapshot) for snapshot in snapshots]
        if not self.flattens():
            # Each not before its volume.
            for snapshot, made in zip(snapshots, volumes):
                self.assertRaises(cinder_exception.SnapshotIsBusy,
                                  self.delete_snapshot, snapshot)
                self.check(made)
                self.delete(made)
                self.delete_snapshot(snapshot)
            self.check(volume)
            self.delete(volume)
            self.assert_nothing_left()
            return
        self.delete_snapshot(snapshots.pop())
        self.check(volumes[1])
        self.delete(volumes.pop(0))
        self.delete_snapshot(snapshots.pop())
        self.delete(volume)
        self.check(volumes[0], reader.filling(1))
        self.delete(volumes.pop())
        self.assert_nothing_left()
