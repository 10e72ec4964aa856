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

"""A libvirtd that no other test has."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile

import fixtures

from os_brick_rbd_luks.tests.ceph.core import base

TOOL = pathlib.Path(__file__).parents[4] / "tools/libvirt"


class Libvirt(fixtures.Fixture):
    """Starts it, and ends it with its guests."""

    def _setUp(self):
        # The path of a socket cannot be long.
        private = tempfile.mkdtemp(prefix="lv", dir="/tmp")
        self.addCleanup(shutil.rmtree, private, ignore_errors=True)
        #: as RBD_LUKS_TEST_LIBVIRT has it
        self.folder = os.path.join(private, "v")
        self.addCleanup(self._tool, "down")
        self.up()

    def up(self):
        """Start it, again if it has died."""
        self._tool("up")

    def _tool(self, verb):
        base.run(str(TOOL), verb, self.folder)
