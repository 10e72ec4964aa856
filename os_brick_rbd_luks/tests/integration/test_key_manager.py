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

"""The key manager does not answer: an error, and nothing that is left."""

from __future__ import annotations

import contextlib

import ddt
from openstack import exceptions

from os_brick_rbd_luks.tests.integration import images
from os_brick_rbd_luks.tests.integration import test_clone
from os_brick_rbd_luks.tests.integration import test_move

GIB = test_clone.GIB


@ddt.ddt
class KeyManagerDownTest(images.ImageTestCase, test_clone.CloneTestCase,
                         test_move.MoveTestCase):
    """At the API, and later in the volume service."""

    #: An image that is no more than is uploaded here.
    largest_file = 4 * images.MIB

    def down(self):
        """Stop the key manager for the rest of the test, or until up()."""
        self.addCleanup(self.up)
        self.lab.tool("stop", "barbican")

    def up(self):
        self.lab.tool("start", "barbican")

    @contextlib.contextmanager
    def down_after_the_api(self):
        """What the API takes meanwhile, the volume service does without keys.
        """
        self.lab.tool("stop", "cinder-volume")
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        yield
        self.down()
        self.lab.tool("start", "cinder-volume")

    def start_without_keys(self, *arguments, **source):
        """A volume whose key is gone before the volume service sees it."""
        with self.down_after_the_api():
            return self.start(*arguments, **source)

    def failed(self, volume):
        """Wait for the error, and remove what there is of the volume."""
        self.ready(volume, "error")
        self.up()

    def test_api(self):
        volume = self.filled("ours-luks")
        before = self.state()
        self.down()
        for source in ({}, {"source_volume_id": volume.id}):
            self.assertRaises(exceptions.HttpException, self.start,
                              "ours-luks", **source)
        self.user.block_storage.extend_volume(volume, 2)
        self.ready(volume)
        self.up()
        self.assertEqual(before, self.state())
        self.check(volume, size=2)

    def test_deletion_at_the_api(self):
        """Its key has to be deleted first, and cannot be."""
        volume = self.filled("ours-luks")
        self.down()
        self.assertRaises(exceptions.HttpException,
                          self.user.block_storage.delete_volume, volume)
        self.up()
        # Which Cinder leaves to the operator.
        self.assertEqual("error_deleting", self.about(volume)["status"])
        self.admin.block_storage.reset_volume_status(
            volume, "available", "detached", "none")
        self.check(volume)

    @ddt.data("luks", "luks2")
    def test_create(self, provider):
        self.failed(self.start_without_keys(f"ours-{provider}"))

    @ddt.data("raw", "qcow2")
    def test_of_an_image(self, disk_format):
        path = self.raw_file(2 * images.MIB)
        if disk_format == "qcow2":
            path = self.qcow2_of(path)
        image = self.upload(path, disk_format)
        self.failed(self.start_without_keys("ours-luks2", image_id=image.id))

    def failed_copy(self, source, **origin):
        """A volume of another's data fails, and that one stays as it is."""
        before = self.state()
        volume_type = self.about(source)["volume_type"]
        volume = self.start_without_keys(volume_type, **origin)
        self.failed(volume)
        self.delete(volume)
        self.eventually(before, self.state)
        self.check(source)

    @ddt.data("luks", "luks2")
    def test_clone(self, provider):
        source = self.filled(f"ours-{provider}")
        self.failed_copy(source, source_volume_id=source.id)

    @ddt.data("luks", "luks2")
    def test_volume_of_a_snapshot(self, provider):
        source = self.filled(f"ours-{provider}")
        self.failed_copy(source, snapshot_id=self.snapshot(source).id)

    @ddt.data("ours-luks2", "ours2-luks2", "ours")
    def test_retype(self, volume_type):
        volume = self.filled("ours-luks")
        before = self.state()
        with self.down_after_the_api():
            self.user.block_storage.retype_volume(
                volume, volume_type, migration_policy="on-demand")
        self.settled(volume)
        self.up()
        self.assertEqual("ours-luks", self.about(volume)["volume_type"])
        self.check(volume)
        self.eventually(before, self.state)
