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

"""A server gets another flavor, or another host, and is started anew there."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.servers import two_hosts


@ddt.ddt
class ResizeTest(two_hosts.HostsTestCase):
    """Its owner gives a server another flavor: it is started anew there."""

    def resize(self, server, to):
        self.let_have_servers(to)
        self.compute.resize_server(server, self.flavor(ram=208))
        self.is_now(server, "VERIFY_RESIZE")
        self.assertEqual(to, self.place(server))
        self.let_have_servers(two_hosts.HERE, two_hosts.THERE)

    def check_confirms(self, server, before):
        """It has what the run before has written, and goes on to run."""
        self.runs_with(server)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.compute.confirm_server_resize(server)
        self.is_now(server, "ACTIVE")
        self.runs_with(server)

    @ddt.data(*booting.TYPES)
    def test_here_and_confirmed(self, volume_type):
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.resize(server, two_hosts.HERE)
        self.check_confirms(server, before)
        self.assert_secrets([volume.id], [])
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)

    @ddt.data(*booting.TYPES)
    def test_there_and_confirmed(self, volume_type):
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.resize(server, two_hosts.THERE)
        self.check_confirms(server, before)
        self.assert_secrets([], [volume.id])

    @ddt.data(*booting.TYPES)
    def test_there_and_reverted(self, volume_type):
        """What the guest has written there meanwhile is on the volume."""
        server, volume = self.start_here(volume_type)
        self.resize(server, two_hosts.THERE)
        before = self.runs_with(server)
        self.check_reverts(server, volume)
        self.assertIn(before.run, self.ticks(server)[0].old)

    @ddt.data(*booting.TYPES)
    def test_libvirtd_restarts_before_it_is_reverted(self, volume_type):
        server, volume = self.start_here(volume_type)
        self.resize(server, two_hosts.THERE)
        self.happens("restart", two_hosts.THERE)
        self.happens("restart", two_hosts.HERE)
        self.check_reverts(server, volume)

    @ddt.data(*booting.TYPES)
    def test_host_reboots_before_it_is_reverted(self, volume_type):
        self.configure(libvirt_secrets="persistent")
        server, volume = self.start_here(volume_type)
        self.resize(server, two_hosts.THERE)
        self.happens("reboot", two_hosts.THERE)
        # It has that status already before the reboot.
        self.runs_with(server)
        self.is_now(server, "VERIFY_RESIZE")
        self.check_reverts(server, volume)

    def check_reverts(self, server, volume):
        """It goes back, and starts there."""
        self.compute.revert_server_resize(server)
        self.is_now(server, "ACTIVE")
        self.runs_with(server)
        self.assertEqual(two_hosts.HERE, self.place(server))
        self.assert_secrets([volume.id], [])

    @ddt.data(*booting.TYPES)
    def test_host_reboots_without_secrets(self, volume_type):
        """What Nova does with a server that its host cannot start."""
        server, volume = self.start_here(volume_type)
        self.resize(server, two_hosts.THERE)
        self.happens("reboot", two_hosts.THERE)
        self.is_now(server, "ERROR")
        self.assertIn("key", self.fault(server))
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)
        self.assert_secrets([], [volume.id])

    @ddt.data(*booting.TYPES)
    def test_with_an_attached_volume(self, volume_type):
        self.let_have_servers(two_hosts.HERE)
        server, volume = self.serve(volume_type)
        before = self.runs(server)
        self.resize(server, two_hosts.THERE)
        self.runs(server)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.compute.confirm_server_resize(server)
        self.is_now(server, "ACTIVE")
        self.assert_secrets([], [volume.id])
