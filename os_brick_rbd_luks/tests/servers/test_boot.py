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

"""Servers that boot from an encrypted volume, and what becomes of it."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.servers import console


@ddt.ddt
class BootTest(booting.BootTestCase):

    @ddt.data(*booting.TYPES)
    def test_volume_of_an_image(self, volume_type):
        """The volume is there before the server, and after it."""
        volume = self.create(volume_type, image_id=self.bootable(
            self.data).id)
        self.key_id(volume)
        server = self.boot(block_device_mapping=[{
            "boot_index": 0, "source_type": "volume", "uuid": volume.id,
            "destination_type": "volume", "delete_on_termination": False}])
        before = self.runs_with(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        self.runs_with(server)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.remove(server)
        self.assertEqual([], self.secrets_of_libvirt())
        self.ready(volume)
        self.check(volume, [])

    @ddt.data(*booting.TYPES)
    def test_made_and_deleted_with_the_server(self, volume_type):
        server, volume = self.start_of_image(volume_type)
        self.assertEqual([volume.id], self.secrets_of_libvirt())
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)

    @ddt.data(*booting.TYPES)
    def test_image_of_the_server(self, volume_type):
        """Its snapshot becomes a copy-on-write clone with a key of its own."""
        server, volume = self.start_of_image(volume_type)
        before = self.runs_with(server)
        image = self.image_of(server)
        self.assertEqual(before.run, self.runs_with(server).run)
        other = self.boot(image_id=image.id)
        self.runs_with(other)
        # What the clone's guest first found there, the other had written.
        self.assertIn(before.run, self.ticks(other)[0].old)
        clone = self.volume_of(other)
        self.assertNotEqual(self.passphrase(self.key_id(volume)),
                            self.passphrase(self.key_id(clone)))
        self.assertEqual(sorted([volume.id, clone.id]),
                         self.secrets_of_libvirt())
        self.remove(other)
        self.delete(clone)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    def image_of(self, server):
        """Glance's image that names snapshots; all of it goes with the test.
        """
        image = self.compute.create_server_image(server, "of a server")
        self.is_now(server, "ACTIVE")
        self.addCleanup(self.delete, image)
        for snapshot in self.user.block_storage.snapshots():
            self.addCleanup(self.delete, snapshot)
            self.ready(snapshot)
        return image

    @ddt.data(*booting.TYPES)
    def test_rebuilt(self, volume_type):
        """Its volume gets another image, and what was there is gone."""
        server, volume = self.start_of_image(volume_type)
        other = os.urandom(console.DATA)
        before = self.runs_with(server)
        self.act(server, "rebuild", "ACTIVE", image=self.bootable(other))
        after = self.runs_with(server, other)
        self.assertNotEqual(before.run, after.run)
        self.assertEqual(volume.id, self.volume_of(server).id)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    @ddt.data(*booting.TYPES)
    def test_shelved(self, volume_type):
        """Meanwhile no host has anything of it."""
        server, volume = self.start_of_image(volume_type)
        before = self.runs_with(server)
        self.act(server, "shelve", "SHELVED_OFFLOADED")
        self.assertEqual([], self.secrets_of_libvirt())
        self.act(server, "unshelve", "ACTIVE")
        self.runs_with(server)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    @ddt.data(*booting.TYPES)
    def test_host_reboots_while_it_is_shelved(self, volume_type):
        server, volume = self.start_of_image(volume_type)
        self.act(server, "shelve", "SHELVED_OFFLOADED")
        self.happens("reboot")
        self.act(server, "unshelve", "ACTIVE")
        self.runs_with(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())
