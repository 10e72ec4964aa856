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
"""Cinder's configuration, read by a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.tests import selection

CODE = """
import sys
from os_brick_rbd_luks.cinder_cmd import program
sys.exit(program.main())
"""


@ddt.ddt
class ConfiguringTest(testtools.TestCase):

    def refused(self, text):
        """What the command says to a configuration, which it cannot use.

        :param text: of its file; None: there is none
        """
        path = os.path.join(self.useFixture(fixtures.TempDir()).path,
                            "cinder.conf")
        if text is not None:
            pathlib.Path(path).write_text(text)
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", CODE, "--config-file",
             path, "rotate", "--all"],
            capture_output=True, text=True, timeout=600)
        self.assertEqual((1, ""), (done.returncode, done.stdout), done.stderr)
        self.assertNotIn("s3cret", done.stderr)
        self.assertNotIn("Traceback", done.stderr)
        return done.stderr, path

    @ddt.data(*selection.cases(None, "[DEFAULT\npassword = s3cret",
                               full=("no section = s3cret",)))
    def test_cannot_be_read(self, text):
        said, path = self.refused(text)
        self.assertIn(path, said)
        self.assertIn("Cinder's configuration", said)

    def test_no_backend_of_ours(self):
        said, _path = self.refused(
            "[DEFAULT]\nenabled_backends = one\n"
            "[one]\nvolume_driver = cinder.volume.drivers.lvm."
            "LVMVolumeDriver\n")
        self.assertIn("names no backend whose volume_driver is "
                      "RBDLuksDriver", said)
