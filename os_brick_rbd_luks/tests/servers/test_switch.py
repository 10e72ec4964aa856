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

"""A compute host leaves the unmodified nova-compute, and goes back to it."""

from __future__ import annotations

from os_brick_rbd_luks.tests.servers import base


class SwitchTest(base.ServerTestCase):

    def switch(self, to):
        self.lab.tool("compute", to)
        self.lab.tell()

    def test_there_and_back(self):
        """A server runs on all along, and starts with either."""
        self.addCleanup(self.switch, "ours")
        self.switch("upstream")
        server, volume = self.serve("ours-luks")
        before = self.runs(server)
        self.switch("ours")
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        before = self.runs(server)
        self.switch("upstream")
        self.assertEqual(before.run, self.runs(server).run)
        # Upstream's goes on with the secret that it finds.
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())

    def test_secret_that_went_is_made_again(self):
        """Back with upstream's, after our secret has gone with libvirtd."""
        self.addCleanup(self.switch, "ours")
        server, volume = self.serve("ours-luks")
        self.switch("upstream")
        self.happens("restart")
        self.assertEqual([], self.secrets_of_libvirt())
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())
