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

"""Volumes of images from Glance that are not encrypted."""

from __future__ import annotations

import os

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import images
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = 32 * units.MIB


@ddt.ddt
class DownloadTest(image_base.ImageTestCase):

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_d1_image_as_large_as_the_volume(self, provider):
        extents = images.spread(units.GIB)
        image_id = self.glance.add(images.raw(units.GIB, extents))
        volume = self.of_image(image_id, provider)
        self.check(volume, extents)
        self.assertEqual([image_id], self.glance.downloads)
        self.assert_images(volume)
        self.assert_keys(volume)

    @ddt.data(*base.PROVIDERS)
    def test_p2_raw_image_is_not_stored_here(self, provider):
        extents = images.spread(SIZE)
        image_id = self.glance.add(images.raw(SIZE, extents))
        self.patch("cinder.image.image_utils.temporary_file",
                   side_effect=AssertionError("a temporary file"))
        volume = self.of_image(image_id, provider)
        self.check(volume, extents)
        self.assertTrue(volume.bootable)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data(*selection.cases(
        ("qcow2", "luks"), full=[("qcow2", "luks2"), ("vmdk", "luks")]))
    @ddt.unpack
    def test_image_of_another_format(self, disk_format, provider):
        extents = images.spread(SIZE)
        image_id = self.glance.add(
            images.converted(SIZE, extents, disk_format), disk_format)
        volume = self.of_image(image_id, provider)
        self.check(volume, extents)
        self.assert_images(volume)
        self.assert_keys(volume)
        self.assertEqual([image_id], self.glance.downloads)

    @selection.full
    def test_image_larger_than_the_volume(self):
        for disk_format in ("raw", "qcow2"):
            image_id = self.glance.add(images.converted(
                units.GIB + units.MIB, [], disk_format), disk_format)
            volume = self.volume()
            self.assertRaises(
                cinder_exception.CinderException, self.build, volume,
                image_id=image_id)
            volume.refresh()
            self.delete(volume)
            self.assert_nothing_left()

    def test_image_with_a_backing_file(self):
        def make(path):
            functional.run("qemu-img", "create", "-q", "-f", "qcow2", "-b",
                           "/etc/passwd", "-F", "raw", path, "32M")

        image_id = self.glance.add(make, "qcow2")
        volume = self.create()
        error = self.assertRaises(
            cinder_exception.ImageUnacceptable,
            self.driver.copy_image_to_encrypted_volume,
            self.context, volume, self.glance, image_id)
        # What oslo.utils' inspector says of it, or an old Cinder's own.
        self.assertRegex(str(error), "backing_file|safety check")
        self.assertRaises(
            cinder_exception.CinderException, self.build, self.volume(),
            image_id=image_id)

    @ddt.data(*selection.cases("breaks_after", full=["fails_after"]))
    def test_download_ends_early(self, how):
        image_id = self.glance.add(images.raw(SIZE, images.spread(SIZE)))
        setattr(self.glance, how, SIZE // 2)
        volume = self.volume()
        self.assertRaises(cinder_exception.CinderException, self.build,
                          volume, image_id=image_id)
        volume.refresh()
        self.assertEqual("error", volume.status)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_reimage(self, provider):
        volume = self.filled(provider)
        key_id = volume.encryption_key_id
        extents = images.spread(SIZE)
        for disk_format in ("raw", "qcow2"):
            image_id = self.glance.add(images.converted(
                SIZE, extents, disk_format), disk_format)
            self.driver.copy_image_to_encrypted_volume(
                self.context, volume, self.glance, image_id,
                disable_sparse=True)
            self.check(volume, extents)
            self.assertEqual(key_id, volume.encryption_key_id)
        # Nothing of what it had before is left.
        with self.assertRaisesRegex(AssertionError, "verification failed"):
            self.disk(volume).check(units.GIB, reader.filling(1)[1:])

    def test_reimage_of_a_volume_in_use(self):
        volume = self.filled()
        image_id = self.glance.add(images.raw(SIZE, []))
        with self.pool() as pool, pool.open(volume.name):
            self.assertRaises(
                cinder_exception.CinderException,
                self.driver.copy_image_to_encrypted_volume,
                self.context, volume, self.glance, image_id)
        self.check(volume)

    @selection.full
    def test_signed_image_is_verified(self):
        # Cinder checks the signature of the file that it downloads first.
        verify = self.patch("cinder.image.image_utils."
                            "verify_glance_image_signature",
                            return_value=True)
        extents = images.spread(SIZE)
        image_id = self.glance.add(
            images.raw(SIZE, extents), properties={"img_signature": "s"})
        volume = self.of_image(image_id)
        self.assertEqual(1, verify.call_count)
        self.check(volume, extents)
        self.assertEqual([image_id], self.glance.downloads)


@ddt.ddt
class CephImageTest(image_base.ImageTestCase):
    """Of images that are in the volumes' own cluster."""

    @ddt.data("luks", "luks2")
    def test_d1_not_downloaded(self, provider):
        extents = images.spread(units.GIB)
        volume = self.of_image(self.rbd_image(units.GIB, extents), provider)
        self.assertEqual([], self.glance.downloads)
        self.check(volume, extents)
        self.assertEqual(
            provider == "luks2" and hasattr(
                librbd.bindings().Image, "encryption_load2"),
            self.has_own_header(volume))
        self.assert_keys(volume)
        self.delete(volume)
        self.assertEqual({}, self.images())
        self.assert_keys()

    def test_copied_if_clones_are_off(self):
        self.option(rbd_luks_clone_images=False)
        extents = images.spread(SIZE)
        volume = self.of_image(self.rbd_image(SIZE, extents), "luks2")
        self.assertEqual([], self.glance.downloads)
        self.check(volume, extents)
        self.assertFalse(self.has_own_header(volume))
        self.assert_images(volume)

    @selection.full
    def test_image_of_another_cluster(self):
        extents = images.spread(SIZE)
        image_id = self.glance.add(images.raw(SIZE, extents))
        self.glance._locations[image_id] = (
            f"rbd://{os.urandom(16).hex()}/images/{image_id}/snap")
        volume = self.of_image(image_id)
        self.assertEqual([image_id], self.glance.downloads)
        self.check(volume, extents)
