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

"""The owner of a server gives its attached volume another type.

Cinder has Nova move the guest, in the name of a user of its own.
"""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import base


@ddt.ddt
class RetypeTest(base.ServerTestCase):

    def retype(self, volume, volume_type):
        """Ask for it; what Cinder says of the migration in the end."""
        self.user.block_storage.retype_volume(
            volume, volume_type, migration_policy="on-demand")
        return self.moved(volume)

    def assert_secrets_of(self, volume):
        """By the id of the image as well, which a definition may name."""
        image = self.image_name(volume).partition("-")[2]
        self.assertNotEqual(volume.id, image)
        self.assertEqual(sorted([volume.id, image]),
                         self.secrets_of_libvirt())

    def readers(self):
        """Let the user of Cinder who asks for the move read the keys."""
        self.let_read(self.admin.identity.find_user("nova").id)

    def test_key_stays(self):
        """Where the encryption is the same, Cinder makes no other key."""
        server, volume = self.serve("ours-luks")
        before, key_id = self.runs(server), self.key_id(volume)
        self.assertEqual("success", self.retype(volume, "ours2-luks"))
        self.assertEqual("ours2-luks", self.about(volume)["volume_type"])
        self.assertEqual(key_id, self.key_id(volume))
        self.assertEqual(before.run, self.runs(server).run)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    @ddt.data("ours-luks", "ours-luks2")
    def test_key_is_refused_to_cinder(self, volume_type):
        """Nothing has changed, and the action says what helps."""
        server, volume = self.serve(volume_type)
        before = self.runs(server)
        self.assertNotEqual("success", self.retype(volume, "ours2-class"))
        self.assertIn("rbd_luks_key_readers",
                      self.error_of(server, "swap_volume"))
        self.assertEqual(volume_type, self.about(volume)["volume_type"])
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    @ddt.data("ours-luks", "ours-luks2")
    def test_key_is_shown_to_cinder(self, volume_type):
        """The guest is moved, and starts anew after a restart of libvirtd."""
        self.readers()
        server, volume = self.serve(volume_type)
        before, key_id = self.runs(server), self.key_id(volume)
        self.retype(volume, "ours2-class")
        self.assertEqual("ours2-class", self.about(volume)["volume_type"],
                         self.messages(volume))
        self.assertNotEqual(key_id, self.key_id(volume))
        self.assertEqual(before.run, self.runs(server).run)
        self.happens("restart")
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assert_secrets_of(volume)

    @ddt.data("ours", "ours-luks")
    def test_to_luks2(self, volume_type):
        """What a libvirt cannot do, it says, and nothing has changed."""
        self.readers()
        server, volume = self.serve(volume_type)
        before = self.runs(server)
        self.retype(volume, "ours2-luks2")
        if self.plugs_luks2():
            self.assertEqual("ours2-luks2",
                             self.about(volume)["volume_type"])
            return
        self.assertEqual(volume_type, self.about(volume)["volume_type"])
        self.assertIn("librbd decrypts (LUKS2)",
                      self.error_of(server, "swap_volume"))
        self.assertEqual(before.run, self.runs(server).run)

    @ddt.data(("ours", "ours2-luks"), ("ours-luks", "ours2"),
              ("ours-luks2", "ours2"))
    @ddt.unpack
    def test_encrypted_or_not(self, before, after):
        self.readers()
        server, volume = self.serve(before)
        run = self.runs(server).run
        self.retype(volume, after)
        self.assertEqual(after, self.about(volume)["volume_type"],
                         self.messages(volume))
        self.assertEqual(run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        if "luks" in after:
            self.assert_secrets_of(volume)
        else:
            self.assertEqual([], self.secrets_of_libvirt())
