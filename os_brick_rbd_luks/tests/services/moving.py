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

"""Volumes to move, and how they arrive."""

from __future__ import annotations

from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests import units


class MoveTestCase(base.IntegrationTestCase):
    """Moves volumes, and looks for keys that are left over."""

    #: No file of a volume; Cinder's own generic copy goes through handles.
    largest_file = units.MIB

    def retype(self, volume, volume_type, policy="on-demand"):
        """Change a volume's type, and wait for it."""
        self.user.block_storage.retype_volume(
            volume, volume_type, migration_policy=policy)
        self.settled(volume)
        self.assertEqual(volume_type, self.about(volume)["volume_type"],
                         self.messages(volume))

    def migrate(self, volume, backend, force_host_copy=False):
        """Move a volume to another backend, and wait for it."""
        # Only a copy by the host needs the key, as a new image has a header.
        self.lab.operator("user").block_storage.migrate_volume(
            volume, host=self.lab.host(backend),
            force_host_copy=force_host_copy)
        self.assertEqual("success", self.settled(
            volume, ("success", "error")))
        self.assertEqual(self.lab.about["backends"][backend]["pool"],
                         self.pool(volume))

    def assert_only_key(self, volume):
        """A volume's key is the only one there is, if it has one."""
        key_id = self.key_id(volume)
        self.eventually({key_id} if key_id else set(), self.keys)
