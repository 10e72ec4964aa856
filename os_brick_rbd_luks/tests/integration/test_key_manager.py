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

import ddt
from openstack import exceptions

from os_brick_rbd_luks.tests.integration import test_clone

GIB = test_clone.GIB


@ddt.ddt
class KeyManagerDownTest(test_clone.CloneTestCase):
    """At the API, and later in the volume service."""

    def down(self):
        """Stop the key manager for the rest of the test, or until up()."""
        self.addCleanup(self.up)
        self.lab.tool("stop", "barbican")

    def up(self):
        self.lab.tool("start", "barbican")

    def start_without_keys(self, *arguments, **source):
        """A volume whose key is gone before the volume service sees it."""
        self.lab.tool("stop", "cinder-volume")
        self.addCleanup(self.lab.tool, "start", "cinder-volume")
        volume = self.start(*arguments, **source)
        self.down()
        self.lab.tool("start", "cinder-volume")
        return volume

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
        self.assertRaises(
            exceptions.HttpException, self.user.block_storage.retype_volume,
            volume, "ours-luks2", migration_policy="on-demand")
        self.user.block_storage.extend_volume(volume, 2)
        self.ready(volume)
        self.up()
        self.assertEqual(before, self.state())
        self.check(volume, size=2)

    @ddt.data("luks", "luks2")
    def test_create(self, provider):
        self.failed(self.start_without_keys(f"ours-{provider}"))

    @ddt.data("luks", "luks2")
    def test_clone(self, provider):
        source = self.filled(f"ours-{provider}")
        before = self.state()
        volume = self.start_without_keys(f"ours-{provider}",
                                         source_volume_id=source.id)
        self.failed(volume)
        self.delete(volume)
        self.assertEqual(before, self.state())
        self.check(source)
