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


"""Two volume services with one cluster name, over one pool."""

from __future__ import annotations

from os_brick_rbd_luks.tests.services import base


class ClusterTest(base.IntegrationTestCase):
    """Active-active: any of them may be asked for any volume."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.lab.tool, "volumes", "1")
        self.lab.tool("volumes", "2")

    def test_made_by_one_and_deleted_by_the_other(self):
        self.lab.tool("stop", "cinder-volume2")
        volume = self.filled("ours-luks")
        # Only the other is left to do what follows.
        self.lab.tool("stop", "cinder-volume")
        self.lab.tool("start", "cinder-volume2")
        clone = self.create("ours-luks", source_volume_id=volume.id)
        self.check(clone)
        self.delete(clone)
        self.delete(volume)
        self.eventually(self.before, self.state)
