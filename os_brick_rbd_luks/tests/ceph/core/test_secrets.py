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

"""Where a passphrase goes: seen by strace, nowhere but where it came from."""

from __future__ import annotations

import contextlib
import glob
import os
import re
import sys

from os_brick_rbd_luks.tests.ceph.core import base

SECRET = b"nobody-would-guess-this-zebra"
NEW_SECRET = b"nor-would-they-this-quagga"


class SecretsTest(base.FunctionalTestCase):
    """Every command, under strace, with DEBUG logging."""

    def setUp(self):
        super().setUp()
        if base.run("strace", "-V", check=False).returncode:
            self.fail("strace is not installed")
        self.log = os.path.join(self.temp, "debug.log")
        self.image = self.name()
        self.target = f"volumes/{self.image}"

    def traced(self, *arguments, stdin, code=0):
        """Run the command; all that it executed, opened and wrote."""
        trace = os.path.join(self.temp, "trace")
        command = os.path.join(os.path.dirname(sys.executable), "rbd-luks")
        done = base.run(
            "strace", "-f", "-ff", "-v", "-s", "1000000", "-o", trace, "-e",
            "trace=execve,open,openat,creat,write,pwrite64,writev,pwritev,"
            "sendto,sendmsg,memfd_create", command, "-vv", "--debug",
            "--log-file", self.log, *arguments, "--id", "cinder",
            stdin=stdin, env=self.environment(), check=False)
        self.assertEqual(code, done.returncode, done.stderr.decode())
        seen = done.stdout + done.stderr
        for path in glob.glob(trace + "*"):
            with open(path, "rb") as stream:
                seen += stream.read()
            os.unlink(path)
        with open(self.log, "rb") as stream:
            log = stream.read()
        self.assertIn(b"execve", seen)
        self.assertNotEqual(b"", log)
        return seen + log

    def assert_absent(self, seen, *secrets):
        for secret in secrets:
            forms = (secret, secret.hex().encode(),
                     re.sub(rb"(..)", rb"\\x\1", secret.hex().encode()))
            for form in forms:
                self.assertNotIn(form, seen)

    def test_every_command(self):
        one = SECRET + b"\n"
        two = SECRET + b"\n" + NEW_SECRET + b"\n"
        stdin = ("--passphrase-file", "-")
        both = (*stdin, "--new-passphrase-file", "-", "--iterations", "1000")
        saved = os.path.join(self.temp, "saved")
        seen, copy = b"", f"volumes/{self.name()}"
        third, fourth = f"volumes/{self.name()}", f"volumes/{self.name()}"
        upstream, out = self.name(), os.path.join(self.temp, "out")
        self.qemu_create(upstream, "1M", key=SECRET)
        disk = self.file(b"data" * 300000, "disk")
        for arguments, text in (
                (("create", self.target, "--size", "64M", *stdin,
                  "--iterations", "1000"), one),
                (("info", self.target), b""),
                (("audit", "volumes"), b""),
                (("verify", self.target, *stdin), one),
                (("key", "add", self.target, *both), two),
                (("key", "remove", self.target, *stdin), one),
                (("header", "backup", self.target, "--file", saved), b""),
                (("header", "restore", self.target, "--file", saved), b""),
                (("rekey", self.target, *both),
                 NEW_SECRET + b"\n" + SECRET + b"\n"),
                (("format", self.target, "--force", *stdin, "--iterations",
                  "1000"), one),
                (("attach-xml", self.target), b""),
                (("clone", f"{self.target}@s", copy, "--own-key", *both),
                 two),
                (("remove", copy, "--force"), b""),
                (("clone", self.target, third, "--own-key", *both), two),
                (("resize", third, "--size", "96M"), b""),
                (("resize", third, "--size", "64M", "--force"), b""),
                (("remove", third, "--force"), b""),
                (("import", disk, third, *stdin, "--iterations", "1000"),
                 one),
                (("import", disk, third, *stdin, "--existing", "--force"),
                 one),
                (("export", third, out, *stdin), one),
                (("export", third, out, "--force", "--disk-format", "qcow2",
                  *stdin), one),
                (("export", third, out, "--force", "--encrypted"), b""),
                (("reencrypt", third, fourth, *both), two),
                (("remove", fourth, "--force"), b""),
                (("reencrypt", third, fourth, "--plain", *stdin), one),
                (("remove", third, "--force"), b""),
                (("import", f"rbd:{fourth}", third, "--type", "luks2",
                  *stdin, "--iterations", "1000"), one),
                (("remove", third, "--force"), b""),
                (("realign", f"volumes/{upstream}", third), b""),
                (("erase", self.target, "--force"), b""),
                (("format", self.target, "--force", "--type", "luks2",
                  *stdin, "--kdf", "argon2id"), one),
                (("rekey", self.target, *both), two),
                (("header", "backup", self.target, "--file", saved + "2"),
                 b""),
                (("header", "restore", self.target, "--file", saved + "2"),
                 b"")):
            with self.pool.open(self.image) if self.image in (
                    self.pool.images()) else contextlib.nullcontext() as at:
                if arguments[0] == "clone" and "@" in arguments[1]:
                    at.create_snapshot("s")
                elif arguments[0] == "erase":
                    at.remove_snapshot("s")
            seen += self.traced(*arguments, stdin=text)
        self.assert_absent(seen, SECRET, NEW_SECRET)

    def test_a_failure_tells_nothing(self):
        self.traced("create", self.target, "--size", "64M",
                    "--passphrase-file", "-", "--iterations", "1000",
                    stdin=SECRET)
        seen = self.traced("verify", self.target, "--passphrase-file", "-",
                           stdin=NEW_SECRET, code=2)
        self.assert_absent(seen, SECRET, NEW_SECRET)

    def test_the_search_finds_a_passphrase_that_is_there(self):
        """The test of the test: here it is an image's name."""
        seen = self.traced("info", f"volumes/{SECRET.decode()}", stdin=b"",
                           code=4)
        self.assertIn(SECRET, seen)
