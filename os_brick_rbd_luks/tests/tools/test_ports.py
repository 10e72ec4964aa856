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

"""No two servers of a laboratory seek their ports in the same place."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import itertools
import pathlib
import sys

import fixtures
import testtools

import os_brick_rbd_luks

TOOLS = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent / "tools"

#: The kernel's for clients begin here (``ip_local_port_range``).
CLIENTS = 32768


class PortsTest(testtools.TestCase):

    def load(self, path):
        loader = importlib.machinery.SourceFileLoader("ports_of", str(path))
        module = importlib.util.module_from_spec(
            importlib.util.spec_from_loader("ports_of", loader))
        loader.exec_module(module)
        return module

    def test_ranges(self):
        """A service notes its port long before it listens there.

        A cluster that started meanwhile would take it: its daemons use any of
        a block.
        """
        self.useFixture(fixtures.MonkeyPatch(
            "sys.path", [str(TOOLS), *sys.path]))
        # A script that is loaded leaves nothing beside it.
        self.useFixture(fixtures.MonkeyPatch("sys.dont_write_bytecode", True))
        services = self.load(TOOLS / "lab/web.py").PORTS
        blocks = self.load(TOOLS / "ceph-cluster").PORTS
        clusters = range(blocks.start, blocks.stop)
        self.assertEqual(set(), {*services} & {*clusters})
        self.assertLess(max(itertools.chain(services, clusters)), CLIENTS)
