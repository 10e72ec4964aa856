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

"""A key is rotated while the volume's server moves to another host."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.servers import two_hosts
from os_brick_rbd_luks.tests.services import commanding


@ddt.ddt
class RotateMovingTest(commanding.Commands, two_hosts.HostsTestCase):

    def rotate(self, volume, *arguments, code=0):
        (row,) = self.run_program(
            "rotate", "-f", "json", "--grace", "0s", "--volume", volume.id,
            *arguments, code=code)
        return row

    @ddt.data(*booting.TYPES)
    def test_passphrase(self, volume_type):
        """The guest goes on there, and starts with the new passphrase."""
        server, volume, before = self.under_way(volume_type)
        former = self.key_id(volume)
        row = self.rotate(volume)
        self.assertEqual(("rotated", former),
                         (row["result"], row["former_key"]), row)
        self.hurry(server)
        self.is_now(server, "ACTIVE")
        self.assertEqual(two_hosts.THERE, self.place(server))
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assertEqual({self.key_id(volume)}, self.keys())
        self.configure()
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)
        self.assert_secrets([], [volume.id])

    def test_volume_key(self):
        """Nova copies no disk meanwhile; nothing has changed."""
        server, volume, before = self.under_way("ours-luks")
        former = self.key_id(volume)
        row = self.rotate(volume, "--deep")
        self.assertEqual("skipped", row["result"], row)
        self.assertIn("being moved", row["reason"])
        self.assertEqual(former, self.key_id(volume))
        self.hurry(server)
        self.is_now(server, "ACTIVE")
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([], [volume.id])

    def hurry(self, server):
        """Let its memory be copied as fast as can be."""
        with self.libvirt(two_hosts.HERE) as connection:
            connection.lookupByUUIDString(server.id).migrateSetMaxSpeed(1024)
