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

    def complete(self, *words):
        """What bash completes after these words, and what it complains of.

        Words are found by a function of bash-completion, which may not be
        here; its way for words without colons is this.
        """
        done = subprocess.run(
            ["bash", "-c", """
                . "$1"
                shift
                all=("$@")
                _get_comp_words_by_ref() {
                    words=("${all[@]}")
                    cur=${words[-1]}
                }
                _rbd_luks
                printf '%s\\n' "${COMPREPLY[@]}"
             """, "bash", self.folder / "rbd-luks", "rbd-luks", *words],
            cwd=self.folder, capture_output=True, text=True, timeout=60)
        self.assertEqual("", done.stderr)
        return done.stdout.split()

    def test_options_follow_a_target(self):
        self.assertEqual(["--format"],
                         self.complete("info", "volumes/v1", "--form"))

    def test_nothing_of_the_line_is_run(self):
        self.complete("info", "a[$(touch${IFS}run)]", "--form")
        self.assertEqual([], list(self.folder.glob("run*")))

    def test_files_follow_an_option(self):
        self.assertIn("_rbd-luks",
                      self.complete("info", "--passphrase-file", "_rbd"))

    def test_zsh_loads_it_for_the_command(self):
        first = (self.folder / "_rbd-luks").read_text().split("\n")[0]
        self.assertEqual("#compdef rbd-luks", first)
