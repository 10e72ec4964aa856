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

"""Copy-on-write clones of plain images, with a header of their own: Ceph 18.

They read what was never written from the image, as plain as it is there, and
only their own passphrases can flatten them.
"""

from __future__ import annotations

import os

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import images
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import session


@selection.needs("layers")
class OwnHeaderTest(image_base.ImageTestCase):

    def setUp(self):
        super().setUp()
        self.extents = images.spread(units.GIB)
        self.image_id = self.rbd_image(units.GIB, self.extents)
        self.source = self.of_image(self.image_id, "luks2")
        self.assertTrue(self.has_own_header(self.source))
        self.check(self.source, self.extents)

    def bases(self):
        """Names of the padded bases."""
        return [name for name in self.images() if name.startswith(
            "rbd-luks-base")]

    def test_gone_with_the_last_clone(self):
        other = self.of_image(self.image_id, "luks2", size=2)
        self.check(other, self.extents)
        self.assertEqual(1, len(self.bases()))
        self.delete(other)
        self.assertEqual(1, len(self.bases()))
        self.check(self.source, self.extents)
        self.delete(self.source)
        self.assert_nothing_left()
        # The image is as it was, and nothing holds it.
        self.assertEqual({self.image_id: ["snap"]}, self.images("images"))
        with self.pool("images") as pool, pool.open(self.image_id) as image:
            self.assertEqual(0, image.children("snap"))

    def test_gone_when_the_trash_is_purged(self):
        images, looking = rbd_pool.Pool.images, leftovers.Leftovers()
        self.patch("os_brick_rbd_luks.image.rbd_pool.Pool.images",
                   lambda pool: [name for name in images(pool)
                                 if self.is_ours(name)])
        with self.pool() as pool:
            rbd, ioctx = librbd.bindings().RBD(), pool._ioctx
            with pool.open(self.source.name) as image:
                image_id = base.image_id(image)
            rbd.trash_move(ioctx, self.source.name)
            self.delete(self.source)
            for _time in range(2):
                with session.Session(self.driver) as here:
                    looking.remove(here)
            self.assertEqual(1, len(self.bases()))
            rbd.trash_remove(ioctx, image_id)
        with session.Session(self.driver) as here:
            looking.remove(here)
        self.assert_nothing_left()

    def test_clone(self):
        clone = self.clone(self.source)
        self.check(clone, self.extents)
        third = self.clone(clone, size=2)
        self.check(third, self.extents)
        self.check(self.source, self.extents)
        for volume in (third, self.source, clone):
            self.delete(volume)
        self.assert_nothing_left()

    def test_source_of_a_clone_is_deleted_first(self):
        clone = self.clone(self.source)
        self.delete(self.source)
        self.check(clone, self.extents)
        self.delete(clone)
        self.assert_nothing_left()

    def test_flattened_at_the_greatest_depth(self):
        clone = self.clone(self.source)
        self.option(rbd_max_clone_depth=1)
        third = self.clone(clone)
        self.check(third, self.extents)
        self.check(clone, self.extents)
        with self.pool() as pool, pool.open(third.name) as image:
            self.assertIsNone(image.parent())
        for volume in (clone, self.source):
            self.delete(volume)
        self.check(third, self.extents)
        self.delete(third)
        self.assert_nothing_left()

    def test_copied_if_clones_are_off(self):
        self.option(rbd_max_clone_depth=0)
        copy = self.clone(self.source)
        self.check(copy, self.extents)
        self.delete(self.source)
        self.check(copy, self.extents)

    def test_temporary_clone_of_a_backup(self):
        for depth in (5, 0):
            self.option(rbd_max_clone_depth=depth)
            temporary = self.driver._create_temp_cloned_volume(
                self.context, self.source)
            # Not a copy as it is, which would be of no use to anybody.
            with self.pool() as pool, pool.open(temporary.name) as image:
                self.assertIsNotNone(image.parent())
            self.driver.delete_volume(temporary)
            temporary.destroy()
        self.assertEqual([], self.images()[self.source.name])
        self.check(self.source, self.extents)

    def test_rekeyed_clone_of_a_clone_and_its_snapshot(self):
        second = self.clone(self.source)
        snapshot = self.snapshot(second)
        self.option(rbd_flatten_volume_from_snapshot=True)
        volume = self.from_snapshot(snapshot)
        self.check(volume, self.extents)
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertIsNone(image.parent())

    def test_snapshot_is_deleted_before_its_volume(self):
        # Upstream's flatten would copy the image's data as it is.
        snapshot = self.snapshot(self.source)
        volume = self.from_snapshot(snapshot)
        self.check(volume, self.extents)
        self.delete_snapshot(snapshot)
        self.check(volume, self.extents)
        self.check(self.source, self.extents)
        self.delete(self.source)
        self.check(volume, self.extents)
        self.delete(volume)
        self.assert_nothing_left()

    def test_flattened_from_a_snapshot(self):
        self.option(rbd_flatten_volume_from_snapshot=True)
        snapshot = self.snapshot(self.source)
        volume = self.from_snapshot(snapshot, size=2)
        self.check(volume, self.extents)
        self.delete_snapshot(snapshot)
        self.delete(self.source)
        self.assert_images(volume)
        self.check(volume, self.extents)
        self.assert_keys(volume)

    def test_extend_and_write(self):
        self.extend(self.source, 2)
        self.check(self.source, self.extents)
        self.disk(self.source).write(reader.filling(2))
        self.check(self.source, [*reader.filling(2), *self.extents[1:2]])

    def test_revert(self):
        snapshot = self.snapshot(self.source)
        self.disk(self.source).write(reader.filling(1))
        self.driver.revert_to_snapshot(self.context, self.source, snapshot)
        self.check(self.source, self.extents)

    def test_upload(self):
        image_id = self.upload(self.source)
        # What was sent is a copy of its own; the volume stays as it is.
        self.assertTrue(self.has_own_header(self.source))
        self.check(self.source, self.extents)
        self.assertEqual(units.GIB + 4 * units.MIB, os.path.getsize(
            self.glance.path(image_id)))
        volume = self.of_encrypted(image_id, "luks2")
        self.check(volume, self.extents)

    def test_reimage(self):
        extents = images.spread(units.MIB * 32, 0x71)
        image_id = self.glance.add(images.raw(units.MIB * 32, extents))
        self.driver.copy_image_to_encrypted_volume(
            self.context, self.source, self.glance, image_id)
        self.check(self.source, extents)
        self.assertEqual([], self.bases())

    def test_transfer(self):
        self.driver.accept_transfer(self.context, self.source, "u", "p")
        self.source.status = "reserved"
        self.source.save()
        old = self.passphrase(self.source)
        self.driver.initialize_connection(self.source, {"host": "here"})
        self.source.refresh()
        self.assertNotEqual(old, self.passphrase(self.source))
        self.check(self.source, self.extents)
