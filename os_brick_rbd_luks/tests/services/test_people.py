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


"""What one project has is not shown to another, nor is its key."""

from __future__ import annotations

from os_brick_rbd_luks.tests.services import base


class WallTest(base.IntegrationTestCase):
    """With the default policies of all services."""

    def test_only_its_project_reads_a_volume_s_key(self):
        volume = self.create("ours-luks")
        key_id = self.key_id(volume)
        owner = self.passphrase(key_id)
        path = f"/secrets/{key_id}/payload"
        for name, status in (("user", 200), ("colleague", 200),
                             ("reader", 403), ("other", 403), ("admin", 403),
                             ("service", 403)):
            answer = self.lab.cloud(name).key_manager.get(
                path, headers={"Accept": "application/octet-stream"})
            self.assertEqual(status, answer.status_code, name)
            if status == 200:
                self.assertEqual(owner, base.passphrase_of(answer.content))
