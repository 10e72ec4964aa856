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

"""Run ``rbd-luks`` in this process, on files and on pools in memory."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
from unittest import mock

import fixtures
import testtools

from os_brick_rbd_luks.cmd import main
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import cluster as fakes
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests import opened
from os_brick_rbd_luks.tests import units

OLD = b"old-secret-7f3a"
NEW = b"new-secret-91bc"
OTHER = b"other-secret-d04e"

#: The quickest volume there is.
QUICK = formatting.Options(cipher_spec="aes-cbc-plain64", key_bytes=16)
QUICK_FLAGS = ("--cipher", "aes-cbc-plain64", "--key-size", "128",
               "--iterations", "1000")


class Stdin(io.TextIOWrapper):
    """Standard input from bytes, a terminal or not."""

    def __init__(self, content, tty):
        super().__init__(io.BytesIO(content))
        self._tty = tty

    def isatty(self):
        return self._tty


class Output(io.StringIO):
    """Standard output or errors, a terminal or not."""

    def __init__(self, tty=False):
        super().__init__()
        self._tty = tty
        #: for what is no text
        self.buffer = io.BytesIO()

    def isatty(self):
        return self._tty


class Probe:
    """Finds what a host of Ceph 18 has.

    :cvar found: what it says
    :cvar asked: for each that was made, whether it was for an RBD image
    """

    found = engines.Host(None, capabilities.Librbd(18), None)
    asked = []

    def __init__(self, is_rbd):
        self.asked.append(is_rbd)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        pass

    def host(self):
        return self.found


class CommandTestCase(testtools.TestCase):
    """A folder for files, pools, and the command."""

    def setUp(self):
        super().setUp()
        self.useFixture(opened.OpenedOnce())
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "volume")
        self.target = f"file:{self.path}"
        self.cluster = fakes.MemoryCluster("volumes", "volumes/space")
        self.pool = self.cluster.pools["volumes"]
        self.patch(f"{cluster.__name__}.connect", self.cluster.connect)
        self.patch("os_brick_rbd_luks.cmd.host.Probe", Probe)
        self.patch("os_brick_rbd_luks.headers.kdf_cost.iterations",
                   lambda hash_name, key_bytes: 1500)
        self._keep_logging_and_signals()

    def patch(self, name, value):
        return self.useFixture(fixtures.MonkeyPatch(name, value))

    def _keep_logging_and_signals(self):
        root = logging.getLogger()
        self.addCleanup(root.setLevel, root.level)
        self.addCleanup(setattr, root, "handlers", root.handlers)
        self.addCleanup(signal.signal, signal.SIGTERM,
                        signal.getsignal(signal.SIGTERM))

    # files

    def file(self, content, name="passphrase"):
        """The path of a file with *content*."""
        path = os.path.join(self.folder, name)
        with open(path, "wb") as stream:
            stream.write(content)
        return path

    def assert_same_bytes(self, expected, found):
        """As assertEqual, without megabytes in the message."""
        if expected != found:
            self.fail(f"{len(found)} bytes are not the {len(expected)} "
                      f"expected")

    def content(self, path=None):
        with open(path or self.path, "rb") as stream:
            return stream.read()

    def make_volume(self, *passphrases, size=units.MIB, options=QUICK):
        """A volume in the file, with OLD if no passphrase is given."""
        first, *others = passphrases or (OLD,)
        store = rawfile.FileStore()
        creating.create(store, self.path, size, first, options)
        with store.open(self.path) as image:
            for passphrase in others:
                keyslots.add(image, first, passphrase)

    def make_pool_volume(self, name="v", pool="volumes", size=units.MIB):
        store = self.cluster.pools[pool]
        creating.create(store, name, size, OLD, QUICK)
        return store.contents[name]

    def keyslot(self, passphrase):
        """The keyslot of the file's volume that a passphrase opens."""
        with rawfile.FileStore().open(self.path, read_only=True) as image:
            return unlocking.unlock(image, passphrase).keyslot

    # the command

    def prompts(self, *answers):
        """Let a terminal be there, and somebody answer on it."""
        self.asked = []
        left = list(answers)

        def getpass(prompt="Password: ", stream=None):
            self.asked.append(prompt)
            answer = left.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.patch("getpass.getpass", getpass)
        self.tty = True

    tty = False
    #: whether errors go to one
    errors_tty = False
    #: what is no text in the output of the last command
    binary = b""
    #: what commands warn of, however quiet they are asked to be
    warnings = ""

    def make_unreadable(self, name):
        """Let no OSD answer for an image."""
        read = images.MemoryImage.read

        def no_osd(image, offset, length):
            if image.name == name:
                raise exception.ImageIOError(action="read", reason="no OSD")
            return read(image, offset, length)

        self.patch(f"{images.__name__}.MemoryImage.read", no_osd)

    def run_command(self, *argv, stdin=b"", code=0):
        """Run the command; give its output and its errors."""
        root = logging.getLogger()
        root.handlers = []
        out, err = Output(), Output(self.errors_tty)
        with fixtures.MonkeyPatch("sys.argv", ["rbd-luks"]), \
                fixtures.MonkeyPatch("sys.stdin", Stdin(stdin, self.tty)), \
                fixtures.MonkeyPatch("sys.stdout", out), \
                fixtures.MonkeyPatch("sys.stderr", err):
            try:
                found = main.main([*argv])
            except SystemExit as ended:
                found = ended.code or 0
        root.handlers = []
        output, errors = out.getvalue(), err.getvalue()
        self.binary = out.buffer.getvalue()
        self.assertEqual(code, found, output + errors)
        for secret in (OLD, NEW, OTHER):
            self.assertNotIn(secret.decode(), output + errors)
            self.assertNotIn(secret.hex(), output + errors)
        return output, errors

    def json(self, *argv, stdin=b""):
        """The result of a command, from its ``-f json``."""
        output, errors = self.run_command("-q", *argv, "-f", "json",
                                          stdin=stdin)
        self.assertEqual(self.warnings, errors)
        return json.loads(output)

    def error(self, code, *argv, stdin=b""):
        """The one line that a failing command says."""
        output, errors = self.run_command(*argv, stdin=stdin, code=code)
        self.assertEqual("", output)
        self.assertNotIn("Traceback", errors)
        self.assertEqual(1, errors.count("\n"), errors)
        self.assertTrue(errors.endswith("\n"))
        return errors.strip()

    def usage_error(self, *argv):
        """The last line that a command with bad arguments says."""
        output, errors = self.run_command(*argv, code=1)
        self.assertEqual("", output)
        self.assertNotIn("Traceback", errors)
        self.assertTrue(errors.startswith("usage: "), errors)
        return errors.strip().splitlines()[-1]


class without(fixtures.Fixture):  # noqa: N801 (reads as a function)
    """These modules cannot be imported.

    The very dict is changed: another one would not be looked at for modules
    that are loaded already.
    """

    def __init__(self, *names):
        super().__init__()
        self._names = names

    def _setUp(self):
        patcher = mock.patch.dict(sys.modules, dict.fromkeys(self._names))
        patcher.start()
        self.addCleanup(patcher.stop)
