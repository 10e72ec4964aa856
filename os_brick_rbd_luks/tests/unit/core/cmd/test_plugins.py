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

"""Commands and formats are those that cliff would find, only sooner."""

from __future__ import annotations

import argparse

from cliff import commandmanager
import ddt
import stevedore

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks.cmd import plugins
from os_brick_rbd_luks.tests.unit.core.cmd import base


class CommandsTest(base.CommandTestCase):

    def test_as_cliff_finds_them(self):
        theirs = dict(commandmanager.CommandManager("rbd_luks.cli"))
        ours = dict(plugins.Commands("rbd_luks.cli"))
        self.assertEqual({name: point.value
                          for name, point in theirs.items()},
                         {name: point.value for name, point in ours.items()})
        self.assertIn("header backup", ours)

    def test_help_has_a_line_for_each(self):
        output, _errors = self.run_command("help")
        for name, point in plugins.Commands("rbd_luks.cli"):
            sentence = point.load().__doc__.split("\n")[0].rstrip(".")
            self.assertIn(f"  {name:<13}  {sentence}\n", output)
        self.assertIn("  complete ", output)
        self.assertNotIn("Could not", output)

    def test_beginning_of_a_name(self):
        output, _errors = self.run_command("help", "inf")
        self.assertIn("usage: rbd-luks inf ", output)

    def test_completion(self):
        output, _errors = self.run_command("complete")
        self.assertIn("rbd-luks", output)
        self.assertIn("cmds_header='backup backup-all list repair restore'",
                      output)
        self.assertIn("--passphrase-file", output)


@ddt.ddt
class FormatsTest(base.CommandTestCase):

    @ddt.data("cliff.formatter.show", "cliff.formatter.list")
    def test_as_cliff_finds_them(self, namespace):
        theirs = stevedore.ExtensionManager(namespace, invoke_on_load=True)
        ours = plugins.Formats(namespace)
        self.assertEqual(sorted(theirs.names()), sorted(ours.names()))
        self.assertIn("table", ours.names())
        for found in ours:
            self.assertIs(type(theirs[found.name].obj), type(found.obj))
            self.assertIs(found, ours[found.name])

    def test_nothing_is_searched(self):
        """Neither for commands nor for formats, hooks and packages."""
        def refuse(*_args, **_options):
            self.fail("all packages are searched")

        self.make_volume()
        self.patch("stevedore.ExtensionManager", refuse)
        self.patch("stevedore.extension.ExtensionManager", refuse)
        for name in ("cliff.command", "importlib.metadata"):
            self.patch(f"{name}.packages_distributions", refuse)
        for argv in (("info", self.target), ("info", "--help"), ("--help",),
                     ("audit", "volumes", "-f", "csv")):
            self.run_command(*argv)

    def test_shows(self):
        shows = command.ShowOne.shows
        for columns, expected in (([], True), (["a"], False),
                                  (["b", " The Engines"], True)):
            self.assertEqual(expected, shows(
                argparse.Namespace(columns=columns), "the_engines"))
