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

"""What a page of the documentation tells a reader to type.

So a test can follow the page to the letter, and fails when it says something
that the test does not do.
"""

from __future__ import annotations

import configparser
import dataclasses
import pathlib
import re

from docutils import core
from docutils import nodes
from docutils.parsers.rst import roles

import os_brick_rbd_luks

FOLDER = (pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
          / "doc/source")
#: With whose names commands begin.
PROGRAMS = ("cinder", "cinder-rbd-luks", "install", "openssl", "openstack",
            "pip", "rbd", "rbd-luks", "tools/packages", "virsh")
_COMMAND = re.compile(rf"({'|'.join(map(re.escape, PROGRAMS))}) |\(")
_SETTING = re.compile(r"\[(\w+)\] (\w+) = (.+)")

for _name in ("doc", "ref", "term"):
    roles.register_generic_role(_name, nodes.emphasis)


@dataclasses.dataclass
class Section:
    """What one says, without the sections in it.

    :ivar commands: in the order of the page; those of several lines as one
    :ivar answers: the lines that the page shows for each of these, or None
    :ivar settings: section of a file, option, value
    """

    title: str
    commands: list = dataclasses.field(default_factory=list)
    answers: list = dataclasses.field(default_factory=list)
    settings: list = dataclasses.field(default_factory=list)

    def take(self, beginning):
        """The first command left that begins so; it is left no more.

        :returns: it, and the lines that the page shows for it, or None
        :raises AssertionError: there is none
        """
        for number, command in enumerate(self.commands):
            if command.startswith(beginning):
                del self.commands[number]
                return command, self.answers.pop(number)
        raise AssertionError(f"{self.title!r} has no command {beginning!r}, "
                             f"but {self.commands}")

    def value(self, option):
        """Of an option, which the section has once; it is left no more.

        :returns: its section, and the value
        """
        (found,) = [each for each in self.settings if each[1] == option]
        self.settings.remove(found)
        return found[0], found[2]

    def _add_block(self, text):
        if text.startswith("["):
            parser = configparser.ConfigParser()
            parser.read_string(text)
            self.settings += [(section, *item) for section in
                              parser.sections() for item in
                              parser.items(section)]
            return
        for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
            if not _COMMAND.match(line):
                raise ValueError(f"{self.title!r} has a line that is neither "
                                 f"a setting nor a command: {line}")
            self._add_command(line)

    def _add_command(self, command, answer=None):
        self.commands.append(command)
        self.answers.append(answer)

    def _add_console(self, text):
        nothing, *parts = re.split(r"^\$ ", text, flags=re.M)
        for part in parts:
            command, *answer = part.splitlines()
            if nothing or not _COMMAND.match(command):
                raise ValueError(f"{self.title!r} has a line that is no "
                                 f"command: {nothing or command}")
            self._add_command(command, answer)

    def _add_words(self, text):
        text = " ".join(text.split())
        setting = _SETTING.fullmatch(text)
        if setting:
            self.settings.append(setting.groups())
        elif _COMMAND.match(text):
            self._add_command(text)

    def add(self, node):
        """Note what a literal of the page says."""
        if "console" in node["classes"]:
            self._add_console(node.astext())
        elif isinstance(node, nodes.literal_block):
            self._add_block(node.astext())
        else:
            self._add_words(node.astext())


def compared(lines):
    """Lines of any cloud, with columns of any width, in any order."""
    lines = [re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID", line)
             for line in lines]
    lines = [re.sub(r"--+", "--", re.sub(r" +", " ", line)).strip()
             for line in lines]
    return sorted(filter(None, lines))


def parse(text):
    """The sections of a page, by title; see :func:`read`.

    :raises ValueError: it shows a line that is neither a setting nor a command
    """
    tree = core.publish_doctree(
        text, settings_overrides={
            "report_level": 3, "halt_level": 3, "syntax_highlight": "none"})
    found = {}
    for node in tree.findall(lambda each: isinstance(
            each, (nodes.literal_block, nodes.literal))):
        parent = node.parent
        while not isinstance(parent, (nodes.section, nodes.document)):
            parent = parent.parent
        title = parent.next_node(nodes.title).astext()
        found.setdefault(title, Section(title)).add(node)
    return found


def read(name):
    """The sections of a page, by title.

    :param name: of the page, without the suffix
    """
    return parse((FOLDER / f"{name}.rst").read_text("utf-8"))
