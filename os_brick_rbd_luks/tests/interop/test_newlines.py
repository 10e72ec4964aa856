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

"""Who takes a newline at the end of a passphrase for a part of it.

The table of the page "The command" says so; rbd's part is in ceph/core.
"""

from __future__ import annotations

import subprocess

from os_brick_rbd_luks.tests.interop import base

WITH = b"a passphrase\n"
WITHOUT = b"a passphrase"


class CryptsetupTest(base.Cryptsetup):

    def opened(self, *options, stdin=None):
        """Whether cryptsetup opens the volume with what it reads."""
        done = subprocess.run(
            ("cryptsetup", "--batch-mode", "open", "--test-passphrase",
             *options, self.path), input=stdin, capture_output=True,
            timeout=120, env={"PATH": base.PATH, "LC_ALL": "C"})
        self.assertIn(done.returncode, (0, 2), done.stderr)
        return not done.returncode

    def test_file_is_read_as_it_is(self):
        self.create(WITH)
        path = self.file("key", WITH)
        self.assertTrue(self.opened("--key-file", path))
        self.assertTrue(self.opened("--key-file", "-", stdin=WITH))
        self.assertFalse(self.opened(stdin=WITH))

    def test_stdin_is_read_up_to_the_newline(self):
        self.create(WITHOUT)
        path = self.file("key", WITH)
        self.assertTrue(self.opened(stdin=WITH))
        self.assertTrue(self.opened(stdin=WITHOUT))
        self.assertFalse(self.opened("--key-file", path))
        self.assertFalse(self.opened("--key-file", "-", stdin=WITH))


class QemuTest(base.Qemu):

    def test_file_is_read_as_it_is(self):
        self.create(WITH)
        self.assertTrue(self.opens(WITH))
        self.assertFalse(self.opens(WITHOUT))
