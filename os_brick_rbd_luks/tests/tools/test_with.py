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

"""``tools/with``: no server stays behind."""

from __future__ import annotations

import pathlib
import shutil
import subprocess

import fixtures
import testtools

import os_brick_rbd_luks

TOOLS = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent / "tools"


class WithTest(testtools.TestCase):
    """The servers are scripts that write what they are told."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (self.folder / "tools").mkdir()
        shutil.copy(TOOLS / "with", self.folder / "tools/with")
        for name in ("key-manager", "libvirt"):
            self.server(name)

    def server(self, name, failing="nothing"):
        path = self.folder / "tools" / name
        path.write_text(f"#!/bin/sh\necho {name} $1 >>told\n"
                        f"[ $1 != {failing} ]\n")
        path.chmod(0o755)

    def run_with(self, *command):
        """Run a command with two servers; its exit status, and what they
        were told.
        """
        done = subprocess.run(
            ["tools/with", "keys,libvirt", *command], cwd=self.folder,
            capture_output=True, timeout=60)
        return done.returncode, (self.folder / "told").read_text().split("\n")

    def test_passes(self):
        self.assertEqual(
            (0, ["key-manager up", "libvirt up", "libvirt down",
                 "key-manager down", ""]), self.run_with("true"))

    def test_status_of_the_command(self):
        status, told = self.run_with("sh", "-c", "exit 5")
        self.assertEqual((5, "key-manager down"), (status, told[-2]))

    def test_one_does_not_start(self):
        self.server("libvirt", failing="up")
        status, told = self.run_with("touch", "never")
        self.assertEqual(1, status)
        self.assertEqual(["libvirt down", "key-manager down", ""], told[2:])
        self.assertFalse((self.folder / "never").exists())

    def test_one_does_not_stop(self):
        self.server("libvirt", failing="down")
        status, told = self.run_with("true")
        self.assertEqual((1, "key-manager down"), (status, told[-2]))

    def test_signal(self):
        """The servers are stopped when the command has ended."""
        status, told = self.run_with("sh", "-c", "kill -TERM $PPID")
        self.assertEqual((143, ["libvirt down", "key-manager down", ""]),
                         (status, told[2:]))
