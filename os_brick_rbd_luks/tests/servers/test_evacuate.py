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

"""The host of a server is gone, and the server is started on another one."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import booting
from os_brick_rbd_luks.tests.servers import two_hosts
from os_brick_rbd_luks.tests import waiting


@ddt.ddt
class EvacuateTest(two_hosts.HostsTestCase):

    def lose_host(self):
        """Its power is cut, and the operator makes sure that it stays off."""
        self.addCleanup(self.bring_back)
        self.lab.tool("host", "off", "--host", two_hosts.HERE)
        self.assertTrue(self.force_down(True))

    def force_down(self, is_down):
        """Tell Nova so; whether it takes that."""
        service, = (each for each in
                    self.admin.compute.services(binary="nova-compute")
                    if each.host == two_hosts.HERE)
        return self.admin.compute.put(f"/os-services/{service.id}",
                                      json={"forced_down": is_down}).ok

    def bring_back(self):
        self.lab.tool("host", "reboot", "--host", two_hosts.HERE)
        # Nova waits until the host has removed what was taken from it.
        waiting.until(lambda: self.force_down(False),
                      "Nova to take a host back")
        self.is_in_service(two_hosts.HERE)

    @ddt.data(*booting.TYPES)
    def test_by_who_may_read_the_key(self, volume_type):
        """When the host is back, nothing of the server is left there."""
        server, volume = self.start_here(volume_type)
        before = self.runs_with(server)
        self.lose_host()
        self.act(server, "evacuate", "ACTIVE", self.operator)
        self.assertEqual(two_hosts.THERE, self.place(server))
        self.runs_with(server)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.bring_back()
        self.assert_secrets([], [volume.id])
        self.runs_with(server)

    @ddt.data(*booting.TYPES)
    def test_by_whom_the_key_is_refused(self, volume_type):
        """It says what helps, and can be asked for again."""
        server, volume = self.start_here(volume_type)
        self.lose_host()
        self.admin.compute.evacuate_server(server)
        self.is_now(server, "ERROR")
        self.assertIn("a role in that project", self.fault(server))
        self.assertEqual([], self.secrets_of_libvirt(two_hosts.THERE))
        self.act(server, "evacuate", "ACTIVE", self.operator)
        self.runs_with(server)
        self.bring_back()
        self.assert_secrets([], [volume.id])
