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

"""LUKS1 that librbd decrypts in real services."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.servers import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class EngineTest(base.ServerTestCase):
    """What one engine has written, the other reads as the same bytes."""

    def engine(self, server):
        """What libvirt was told of a guest's disk."""
        return "librbd" if "engine='librbd'" in self.definition(
            server) else "qemu"

    @ddt.data("librbd", "auto")
    def test_powered_on(self, option):
        volume = self.filled("ours-luks")
        server = self.serve_with(volume)
        self.assertEqual("qemu", self.engine(server))
        self.configure(luks1_engine=option)
        before = self.runs(server)
        self.act(server, "reboot", "ACTIVE")
        self.runs(server)
        self.assertEqual("librbd", self.engine(server))
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.user.block_storage.extend_volume(volume, 2)
        self.runs(server, 2 * units.GIB)
        self.happens("restart")
        self.act(server, "stop", "SHUTOFF")
        self.act(server, "start", "ACTIVE")
        before = self.runs(server, 2 * units.GIB)
        self.assertEqual("librbd", self.engine(server))
        self.configure(luks1_engine="qemu")
        self.act(server, "reboot", "ACTIVE")
        self.assertEqual("qemu", self.engine(server))
        self.runs(server, 2 * units.GIB)
        self.assertIn(before.run, self.ticks(server)[0].old)
        self.detach(server, volume)
        self.check(volume, size=2)
