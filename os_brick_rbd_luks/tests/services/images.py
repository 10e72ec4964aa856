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

"""Images for Glance: raw and QCOW2, in either of its stores."""

from __future__ import annotations

import itertools
import os

from openstack import exceptions

from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import reader

_NUMBERS = itertools.count()


class ImageTestCase(base.IntegrationTestCase):
    """Makes disks, and uploads them."""

    def raw_file(self, size):
        """A raw disk with data, also in its very last bytes."""
        path = os.path.join(self.temp, f"raw{next(_NUMBERS)}")
        with open(path, "wb") as stream:
            stream.truncate(size)
            for extent in reader.filling(size, 0x61):
                stream.seek(extent.offset)
                stream.write(bytes([extent.value]) * extent.length)
        return path

    def qcow2_of(self, path):
        """The same disk as QCOW2."""
        functional.run("qemu-img", "convert", "-f", "raw", "-O", "qcow2",
                       path, f"{path}.qcow2")
        return f"{path}.qcow2"

    def upload(self, path, disk_format="raw", store="rbd"):
        """An image in a store of Glance; it is deleted with the test."""
        proxy = self.user.image
        image = proxy.create_image(
            os.path.basename(path), disk_format=disk_format,
            container_format="bare", allow_duplicates=True)
        self.addCleanup(self.delete, image)
        with open(path, "rb") as stream:
            answer = proxy.put(
                f"/images/{image.id}/file", data=stream, headers={
                    "Content-Type": "application/octet-stream",
                    "X-Image-Meta-Store": store})
        exceptions.raise_from_response(answer)
        return proxy.get_image(image.id)

    def uploaded(self, volume, **options):
        """The image that Cinder makes of a volume."""
        proxy = self.user.block_storage
        found = proxy.upload_volume_to_image(
            volume, image_name="of a volume", disk_format="raw",
            container_format="bare", **options)
        image = self.user.image.get_image(found["image_id"])
        self.addCleanup(self.delete, image)
        self.ready(volume)
        image = self.user.image.get_image(image.id)
        self.assertEqual("active", image.status)
        return image
