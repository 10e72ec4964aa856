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

"""Deletion: what goes with a volume, what is erased, what stands in the way.
"""

from __future__ import annotations

import logging

from cinder import exception as cinder_exception
from cinder.volume.drivers import rbd
import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import still_reachable


@ddt.ddt
class EraseTest(base.DriverTestCase):
    """With ``rbd_luks_erase_on_delete``."""

    def setUp(self):
        super().setUp()
        self.option(rbd_luks_erase_on_delete=True)
        #: what upstream's driver was about to delete, as it was then
        self.deleted = []
        upstream = rbd.RBDDriver.delete_volume

        def look(driver, volume):
            if volume.name in self.ceph.pools["volumes"].contents:
                self.deleted.append(self.content(volume).copy())
            upstream(driver, volume)

        self.patch("cinder.volume.drivers.rbd.RBDDriver.delete_volume", look)

    def areas(self, volume):
        """Offset and bytes of a volume's keyslot areas."""
        content = self.content(volume)
        with images.MemoryImage(content, read_only=True) as image:
            return [(slot.offset, content.read(slot.offset, slot.length))
                    for slot in header_io.read_header(image).keyslots]

    def assert_erased(self, content, areas, passphrase):
        """Neither the passphrase nor an old header opens it any more."""
        self.assertNotEqual([], areas)
        for offset, old in areas:
            new = content.read(offset, len(old))
            same = sum(a == b for a, b in zip(old, new))
            # As many as chance leaves, or all of a hole.
            self.assertLess(same, len(old) / 64, f"area at {offset}")
        with images.MemoryImage(content, read_only=True) as image:
            self.assertRaises(exception.KeyslotNotFound, unlocking.unlock,
                              image, passphrase)

    @ddt.data("luks", "luks2")
    def test_keyslots_are_overwritten_before_it_goes(self, provider):
        volume = self.filled(provider)
        areas, passphrase = self.areas(volume), self.passphrase(volume)
        self.delete(volume)
        found, = self.deleted
        self.assert_erased(found, areas, passphrase)
        self.assert_nothing_left()

    @ddt.data(
        ("no magic", 0, bytes(6)), ("another version", 6, b"\0\7"),
        ("damaged LUKS1", 8, b"\xff"), ("detached", 104, bytes(4)),
        ("another's", 0, b"LABELONE"))
    @ddt.unpack
    def test_header_that_cannot_be_used(self, _name, offset, data):
        """The key is gone already: it is overwritten, and it goes."""
        volume = self.filled("luks")
        areas = self.areas(volume)
        self.content(volume).write(offset, data)
        self.delete(volume)
        found, = self.deleted
        for place, old in areas:
            new = found.read(place, len(old))
            same = sum(a == b for a, b in zip(old, new))
            self.assertLess(same, len(old) / 64, f"area at {place}")
        self.assert_nothing_left()

    def test_not_without_the_option(self):
        self.option(rbd_luks_erase_on_delete=False)
        volume = self.filled()
        areas = self.areas(volume)
        self.delete(volume)
        found, = self.deleted
        for offset, old in areas:
            self.assertEqual(old, found.read(offset, len(old)))

    @ddt.data("luks", "luks2")
    def test_clone_and_its_source(self, provider):
        # The source's header is its clone's snapshot's as well: it stays.
        source = self.filled(provider)
        clone = self.clone(source)
        kept, areas = self.areas(source), self.areas(clone)
        passphrase = self.passphrase(clone)
        self.delete(source)
        self.check(clone)
        content = self.ceph.content(f"volumes/{source.name}.deleted")
        for offset, old in kept:
            self.assertEqual(old, content.read(offset, len(old)))
        self.delete(clone)
        self.assert_erased(self.deleted[-1], areas, passphrase)
        self.assert_nothing_left()

    def warnings(self, volume):
        """What deleting a volume warns of."""
        log = self.useFixture(fixtures.FakeLogger(
            still_reachable.__name__, level=logging.WARNING))
        self.delete(volume)
        return log.output

    @ddt.data("luks", "luks2")
    def test_nothing_has_its_volume_key(self, provider):
        self.assertEqual("", self.warnings(self.filled(provider)))

    def test_source_has_the_volume_key_of_its_clone(self):
        source = self.filled()
        clone = self.clone(source)
        place = (f"volumes/{source.name}", f"{clone.name}.clone_snap")
        self.assertEqual(
            f"{clone.name} is deleted, but its volume key can still be had "
            f"from parent {place[0]} (same volume key); parent {place[0]}@"
            f"{place[1]} (same volume key)\n", self.warnings(clone))

    def test_clone_has_the_volume_key_of_its_source(self):
        """Which is not erased: the clone reads its snapshot."""
        source = self.filled()
        clone = self.clone(source)
        told = self.warnings(source)
        for place in (f"image volumes/{source.name} (same",
                      f"snapshot volumes/{source.name}@{clone.name}."
                      "clone_snap (same",
                      f"clone volumes/{clone.name} (same"):
            self.assertIn(place, told)
        self.check(clone)

    def test_deletion_is_refused(self):
        """It is not told that a volume is deleted that is not."""
        source = self.filled()
        self.clone(source)
        log = self.useFixture(fixtures.FakeLogger(
            still_reachable.__name__, level=logging.WARNING))
        with fixtures.MockPatch(
                "cinder.volume.drivers.rbd.RBDDriver.delete_volume",
                side_effect=cinder_exception.VolumeIsBusy(
                    volume_name=source.name)):
            self.assertRaises(cinder_exception.VolumeIsBusy,
                              self.driver.delete_volume, source)
        self.assertEqual("", log.output)
        self.driver.delete_volume(source)
        self.assertIn("is deleted", log.output)

    def test_mirrored(self):
        volume = self.filled()
        self.ceph.mirrored[f"volumes/{volume.name}"] = {
            "state": 1, "primary": True}
        self.assertIn(f"mirror volumes/{volume.name} (not visible from here",
                      self.warnings(volume))
        self.assert_nothing_left()

    def test_many_places(self):
        volume = self.filled()
        content = self.content(volume)
        content.hidden.extend(("peer", str(number)) for number in range(25))
        self.patch("os_brick_rbd_luks.image.relatives.hidden",
                   lambda image: image.content.hidden)
        told = self.warnings(volume)
        self.assertEqual(20, told.count("not visible from here"))
        self.assertIn("; 5 more", told)

    def test_no_list_of_images(self):
        """However many there are in the pool."""
        volume = self.filled()
        self.ceph.faults["list"] = self.ceph.rbd.Timeout("asked for a list")
        self.delete(volume)
        self.assertIn("list", self.ceph.faults)

    def test_no_header(self):
        volume = self.create()
        self.content(volume).objects.clear()
        self.delete(volume)
        self.assert_nothing_left()

    def test_erasing_fails(self):
        volume = self.filled()

        def check(worked, _name):
            # The driver is asked again: whatever is erased by then. The lock
            # of a write that may be under way yet has ended.
            self.ceph.clock.advance(header_lock.LOCK_DURATION)
            self.driver.delete_volume(volume)
            self.assertNotIn(volume.name, self.images())
            self.assert_keys(volume)
            self.remake(volume)

        self.each_call_fails(lambda: self.driver.delete_volume(volume),
                             check)

    def remake(self, volume):
        self.driver.create_volume(volume)


@ddt.ddt
class BusyTest(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        # A client that was killed counts for longer.
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)

    def hold(self, volume):
        """Let a client elsewhere have it open."""
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]

    def assert_in_trash(self, volume):
        """It is deleted, and its image as it was."""
        self.assert_images()
        (_pool, name, content), = self.ceph.trash.values()
        self.assertEqual(volume.name, name)
        with images.MemoryImage(content, read_only=True) as image:
            self.assertEqual(1, len(header_io.read_header(image).keyslots))

    @ddt.data(False, True)
    def test_key_is_there(self, erase):
        self.option(rbd_luks_erase_on_delete=erase)
        volume = self.filled()
        self.hold(volume)
        self.backend.delete_volume(self.context, volume)
        if not erase and not self.flattens():
            # Upstream deletes it all the same, and destroys nothing.
            self.assertRaises(cinder_exception.VolumeNotFound, volume.refresh)
            self.assert_in_trash(volume)
            return
        volume.refresh()
        self.assertEqual("available", volume.status)
        self.check(volume)

    @ddt.data(False, True)
    def test_key_is_gone(self, erase):
        # Cinder must not offer a volume that no key opens.
        self.option(rbd_luks_erase_on_delete=erase)
        volume = self.filled()
        self.hold(volume)
        if not erase and not self.flattens():
            self.delete(volume)
            self.assert_in_trash(volume)
            self.assert_keys()
            return
        error = self.assertRaises(
            cinder_exception.VolumeBackendAPIException, self.delete, volume)
        self.assertIn("delete it again", str(error))
        volume.refresh()
        self.assertEqual("error_deleting", volume.status)
        self.ceph.watchers.clear()
        self.backend.delete_volume(self.context, volume)
        self.assert_nothing_left()

    def test_client_goes_meanwhile(self):
        volume = self.filled()
        self.hold(volume)
        upstream, tries = rbd.RBDDriver.delete_volume, []

        def delete(driver, record):
            tries.append(record)
            if len(tries) == 1:
                try:
                    return upstream(driver, record)
                finally:
                    self.ceph.watchers.clear()
            return upstream(driver, record)

        self.patch("cinder.volume.drivers.rbd.RBDDriver.delete_volume",
                   delete)
        self.delete(volume)
        self.assertEqual(2 if self.flattens() else 1, len(tries))
        self.assert_nothing_left()


@ddt.ddt
class DeletionTest(base.DriverTestCase):

    def test_image_is_half_removed(self):
        """By a service that was killed: nobody else would complete it."""
        volume = self.filled()
        self.ceph.pools["volumes"].remove_half(volume.name)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data("luks", "luks2")
    def test_image_is_gone_already(self, provider):
        volume = self.create(provider)
        with self.pool() as pool:
            pool.remove(volume.name)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data(True, False)
    def test_half_made_image_goes_with_it(self, complete):
        """A killed service leaves it; Cinder knows the volume only."""
        volume = self.create() if complete else self.volume()
        with self.pool() as pool:
            pool.create(f"rbd-luks-partial.{volume.name}", 1024).__exit__()
        self.delete(volume)
        self.assert_nothing_left()

    def test_half_made_image_that_somebody_has_open(self):
        volume = self.create()
        half = f"rbd-luks-partial.{volume.name}"
        with self.pool() as pool:
            pool.create(half, 1024).__exit__()
        self.ceph.watchers[f"volumes/{half}"] = [
            ceph.Watcher(9, "10.0.0.7:0/9")]
        self.patch("os_brick_rbd_luks.image.evict.WAIT", 0)
        self.delete(volume)
        with self.pool() as pool:
            self.assertEqual([half], pool.images())

    def test_creation_after_a_killed_one(self):
        """Nobody else's volume has its name, so nobody is asked."""
        volume = self.volume()
        with self.pool() as pool:
            pool.create(f"rbd-luks-partial.{volume.name}", 1024).__exit__()
        self.driver.create_volume(volume)
        self.assert_opens(volume)
        with self.pool() as pool:
            self.assertEqual([volume.name], pool.images())

    def test_key_that_a_killed_service_left(self):
        volume = self.filled()
        orphan = self.keys.new()
        with self.pool() as pool, pool.open(volume.name) as image:
            pending_keys.write(image, [orphan, volume.encryption_key_id])
        self.delete(volume)
        self.assert_nothing_left()

    def test_key_of_a_volume_that_a_retype_leaves(self):
        # Of a temporary volume, Cinder's API has not deleted the key.
        volume = self.filled(use_quota=False)
        self.delete(volume)
        self.assert_nothing_left()

    def test_key_that_somebody_else_has(self):
        volume = self.filled(use_quota=False)
        other = self.volume(key_id=volume.encryption_key_id,
                            type_id=volume.volume_type_id)
        self.driver.delete_volume(volume)
        self.assert_keys(other)

    def test_tidying_up_fails(self):
        # The volume is gone, and Cinder has to know that.
        source = self.filled()
        clone = self.clone(source)

        def check(worked, name):
            if worked:
                self.assertNotIn(clone.name, self.images(), name)
                self.remake(clone, source)
            self.check(source)

        self.each_call_fails(lambda: self.driver.delete_volume(clone), check)

    def remake(self, clone, source):
        with self.pool() as pool, pool.open(source.name) as image:
            for snapshot in image.snapshots():
                image.remove_snapshot(snapshot)
        self.keys.delete(clone.encryption_key_id)
        clone.encryption_key_id = self.keys.copy(source.encryption_key_id)
        clone.save()
        self.driver.create_cloned_volume(clone, source)

    @ddt.data("luks", "luks2")
    def test_temporary_clone_of_a_backup(self, provider):
        # The bytes that it reads, and the key that the backup has a copy of.
        volume = self.filled(provider)
        temporary = self.driver._create_temp_cloned_volume(
            self.context, volume)
        self.assertIsNone(temporary.encryption_key_id)
        self.assertEqual([self.passphrase(volume)],
                         self.openers(temporary.name))
        self.assertEqual(self.content(volume).size,
                         self.content(temporary).size)
        self.driver.delete_volume(temporary)
        temporary.destroy()
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)

    def test_temporary_volume_to_revert_from(self):
        # Cinder would copy it as it is, header and all, over a volume.
        volume, other = self.filled(), self.filled(value=b"B")
        snapshot = self.snapshot(other)
        error = self.assertRaises(
            cinder_exception.InvalidVolume,
            self.driver._create_temp_volume_from_snapshot, self.context,
            volume, snapshot, volume_options={"display_name": "[revert]"})
        self.assertIn("one of them is encrypted", str(error))
        self.check(volume)
        self.assert_images(volume, images={other.name: [snapshot.name]})

    def test_temporary_volume_of_a_snapshot(self):
        volume = self.filled()
        snapshot = self.snapshot(volume)
        temporary = self.driver._create_temp_volume_from_snapshot(
            self.context, volume, snapshot)
        self.assertEqual([self.passphrase(volume)],
                         self.openers(temporary.name))
        self.driver.delete_volume(temporary)
        self.assert_images(images={volume.name: [snapshot.name]})
        self.assert_keys(volume)
