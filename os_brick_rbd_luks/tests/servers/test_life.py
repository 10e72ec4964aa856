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

"""What happens to a host, to its services, and to a server meanwhile."""

from __future__ import annotations

import itertools

import ddt

from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests import units

TYPES = ("ours-luks", "ours-luks2")


@ddt.ddt
class LifeTest(base.ServerTestCase):

    @ddt.data(*TYPES)
    def test_its_owner_s_verbs(self, volume_type):
        server, volume = self.serve(volume_type)
        self.assertEqual([volume.id], self.secrets_of_libvirt())
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        before = self.runs(server)
        self.act(server, "suspend", "SUSPENDED")
        self.act(server, "resume", "ACTIVE")
        self.assertEqual(before.run, self.runs(server).run)

    @ddt.data(*itertools.product(TYPES, ("restart", "reboot")))
    @ddt.unpack
    def test_suspended_while_libvirtd_restarts(self, volume_type, verb):
        """Its memory is there afterwards, also after the host's reboot."""
        server, _volume = self.serve(volume_type)
        before = self.runs(server)
        self.act(server, "suspend", "SUSPENDED")
        self.happens(verb)
        self.assertEqual([], self.secrets_of_libvirt())
        self.act(server, "resume", "ACTIVE")
        after = self.runs(server)
        self.assertEqual(before.run, after.run)
        self.assertGreater(after.tick, before.tick)

    @ddt.data(*TYPES)
    def test_rescued_while_libvirtd_restarts(self, volume_type):
        server, _volume = self.serve(volume_type)
        self.act(server, "rescue", "RESCUE")
        self.happens("restart")
        self.act(server, "unrescue", "ACTIVE")
        self.runs(server)

    @ddt.data(*TYPES)
    def test_libvirtd_restarts(self, volume_type):
        """Also once more before the owner's hard reboot."""
        server, _volume = self.serve(volume_type)
        before = self.runs(server)
        self.happens("restart")
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.assertNotEqual(before.run, self.runs(server).run)

    @ddt.data(*TYPES)
    def test_host_reboots_with_secrets_in_memory(self, volume_type):
        """Its owner has to start it, and is told so."""
        server, _volume = self.serve(volume_type)
        self.happens("reboot")
        self.is_now(server, "ERROR")
        self.assertIn("key", self.fault(server))
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)

    @ddt.data(*TYPES)
    def test_host_reboots_with_secrets_on_disk(self, volume_type):
        """Servers start by themselves, as with an unmodified Nova."""
        self.configure(libvirt_secrets="persistent")
        self.check_starts_by_itself(volume_type)

    @ddt.data(*TYPES)
    def test_extended_while_it_runs(self, volume_type):
        server, volume = self.serve(volume_type)
        self.user.block_storage.extend_volume(volume, 2)
        self.runs(server, 2 * units.GIB)


@ddt.ddt
class AwayTest(base.ServerTestCase):
    """Services that do not answer."""

    @ddt.data(*TYPES)
    def test_barbican_is_down(self, volume_type):
        server, _volume = self.serve(volume_type)
        back = self.stopped("barbican")
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        self.runs(server)
        back()

    @ddt.data(*TYPES)
    def test_cinder_is_down(self, volume_type):
        server, _volume = self.serve(volume_type)
        back = self.stopped("cinder-api")
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        self.runs(server)
        back()


@ddt.ddt
class OperatorTest(base.ServerTestCase):
    """An administrator, who may read nobody's keys."""

    @ddt.data(*TYPES)
    def test_hard_reboot(self, volume_type):
        server, _volume = self.serve(volume_type)
        self.act(server, "reboot", "ACTIVE", self.admin)
        self.runs(server)

    @ddt.data(*TYPES)
    def test_hard_reboot_after_libvirtd_restarted(self, volume_type):
        """It runs on, for it could not be started; its owner can do it."""
        server, _volume = self.serve(volume_type)
        before = self.runs(server)
        self.happens("restart")
        self.act(server, "reboot", "ACTIVE", self.admin)
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)

    @ddt.data("luks", "luks2")
    def test_migration(self, provider):
        """Of the attached volume, whose key he may not read."""
        server, volume = self.serve(self.make_type(
            "either", provider, volume_backend_name="<or> ours <or> ours2"))
        before = self.runs(server)
        there = next(each["host"] for name, each
                     in self.lab.about["backends"].items()
                     if name.startswith("ours")
                     and each["host"] != self.host(volume))
        self.admin.block_storage.migrate_volume(
            volume, host=there, force_host_copy=False)
        if provider == "luks2" and not self.plugs_luks2():
            # The server runs on, and the action says why.
            self.assertEqual("error", self.moved(volume))
            self.assertEqual(before.run, self.runs(server).run)
            self.assertIn("librbd decrypts (LUKS2)", self.error_of(
                server, "swap_volume"))
            return
        self.assertEqual("success", self.moved(volume))
        self.assertEqual(before.run, self.runs(server).run)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assertEqual([volume.id], self.secrets_of_libvirt())


@ddt.ddt
class ServiceUserTest(base.ServerTestCase):
    """Cinder lets Nova's user read the keys, and Nova asks as that one."""

    def setUp(self):
        super().setUp()
        self.let_read(self.admin.identity.find_user("nova").id)
        self.configure(key_access_by_service_user="true")

    @ddt.data(*TYPES)
    def test_host_reboots(self, volume_type):
        """No passphrase is on its disk, and servers start by themselves."""
        self.check_starts_by_itself(volume_type)

    @ddt.data(*TYPES)
    def test_hard_reboot_by_an_administrator(self, volume_type):
        server, _volume = self.serve(volume_type)
        self.happens("restart")
        self.act(server, "reboot", "ACTIVE", self.admin)
        self.runs(server)
