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

"""Volumes of images, and images of volumes."""

from __future__ import annotations

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.fakes import glance


class ImageTestCase(base.DriverTestCase):
    """Has an image service."""

    def setUp(self):
        super().setUp()
        self.glance = glance.ImageService(self.temp)
        self.patch("cinder.image.glance.get_remote_image_service",
                   side_effect=lambda _context, href: (self.glance, href))

    def rbd_image(self, size, extents):
        """A raw image as Glance keeps it in Ceph; its id."""
        image_id = self.glance.add(virtual_size=size, size=size)
        self.ids.append(image_id)
        with self.pool("images") as pool:
            pool.create(image_id, size).__exit__()
            with pool.open(image_id) as image:
                for extent in extents:
                    image.write(extent.offset,
                                bytes([extent.value]) * extent.length)
                image.create_snapshot("snap")
                image.protect_snapshot("snap")
        self.glance._locations[image_id] = (
            f"rbd://{self.driver._get_fsid()}/images/{image_id}/snap")
        return image_id

    def of_image(self, image_id, provider="luks", size=1, **values):
        """A volume of an image, by way of upstream's flow."""
        return self.build(self.volume(provider, size, **values),
                          image_id=image_id)

    def has_own_header(self, volume):
        """Whether it is a clone with a header of its own."""
        with self.pool() as pool, pool.open(volume.name) as image:
            return flattening.needs_keys(image)

    def upload(self, volume):
        """Upload a volume, with a copy of its key as the API makes it."""
        image_id = self.glance.add(
            cinder_encryption_key_id=self.keys.copy(volume.encryption_key_id))
        self.driver.copy_volume_to_image(
            self.context, volume, self.glance,
            self.glance.show(self.context, image_id))
        return image_id

    def key_of(self, image_id):
        return self.glance.show(self.context, image_id)[
            "cinder_encryption_key_id"]

    def of_encrypted(self, image_id, provider, **values):
        """A volume of such an image, with a copy of its key, likewise."""
        return self.of_image(image_id, provider, key_id=self.keys.copy(
            self.key_of(image_id)), **values)
