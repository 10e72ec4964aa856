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

"""``rbd-luks`` itself: arguments, errors, debugging, what is not there."""

from __future__ import annotations

from importlib import metadata
import io
import logging
from unittest import mock

import ddt

from os_brick_rbd_luks.cmd import main
from os_brick_rbd_luks.cmd import plugins
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.unit.core.cmd import base

#: The real one, which other tests replace by pools in memory.
CONNECT = cluster.connect


@ddt.ddt
class MainTest(base.CommandTestCase):

    def test_every_command_has_a_help(self):
        names = [name for name, _entry in plugins.Commands("rbd_luks.cli")]
        self.assertIn("header backup", names)
        for name in names:
            output, errors = self.run_command(*name.split(), "--help")
            self.assertEqual("", errors)
            self.assertIn(f"usage: rbd-luks {name} ", output)
            self.assertIn("--conf FILE", output)

    def test_help_lists_the_commands(self):
        output, _errors = self.run_command("--help")
        for name in ("audit", "create", "erase", "format", "header backup",
                     "header restore", "info", "key add", "key remove",
                     "rekey", "verify"):
            self.assertIn(f"  {name} ", output)

    def test_version(self):
        output, _errors = self.run_command("--version")
        self.assertEqual(metadata.version("os-brick-rbd-luks"),
                         output.split()[-1])

    @ddt.data("nonsense", "key", "header", "--nonsense")
    def test_unknown_command(self, name):
        output, errors = self.run_command(name, code=1)
        self.assertIn(f"'{name}' is not a rbd-luks command", output + errors)
        self.assertNotIn("Traceback", errors)

    @ddt.data(("info",), ("info", "v"), ("info", "a//b"),
              ("info", "file:x", "more"), ("info", "file:x", "--nonsense"),
              ("verify", "file:x", "--keyslot"),
              ("info", "file:x", "-f", "nonsense"))
    def test_bad_arguments(self, argv):
        self.usage_error(*argv)

    def test_debug_gives_a_traceback(self):
        error = self.error(4, "info", self.target)
        output, errors = self.run_command("--debug", "info", self.target,
                                          code=4)
        self.assertEqual("", output)
        self.assertIn(error, errors)
        self.assertIn("Traceback (most recent call last)", errors)
        self.assertIn("exception.ImageNotFound", errors)

    def test_no_passphrase_with_debug(self):
        old = ("--passphrase-file", self.file(base.OLD, "old"))
        new = ("--new-passphrase-file", self.file(base.NEW, "new"))
        _output, errors = self.run_command(
            "--debug", "-vv", "create", self.target, "--size", "1M", *old,
            *base.QUICK_FLAGS)
        self.assertIn("writing 68096 bytes at 0", errors)
        for argv, code in ((("verify", self.target, *old), 0),
                           (("rekey", self.target, *old, *new), 0),
                           (("verify", self.target, *old), 2),
                           (("key", "remove", self.target, *old), 2)):
            # run_command looks for them in everything that was printed.
            self.run_command("--debug", "-vv", *argv, code=code)

    def test_other_people_s_loggers_tell_no_secrets(self):
        self.make_volume()
        self.run_command("--debug", "info", self.target)
        for name in ("keystoneauth", "keystoneauth.session",
                     "barbicanclient", "urllib3", "urllib3.connectionpool"):
            self.assertFalse(logging.getLogger(name).isEnabledFor(
                logging.DEBUG), name)

    def test_not_enough_memory(self):
        self.make_volume()
        self.patch("os_brick_rbd_luks.headers.unlocking.unlock_header",
                   mock.Mock(side_effect=MemoryError()))
        self.assertEqual("not enough memory", self.error(
            3, "verify", self.target, "--passphrase-file",
            self.file(base.OLD)))

    def test_interrupted(self):
        self.make_volume()
        self.patch("os_brick_rbd_luks.headers.unlocking.unlock_header",
                   mock.Mock(side_effect=KeyboardInterrupt()))
        _output, errors = self.run_command(
            "verify", self.target, "--passphrase-file", self.file(base.OLD),
            code=130)
        self.assertNotIn("Traceback", errors)

    def test_interrupted_before_the_command(self):
        self.patch(f"{main.__name__}.RBDLuksApp.run",
                   mock.Mock(side_effect=KeyboardInterrupt()))
        self.run_command("info", self.target, code=130)

    def test_arguments_of_the_process(self):
        self.make_volume()
        self.patch("sys.argv", ["rbd-luks", "info", self.target])
        output = io.StringIO()
        self.patch("sys.stdout", output)
        self.assertEqual(0, main.main())
        self.assertIn(self.target, output.getvalue())


class NoCephTest(base.CommandTestCase):
    """python-rbd is not installed."""

    def setUp(self):
        super().setUp()
        self.key = ("--passphrase-file", self.file(base.OLD))
        self.patch(f"{cluster.__name__}.connect", CONNECT)
        self.useFixture(base.without("rbd", "rados"))

    def test_pool(self):
        for argv in (("info", "volumes/v"),
                     ("create", "volumes/v", "--size", "1M", *self.key),
                     ("format", "volumes/v", *self.key),
                     ("verify", "volumes/v", *self.key),
                     ("erase", "volumes/v", "--force"),
                     ("audit", "volumes")):
            self.assertEqual(
                "python-rbd is not installed; install python3-rbd (it comes "
                "with Ceph's packages, not from PyPI)", self.error(1, *argv))

    def test_file(self):
        self.json("create", self.target, "--size", "1M", *self.key,
                  *base.QUICK_FLAGS)
        self.json("info", self.target)
        self.json("verify", self.target, *self.key)
