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

"""Empty volumes, and volumes of images."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests import units


class EmptyTest(base.IntegrationTestCase):
    """No scan, one size, no file of the passphrase (faults P1, S1, H1)."""

    #: None has been of any use.
    largest_file = 0

    def test_providers(self):
        wanted = [self.start(f"ours-{provider}")
                  for provider in ("luks", "luks2", "class")]
        for volume in wanted:
            self.ready(volume)
            # A guest has a whole GiB, and can write all of it.
            self.disk(volume).write(base.reader.filling())
            self.check(volume)
        self.assertEqual(3, len({self.key_id(volume) for volume in wanted}))
        self.assertEqual({self.key_id(volume) for volume in wanted},
                         self.keys())
        self.assertEqual([], self.files.files)

    @selection.full
    def test_plain_volumes_are_upstreams(self):
        self.check(self.filled("ours"))


@ddt.ddt
class OfImageTest(images.ImageTestCase):
    """All of the image, and no copy of it on the way (faults D1, P2, H2)."""

    @selection.full
    @ddt.data("luks", "luks2")
    def test_raw_in_the_same_cluster(self, provider):
        path = self.raw_file(64 * units.MIB)
        image = self.upload(path)
        volume = self.create(f"ours-{provider}", image_id=image.id)
        self.disk(volume).compare(path)
        self.check(volume, [])
        self.assertEqual([], self.files.files)
        self.assertTrue(volume.is_bootable)

    @ddt.data(*selection.cases("luks", full=("luks2",)))
    def test_raw_in_another_store_is_streamed(self, provider):
        path = self.raw_file(64 * units.MIB)
        image = self.upload(path, store="file")
        volume = self.create(f"ours-{provider}", image_id=image.id)
        self.disk(volume).compare(path)
        self.check(volume, [])
        self.assertEqual([], self.files.files)

    @selection.full
    @ddt.data("luks", "luks2")
    def test_qcow2(self, provider):
        path = self.raw_file(96 * units.MIB)
        image = self.upload(self.qcow2_of(path), "qcow2")
        volume = self.create(f"ours-{provider}", image_id=image.id)
        self.disk(volume).compare(path)
        self.check(volume, [])
        # Of the image itself, as small as it is, and an empty one with which
        # Cinder looks whether there is room.
        large = [file.name for file in self.files.files
                 if file.allocated() > 65536]
        self.assertEqual(1, len(large), large)

    @selection.full
    def test_an_image_as_large_as_the_volume(self):
        path = self.raw_file(units.GIB)
        image = self.upload(path)
        volume = self.create("ours-luks", image_id=image.id)
        # What upstream cuts.
        self.check(volume, base.reader.filling(units.GIB, 0x61))
        self.assertEqual([], self.files.files)
