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

import glob
import os
import re
import sys

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SECRET = b"nobody-would-guess-this-zebra"
NEW_SECRET = b"nor-would-they-this-quagga"

ONE = SECRET + b"\n"
TWO = ONE + NEW_SECRET + b"\n"
_ONE = "--passphrase-file -"
_BOTH = f"{_ONE} --new-passphrase-file - --iterations 1000"

#: Command lines, and what they read: of each kind of work one, and all others.
QUICK = (
    (f"create {{new}} --size 64M {_ONE} --iterations 1000", ONE),
    (f"format {{volume}} --force {_ONE} --iterations 1000", ONE),
    (f"key add {{volume}} {_BOTH}", TWO),
    (f"rekey {{volume}} {_BOTH}", TWO),
    (f"verify {{volume}} {_ONE}", ONE),
    ("header restore {volume} --file {saved}",),
    (f"clone {{snapshot}} {{new}} --own-key {_BOTH}", TWO),
    (f"import {{disk}} {{volume}} {_ONE} --existing --force", ONE),
    (f"export {{volume}} {{file}} --disk-format qcow2 {_ONE}", ONE),
    (f"reencrypt {{volume}} {{new}} {_BOTH}", TWO),
    ("realign {upstream} {new}",),
    (f"rekey {{luks2}} {_BOTH}", TWO),
)
FULL = (
    ("info {volume}",),
    ("audit volumes",),
    (f"key remove {{two_keys}} {_ONE}", ONE),
    ("header backup {volume} --file {file}",),
    ("attach-xml {volume}",),
    ("remove {clone} --force",),
    (f"clone {{volume}} {{new}} --own-key {_BOTH}", TWO),
    ("resize {volume} --size 96M",),
    ("resize {volume} --size 32M --force",),
    ("remove {volume} --force",),
    (f"import {{disk}} {{new}} {_ONE} --iterations 1000", ONE),
    (f"import rbd:{{plain}} {{new}} --type luks2 {_ONE} --iterations 1000",
     ONE),
    (f"export {{volume}} {{file}} {_ONE}", ONE),
    ("export {volume} {file} --encrypted",),
    (f"reencrypt {{volume}} {{new}} --plain {_ONE}", ONE),
    ("erase {volume} --force --pool volumes",),
    # It takes as long as a good passphrase's protection asks for.
    (f"format {{volume}} --force --type luks2 {_ONE} --kdf argon2id", ONE),
    ("header backup {luks2} --file {file}",),
    ("header restore {luks2} --file {saved2}",),
)


class Things(dict):
    """What a command line names in braces, made when it is named."""

    def __init__(self, test):
        super().__init__()
        self._test = test

    def __missing__(self, name):
        self[name] = getattr(self, f"_{name}")()
        return self[name]

    def _new(self):
        """An image that the command is to make."""
        return f"volumes/{self._clone_name()}"

    def _clone_name(self):
        name = self._test.name()
        self._test.addCleanup(self._forget, name)
        return name

    def _forget(self, name):
        """Remove it, and a snapshot that was taken for it."""
        if name in self._test.pool.images():
            cloning.remove(self._test.pool, name)

    def _volume(self, **options):
        name = self._test.name()
        creating.create(self._test.pool, name, 64 * units.MIB, SECRET,
                        formatting.Options(**options))
        return f"volumes/{name}"

    def _luks2(self):
        return self._volume(type="luks2")

    def _two_keys(self):
        """A volume with two passphrases."""
        target = self._volume()
        with self._open(target) as image:
            keyslots.add(image, SECRET, NEW_SECRET)
        return target

    def _snapshot(self):
        target = self._volume()
        with self._open(target) as image:
            image.create_snapshot("s")
        return f"{target}@s"

    def _clone(self):
        parent, name = self._snapshot(), self._clone_name()
        pool = self._test.pool
        cloning.rekeyed(
            pool, pool.parent(*parent.partition("/")[2].split("@")),
            name, SECRET, NEW_SECRET)
        return f"volumes/{name}"

    def _upstream(self):
        """As Cinder's own driver makes them."""
        name = self._test.name()
        self._test.qemu_create(name, units.MIB, key=SECRET)
        return f"volumes/{name}"

    def _plain(self):
        name = self._test.name()
        with self._test.pool.create(name, 8 * units.MIB) as image:
            image.write(0, b"data" * units.MIB)
        return f"volumes/{name}"

    def _disk(self):
        return self._test.file(b"data" * 300000, "disk")

    def _file(self):
        """The path of a file that the command is to write."""
        return os.path.join(self._test.temp, "new")

    def _saved(self):
        """A backup of the volume's header."""
        return self._save("volume")

    def _saved2(self):
        return self._save("luks2")

    def _save(self, which):
        with self._open(self[which]) as image:
            return self._test.file(header_backup.backup(image), "saved")

    def _open(self, target):
        return self._test.pool.open(target.partition("/")[2])


@ddt.ddt
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
            "strace", "-f", "-ff", "--seccomp-bpf", "-v", "-s", "1000000",
            "-o", trace, "-e",
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
            self.logged = stream.read()
        self.assertIn(b"execve", seen)
        return seen + self.logged

    def assert_absent(self, seen, *secrets):
        for secret in secrets:
            forms = (secret, secret.hex().encode(),
                     re.sub(rb"(..)", rb"\\x\1", secret.hex().encode()))
            for form in forms:
                self.assertNotIn(form, seen)

    @ddt.data(*selection.cases(*QUICK, full=FULL))
    @ddt.unpack
    def test_command(self, line, stdin=b""):
        things = Things(self)
        seen = self.traced(*[word.format_map(things)
                             for word in line.split()], stdin=stdin)
        self.assert_absent(seen, SECRET, NEW_SECRET)

    def test_a_failure_tells_nothing(self):
        self.traced("create", self.target, "--size", "64M",
                    "--passphrase-file", "-", "--iterations", "1000",
                    stdin=SECRET)
        self.assertNotEqual(b"", self.logged)
        seen = self.traced("verify", self.target, "--passphrase-file", "-",
                           stdin=NEW_SECRET, code=2)
        self.assert_absent(seen, SECRET, NEW_SECRET)

    def test_the_search_finds_a_passphrase_that_is_there(self):
        """The test of the test: here it is an image's name."""
        seen = self.traced("info", f"volumes/{SECRET.decode()}", stdin=b"",
                           code=4)
        self.assertIn(SECRET, seen)
