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

"""Volumes of images, and images of volumes, with Glance in memory."""

from __future__ import annotations

import json
import os
import pathlib

from cinder import exception as cinder_exception

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.fakes import cinder_ceph
from os_brick_rbd_luks.tests.fakes import files
from os_brick_rbd_luks.tests.fakes import glance
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units

SIZE = 8 * units.MIB

#: What an image of SIZE bytes has in it.
DATA = {0: b"first" * 100, SIZE - 4096: b"last" * 1024}


class ImageTestCase(base.DriverTestCase):
    """Has an image service, and a qemu-img that copies nothing."""

    def setUp(self):
        super().setUp()
        self.glance = glance.ImageService(self.temp)
        self.patch("cinder.image.glance.get_remote_image_service",
                   side_effect=lambda _context, href: (self.glance, href))
        self.qemu = self.useFixture(programs.QemuImg())
        self.is_a("raw")

    def is_a(self, file_format):
        """Let qemu-img say what the file is that Cinder has downloaded."""
        self.qemu.plan("info", stdout=json.dumps({
            "virtual-size": SIZE, "format": file_format,
            "format-specific": {"type": file_format, "data": {}}}))

    def qcow2(self, **header):
        """An image that QEMU has to read; its id."""
        self.is_a("qcow2")
        return self.glance.add(lambda path: pathlib.Path(path).write_bytes(
            files.qcow2(**header)), "qcow2")

    def raw(self, written=DATA, size=SIZE, **meta):
        """A raw image in a file; its id."""
        def make(path):
            with open(path, "wb") as stream:
                stream.truncate(size)
                for offset, value in written.items():
                    stream.seek(offset)
                    stream.write(value)

        return self.glance.add(make, **meta)

    def in_ceph(self, size=SIZE, written=DATA, fsid=cinder_ceph.FSID):
        """A raw image as Glance keeps it in Ceph; its id."""
        return self.put_in_ceph(self.raw(written, size), written, fsid)

    def put_in_ceph(self, image_id, written, fsid=cinder_ceph.FSID):
        """Let Ceph have an image that is a file, too; its id.

        :param written: bytes by offset, without what is zeros
        """
        self.ids.append(image_id)
        with self.pool("images") as pool:
            pool.create(image_id, os.path.getsize(
                self.glance.path(image_id))).__exit__()
            with pool.open(image_id) as image:
                for offset, value in written.items():
                    image.write(offset, value)
                image.create_snapshot("snap")
                image.protect_snapshot("snap")
        self.glance._locations[image_id] = (
            f"rbd://{fsid}/images/{image_id}/snap")
        return image_id

    def encrypted(self, provider="luks", size=SIZE, key_id=None,
                  written=DATA, in_ceph=False):
        """An image as Cinder uploads an encrypted volume; its id."""
        key_id = key_id or self.keys.new()
        store = stores.MemoryStore()
        options = formatting.Options(type={"luks": "luks1"}.get(
            provider, provider))
        creating.create(store, "i", size, self.keys.passphrase(key_id),
                        options)
        with store.open("i") as image:
            view = plaintext.Plaintext(image, unlocking.unlock(
                image, self.keys.passphrase(key_id)))
            for offset, value in written.items():
                view.write(offset, value)
        content = store.contents["i"]

        def make(path):
            with open(path, "wb") as stream:
                stream.write(content.whole())

        image_id = self.glance.add(make, cinder_encryption_key_id=key_id)
        if in_ceph:
            self.put_in_ceph(image_id, {0: content.whole()})
        return image_id

    def key_of(self, image_id):
        return self.glance.show(self.context, image_id)[
            "cinder_encryption_key_id"]

    def of_image(self, image_id, provider="luks", size=1, **values):
        """A volume of an image, by way of upstream's flow."""
        return self.build(self.volume(provider, size, **values),
                          image_id=image_id)

    def refused(self, image_id, error=cinder_exception.CinderException,
                **values):
        """No volume is made of an image; what was said."""
        volume = self.volume(**values)
        found = self.assertRaises(error, self.build, volume,
                                  image_id=image_id)
        volume.refresh()
        self.assertEqual("error", volume.status)
        self.delete(volume)
        self.assert_nothing_is_open()
        return str(found)

    def fill(self, volume, image_id):
        self.driver.copy_image_to_encrypted_volume(
            self.context, volume, self.glance, image_id, disable_sparse=True)
