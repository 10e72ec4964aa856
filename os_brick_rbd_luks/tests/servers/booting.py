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

"""Servers that boot from an encrypted volume: the guest says what is on it."""

from __future__ import annotations

import os

from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests.servers import console
from os_brick_rbd_luks.tests import units

TYPES = ("ours-luks", "ours-luks2")


class BootTestCase(base.ServerTestCase):

    #: What an image has, Nova's or Cinder's temporary file may have as well.
    largest_file = 2 * console.DATA

    def setUp(self):
        super().setUp()
        self.data = os.urandom(console.DATA)

    def boot_of_image(self, volume_type, image):
        """A server whose volume Nova has Cinder make, and delete."""
        server = self.boot(block_device_mapping=[{
            "boot_index": 0, "source_type": "image", "uuid": image.id,
            "destination_type": "volume", "volume_size": 1,
            "volume_type": volume_type, "delete_on_termination": True}])
        self.runs_with(server)
        return server, self.volume_of(server)

    def start_of_image(self, volume_type):
        return self.boot_of_image(volume_type, self.bootable(self.data))

    def volume_of(self, server):
        """The only one that it has; its key is met."""
        found, = self.compute.volume_attachments(server)
        volume = self.user.block_storage.get_volume(found.volume_id)
        self.key_id(volume)
        return volume

    def runs_with(self, server, data=None, old="wrote"):
        """Wait until it runs with what an image had, and reads its own."""
        wanted = console.checksum(data or self.data)
        return self.says(
            server, "a guest that reads its volume",
            lambda tick: tick.size == units.GIB and tick.data == wanted
            and tick.old.startswith(old))
