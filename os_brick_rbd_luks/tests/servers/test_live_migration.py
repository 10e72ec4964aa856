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

"""A server that writes goes from one compute host to another."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.servers import two_hosts
from os_brick_rbd_luks.tests import units


@ddt.ddt
class LiveTest(two_hosts.HostsTestCase):
    """An administrator moves a server that writes."""

    @ddt.data(*booting.TYPES)
    def test_there_and_back(self, volume_type):
        """The same run of the guest all along; it starts anew there."""
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.moved(server, two_hosts.THERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([], [volume.id])
        self.act(server, "reboot", "ACTIVE")
        before = self.runs_with(server)
        self.moved(server, two_hosts.HERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([volume.id], [])

    @ddt.data(*booting.TYPES)
    def test_with_an_attached_volume(self, volume_type):
        """Its own disk is copied, the volume is not."""
        self.let_have_servers(two_hosts.HERE)
        server, volume = self.serve(volume_type)
        self.let_have_servers(two_hosts.HERE, two_hosts.THERE)
        before = self.runs(server)
        self.moved(server, two_hosts.THERE)
        after = self.runs(server)
        self.assertEqual(before.run, after.run)
        self.assertGreater(after.tick, before.tick)
        self.assert_secrets([], [volume.id])

    @ddt.data(*booting.TYPES)
    def test_by_whom_the_key_is_refused(self, volume_type):
        """The server runs on where it is, and the action says why."""
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.assertNotEqual("completed", self.move(
            server, two_hosts.THERE, self.admin))
        self.assert_stayed(server, volume, before)
        self.assertIn("a role in that project",
                      self.error_of(server, "live-migration"))

    @ddt.data(*booting.TYPES)
    def test_extended_there(self, volume_type):
        self.let_have_servers(two_hosts.HERE)
        server, volume = self.serve(volume_type)
        self.let_have_servers(two_hosts.HERE, two_hosts.THERE)
        self.moved(server, two_hosts.THERE)
        self.user.block_storage.extend_volume(volume, 2)
        self.runs(server, 2 * units.GIB)

    @ddt.data(*booting.TYPES)
    def test_libvirtd_restarts_there_afterwards(self, volume_type):
        server, volume = self.start_here(volume_type)
        self.moved(server, two_hosts.THERE)
        before = self.runs_with(server)
        self.happens("restart", two_hosts.THERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)
        self.assert_secrets([], [volume.id])

    @ddt.data(*booting.TYPES)
    def test_destination_reboots_meanwhile(self, volume_type):
        """The guest runs on where it was, and can go there afterwards."""
        server, volume, before = self.under_way(volume_type)
        self.happens("reboot", two_hosts.THERE)
        self.is_taken_back(server)
        self.assert_stayed(server, volume, before)
        self.configure()
        self.moved(server, two_hosts.THERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([], [volume.id])

    @ddt.data(*booting.TYPES)
    def test_cancelled(self, volume_type):
        server, volume, before = self.under_way(volume_type)
        running, = self.operator.compute.server_migrations(server)
        self.operator.compute.abort_server_migration(running, server)
        self.is_taken_back(server)
        self.assert_stayed(server, volume, before)


@ddt.ddt
class ServiceUserTest(two_hosts.HostsTestCase):
    """Nova's own user may read the keys; whoever asks need not."""

    def setUp(self):
        super().setUp()
        self.let_read(self.admin.identity.find_user("nova").id)
        self.configure(key_access_by_service_user="true")

    @ddt.data(*booting.TYPES)
    def test_administrator(self, volume_type):
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.moved(server, two_hosts.THERE, self.admin)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([], [volume.id])


class MixedTest(two_hosts.HostsTestCase):
    """One of the two hosts has an unmodified nova-compute."""

    def setUp(self):
        super().setUp()
        self.addCleanup(self.switch, "ours")
        self.switch("upstream")

    def switch(self, to):
        self.lab.tool("compute", to, "--host", two_hosts.THERE)

    def test_there_and_back(self):
        server, volume = self.start_here("ours-luks")
        before = self.runs_with(server)
        self.moved(server, two_hosts.THERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([], [volume.id])
        self.moved(server, two_hosts.HERE)
        self.assertEqual(before.run, self.runs_with(server).run)
        self.assert_secrets([volume.id], [])
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)

    def test_luks2(self):
        """It stays where it can be read."""
        server, volume = self.start_here("ours-luks2")
        before = self.runs_with(server)
        self.assertNotEqual("completed", self.move(server, two_hosts.THERE))
        self.is_now(server, "ACTIVE")
        self.assertEqual(two_hosts.HERE, self.place(server))
        self.assertEqual(before.run, self.runs_with(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs_with(server)
        self.assert_secrets([volume.id], [])
