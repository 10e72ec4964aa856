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
"""A volume gets another volume key while a server writes to it."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests.services import commanding


@ddt.ddt
class RotateTest(commanding.Commands, base.ServerTestCase):

    def volume_key(self, volume):
        """What encrypts it, and the UUID of its header."""
        with self.image(volume) as image:
            return (unlocking.unlock(image, self.passphrase(
                self.key_id(volume))).volume_key,
                header_io.read_header(image).uuid)

    def rotate(self, *arguments, code=0):
        """Give all volumes of the project another volume key; the rows."""
        return self.run_program(
            "rotate", "-f", "json", "--grace", "0s", "--deep", *arguments,
            code=code)

    def test_deep(self):
        """Nobody may read the key but its owner, and who gives the command.

        The host's secret has the former passphrase then, until its owner has
        the server start anew. The second time the volume has an image of
        another name.
        """
        volume = self.filled("ours-luks")
        server = self.serve_with(volume)
        self.rotated(server, volume)
        before, run = self.volume_key(volume), self.runs(server).run
        self.rotate("--volume", volume.id, code=1)
        self.assertIn("rbd_luks_key_readers",
                      self.error_of(server, "swap_volume"))
        self.assertEqual(before, self.volume_key(volume))
        self.assertEqual(run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.assertIn(run, self.runs(server).old)
        self.rotated(server, volume)
        self.happens("restart")
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        self.runs(server)
        self.detach(server, volume)
        self.check(volume)

    def rotated(self, server, volume):
        """Let a volume have another volume key; its guest runs on."""
        before, key_id = self.volume_key(volume), self.key_id(volume)
        run = self.runs(server).run
        (row,) = self.rotate("--volume", volume.id)
        self.assertEqual(("rotated", key_id),
                         (row["result"], row["former_key"]), row)
        self.assertEqual(run, self.runs(server).run)
        self.assertEqual("in-use", self.about(volume)["status"])
        self.assertEqual({self.key_id(volume)}, self.keys())
        for one, other in zip(before, self.volume_key(volume)):
            self.assertNotEqual(one, other)

    def test_luks2(self):
        """What a libvirt cannot do, the row says; nothing has changed."""
        volume = self.filled("ours-luks2")
        server = self.serve_with(volume)
        run, before = self.runs(server).run, self.volume_key(volume)
        if self.plugs_luks2():
            (row,) = self.rotate("--volume", volume.id)
            self.assertEqual("rotated", row["result"], row)
            self.assertNotEqual(before, self.volume_key(volume))
        else:
            (row,) = self.rotate("--volume", volume.id, code=1)
            self.assertIn(server.id, row["reason"])
            self.assertIn("librbd decrypts (LUKS2)",
                          self.error_of(server, "swap_volume"))
            self.assertEqual(before, self.volume_key(volume))
        self.assertEqual(run, self.runs(server).run)
        self.detach(server, volume)
        self.check(volume)

    def test_stopped_server(self):
        """Nova refuses it, in its own words."""
        server, volume = self.serve("ours-luks")
        before = self.volume_key(volume)
        self.act(server, "stop", "SHUTOFF")
        (row,) = self.rotate("--volume", volume.id)
        self.assertEqual("skipped", row["result"])
        self.assertIn("swap_volume", row["reason"])
        self.assertEqual(before, self.volume_key(volume))
        self.act(server, "start", "ACTIVE")
        self.runs(server)
