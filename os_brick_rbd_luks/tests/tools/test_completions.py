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

"""``tools/completions``: what the command has is what can be completed.

That shells complete it is tried where they are: ``debian/tests``.
"""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import fixtures
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.cmd import plugins
from os_brick_rbd_luks.tests import selection

TOOL = (pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
        / "tools/completions")
START = "import sys; from os_brick_rbd_luks.cmd import main; " \
        "sys.exit(main.main())"


@selection.full
class CompletionsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        subprocess.run([TOOL, self.folder, sys.executable, "-c", START],
                       check=True, timeout=60)

    def test_both_have_each_command(self):
        for name in ("rbd-luks", "_rbd-luks"):
            text = (self.folder / name).read_text()
            options = dict(re.findall(r"cmds_(\w+)='([^']*)'", text))
            for command, _point in plugins.Commands("rbd_luks.cli"):
                found = options[command.replace(" ", "_").replace("-", "_")]
                self.assertIn("--conf", found.split(), (name, command))

    def test_bash_reads_its_own(self):
        subprocess.run(["bash", "-n", self.folder / "rbd-luks"], check=True,
                       timeout=60)

    def test_files_follow_an_option(self):
        self.assertIn("\ncomplete -o default -F _rbd_luks rbd-luks\n",
                      (self.folder / "rbd-luks").read_text())

    def test_zsh_loads_it_for_the_command(self):
        first = (self.folder / "_rbd-luks").read_text().split("\n")[0]
        self.assertEqual("#compdef rbd-luks", first)
