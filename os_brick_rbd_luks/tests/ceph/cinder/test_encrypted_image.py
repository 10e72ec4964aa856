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

"""Encrypted volumes as images, and volumes of such images."""

from __future__ import annotations

import os

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


@ddt.ddt
class UploadTest(image_base.ImageTestCase):

    @ddt.data("luks", "luks2")
    def test_what_is_sent_opens_again(self, provider):
        source = self.filled(provider)
        image_id = self.upload(source)
        self.check(source)
        self.assert_keys(source, self.key_of(image_id))
        # All that Glance takes: LUKS1, of whatever volume.
        path = self.glance.path(image_id)
        with open(path, "rb") as stream:
            self.assertEqual(b"LUKS\xba\xbe\0\1", stream.read(8))
        self.assertEqual(units.GIB + 4 * units.MIB, os.path.getsize(path))
        volume = self.of_encrypted(image_id, provider)
        self.check(volume)
        self.assert_images(source, volume)
        # Whoever owns the image does not know the passphrase (fault H3).
        self.assertNotEqual(self.passphrase(source), self.passphrase(volume))
        self.assert_keys(source, self.key_of(image_id), volume)
        self.delete(volume)
        self.assert_images(source)
        self.assert_keys(source, self.key_of(image_id))

    @selection.full
    def test_of_a_clone(self):
        source = self.filled()
        clone = self.clone(source)
        image_id = self.upload(clone)
        volume = self.of_encrypted(image_id, "luks", size=2)
        self.check(volume, reader.filling(1))
        self.assertNotEqual(self.passphrase(clone), self.passphrase(volume))

    def test_image_of_luks1_for_a_type_of_luks2(self):
        source = self.filled("luks")
        volume = self.of_encrypted(self.upload(source), "luks2")
        self.assertTrue(self.is_luks2(volume))
        self.check(volume)


@ddt.ddt
class ReimageTest(image_base.ImageTestCase):

    def assert_refused(self, image_id):
        """A volume stays as it was; the volume."""
        volume = self.filled(value=0x61)
        self.assertRaises(
            cinder_exception.CinderException,
            self.driver.copy_image_to_volume,
            self.context, volume, self.glance, image_id)
        self.check(volume, reader.filling(1, 0x61))
        return volume

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_d6_reimage_from_an_encrypted_image(self, provider):
        image_id = self.upload(self.filled(provider))
        volume = self.filled(provider, value=0x61)
        key_id = volume.encryption_key_id
        self.driver.copy_image_to_volume(
            self.context, volume, self.glance, image_id, disable_sparse=True)
        self.check(volume)
        self.assertEqual(key_id, volume.encryption_key_id)
        self.assertTrue(self.key_of(image_id) in self.keys.left())
        self.delete(volume)
        self.assertNotIn(volume.name, self.images())

    def test_d6_reimage_from_one_whose_key_is_gone(self):
        image_id = self.upload(self.filled())
        self.keys.delete(self.key_of(image_id))
        self.assert_refused(image_id)

    def test_image_larger_than_the_volume(self):
        source = self.filled(size=2)
        image_id = self.upload(source)
        volume = self.assert_refused(image_id)
        self.assert_images(source, volume)

    @selection.full
    def test_download_ends_early(self):
        image_id = self.upload(self.filled())
        self.glance.breaks_after = 0
        volume = self.assert_refused(image_id)
        # As it is with a plain image: what came is not kept.
        self.glance.breaks_after = 512 * units.MIB
        self.assertRaises(
            cinder_exception.CinderException,
            self.driver.copy_image_to_volume,
            self.context, volume, self.glance, image_id)
        self.check(volume, [])
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertFalse(image.has_data(16 * units.MIB))


class MadeElsewhereTest(image_base.ImageTestCase):
    """Of an image with the layout of upstream's driver."""

    def test_s2_fits_a_volume_of_the_same_size(self):
        key_id = self.keys.new()
        image_id = self.glance.add(cinder_encryption_key_id=key_id)
        path = self.glance.path(image_id)
        base.make_like_upstream(path, units.GIB, self.keys.passphrase(key_id),
                                reader.filling(1))
        self.glance.set(image_id, size=os.path.getsize(path))
        volume = self.of_encrypted(image_id, "luks")
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume, key_id)
