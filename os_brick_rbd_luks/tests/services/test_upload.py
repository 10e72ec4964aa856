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

"""Volumes that become images, and images that have been volumes."""

from __future__ import annotations

import ddt
from openstack import exceptions

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import cloning
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests import units


@selection.full
@ddt.ddt
class UploadTest(images.ImageTestCase, cloning.CloneTestCase):
    """The image is larger, no file is made, the key is new.

    Upstream's faults S2, P6 and H3.
    """

    #: The configuration that os-brick writes for librbd.
    largest_file = 4096

    @ddt.data("luks", "luks2")
    def test_there_and_back(self, provider):
        source = self.filled(f"ours-{provider}")
        image = self.uploaded(source)
        # The header is part of it, so it is larger than a GiB.
        self.assertGreater(image.size, units.GIB)

        # That is Cinder's API, before any driver: it rounds up.
        self.assertRaises(exceptions.BadRequestException, self.start,
                          f"ours-{provider}", image_id=image.id)

        volume = self.create(f"ours-{provider}", 2, image_id=image.id)
        # A guest has two whole GiB, and what upstream's would lack.
        self.check(volume, size=2)
        self.disk(volume).write(base.reader.filling(2 * units.GIB, 0x51))
        self.check(volume, base.reader.filling(2 * units.GIB, 0x51), 2)
        # The image's owner knows its key.
        self.assert_own_key(volume, source)
        image_key = image.properties["cinder_encryption_key_id"]
        self.assertFalse(self.disk(
            volume, passphrase=self.passphrase(image_key)).opens())
        self.assertEqual({self.key_id(source), self.key_id(volume),
                          image_key}, self.keys())

    def test_plain_volume(self):
        source = self.filled("ours")
        image = self.uploaded(source)
        volume = self.create("ours-luks2", image_id=image.id)
        self.check(volume)
