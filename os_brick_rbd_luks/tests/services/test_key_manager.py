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

from openstack import exceptions

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import cloning
from os_brick_rbd_luks.tests.services import images
from os_brick_rbd_luks.tests import units


@selection.full
class KeyManagerDownTest(images.ImageTestCase, cloning.CloneTestCase):
    """At the API, and later in the volume service."""

    #: An image that is no more than is uploaded here.
    largest_file = 4 * units.MIB

    def setUp(self):
        super().setUp()
        #: What volumes are made of.
        self.sources = []

    def down(self):
        """Stop the key manager for the rest of the test, or until up()."""
        self.addCleanup(self.up)
        self.lab.tool("stop", "barbican")

    def up(self):
        self.lab.tool("start", "barbican")

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

    def test_volume_service(self):
        """It gets to all that the API took before when the keys are gone."""
        made_of = [source for provider in ("luks", "luks2")
                   for source in self.origins(provider)]
        volumes = {target: self.filled("ours-luks") for target in (
            "ours-luks2", "ours2-luks2", "ours")}
        before = self.state()

        self.lab.tool("stop", "cinder-volume")
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        failing = [self.start(volume_type, **origin)
                   for volume_type, origin in made_of]
        for target, volume in volumes.items():
            self.user.block_storage.retype_volume(
                volume, target, migration_policy="on-demand")
        self.down()
        self.lab.tool("start", "cinder-volume")
        for volume in failing:
            self.ready(volume, "error")
        for volume in volumes.values():
            self.settled(volume)

        self.up()
        for volume in failing:
            self.delete(volume)
        self.eventually(before, self.state)
        for volume in volumes.values():
            self.assertEqual("ours-luks", self.about(volume)["volume_type"])
            self.check(volume)
        for source in self.sources:
            self.check(source)

    def origins(self, provider):
        """Types of volumes, and what Cinder is to make them of."""
        volume_type = f"ours-{provider}"
        source = self.filled(volume_type)
        self.sources.append(source)
        path = self.raw_file(2 * units.MIB)
        yield volume_type, {}
        yield volume_type, {"source_volume_id": source.id}
        yield volume_type, {"snapshot_id": self.snapshot(source).id}
        yield volume_type, {"image_id": self.upload(path).id}
        yield volume_type, {"image_id": self.upload(
            self.qcow2_of(path), "qcow2").id}
