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

"""The commands that the documentation shows are ones that we have."""

from __future__ import annotations

import contextlib
import io
import pathlib
import re
import shlex

import ddt
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.cinder_cmd import program
from os_brick_rbd_luks.cmd import main

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
PAGES = (ROOT / "README.rst", *sorted((ROOT / "doc/source").rglob("*.rst")),
         ROOT / "doc/ext/troubleshooting.toml")

APPS = {"rbd-luks": main.RBDLuksApp, "cinder-rbd-luks": program.CinderApp}
#: Of whole lines, and of those in the text.
_SHOWN = re.compile(r"^ {3,}(?:[$#] )?((?:cinder-)?rbd-luks .*)$|"
                    r"``((?:cinder-)?rbd-luks [a-z][^`]*)``", re.M)
#: What a reader puts something else in the place of.
_WORDS = {"IMAGE": "p/i", "IMAGE@SNAPSHOT": "p/i@s", "SOURCE": "p/i@s",
          "CLONE": "p/i", "SIZE": "1G", "NG": "1G", "N": "1", "TIME": "1d"}
#: Where a command or an option is meant, and not how to give it.
_MEANT = re.compile("are required: |is required$|expected one argument$",
                    re.M)


def shown():
    """Programs and their arguments, of all pages."""
    found = set()
    for page in PAGES:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for line, words in _SHOWN.findall(text):
            name, *rest = re.split(r" [|<>&#]|;", line or words)[0].split()
            if name in APPS and rest and rest[0] not in (
                    "help", "complete", "--help", "--version"):
                found.add((name, " ".join(rest)))
    return sorted(found)


@ddt.ddt
class ShownTest(testtools.TestCase):

    def test_are_found(self):
        found = shown()
        self.assertLess(100, len(found))
        self.assertEqual(set(APPS), {name for name, _rest in found})

    @ddt.data(*APPS)
    def test_are_taken(self, name):
        app = APPS[name]()
        wrong = {}
        for other, rest in shown():
            if other == name and "..." not in rest and "[" not in rest:
                said = self.parse(app, [
                    _WORDS.get(word, word) for word in shlex.split(rest)])
                if said and not _MEANT.search(said):
                    wrong[rest] = said
        self.assertEqual({}, wrong)

    def test_a_wrong_one_is_told(self):
        app = main.RBDLuksApp()
        self.assertIn("--so", self.parse(app, ["info", "p/i", "--so"]))
        self.assertIn("--so", self.parse(app, ["info", "--so"]))
        self.assertIn("nothing", self.parse(app, ["nothing", "p/i"]))

    def parse(self, app, words):
        """What a program says of its arguments; empty if it takes them."""
        _options, words = app.parser.parse_known_args(words)
        errors = io.StringIO()
        try:
            found, name, rest = app.command_manager.find_command(words)
            parser = found(app, None).get_parser(name)
            # What is missing would be told first.
            unknown = [word for word in rest if word.startswith("--")
                       and word not in parser._option_string_actions]
            if unknown:
                return f"no such option: {unknown}"
            with contextlib.redirect_stderr(errors), \
                    contextlib.redirect_stdout(io.StringIO()):
                parser.parse_args(rest)
        except (SystemExit, ValueError) as error:
            if getattr(error, "code", 1) != 0:
                return errors.getvalue() or str(error)
        return ""
