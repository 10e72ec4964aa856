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

"""Whoever takes a present passphrase takes the keyslot that it is for."""

from __future__ import annotations

import argparse
import configparser
import importlib
import os
import pathlib

import ddt

import os_brick_rbd_luks
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

#: These set the only passphrase there is.
NEW_ONLY = {"create", "format"}

#: Arguments of each of the others, but for passphrases.
COMMANDS = {
    "verify": ("verify", "volumes/v"),
    "rekey": ("rekey", "volumes/v"),
    "key add": ("key", "add", "volumes/v"),
    "key remove": ("key", "remove", "volumes/v"),
    "clone": ("clone", "volumes/v@s", "volumes/w", "--own-key"),
    "reencrypt": ("reencrypt", "volumes/v", "volumes/w"),
    "import": ("import", "-", "volumes/v", "--existing"),
    "export": ("export", "volumes/v", "OUT"),
    "reachable": ("reachable", "volumes/v"),
}


def commands():
    """Name and class of each command."""
    root = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
    config = configparser.ConfigParser()
    config.read(root / "setup.cfg")
    for line in config["entry_points"]["rbd_luks.cli"].strip().splitlines():
        name, _equals, where = line.partition("=")
        module, _colon, attribute = where.strip().partition(":")
        yield name.strip().replace("_", " "), getattr(
            importlib.import_module(module), attribute)


@ddt.ddt
class PresentKeyslotTest(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.make_pool_volume("v")
        with self.pool.open("v") as image:
            keyslots.add(image, base.OLD, base.OTHER)
            image.create_snapshot("s")
        self.key = ("--passphrase-file", self.file(base.OLD))
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"),
                    "--iterations", "1000")

    def test_every_command(self):
        taking = {}
        for name, kind in commands():
            parser = kind(argparse.Namespace(), None).get_parser(name)
            dests = {action.dest for action in parser._actions}
            if "passphrase_file" in dests:
                taking[name] = "present_keyslot" in dests
        self.assertEqual({**dict.fromkeys(NEW_ONLY, False),
                          **dict.fromkeys(COMMANDS, True)}, taking)

    def argv(self, name, keyslot):
        option = ("--passphrase-keyslot" if name == "key remove"
                  else "--keyslot")
        out = os.path.join(self.folder, "out")
        return (*(out if part == "OUT" else part
                  for part in COMMANDS[name]), *self.key,
                *(self.new if name in ("rekey", "key add", "clone",
                                       "reencrypt") else ()),
                f"{option}={keyslot}")

    @ddt.data(*sorted(COMMANDS))
    def test_only_that_one_is_tried(self, name):
        before = self.pool.contents["v"].whole()
        for code, keyslot, said in (
                (2, 1, "the passphrase does not open keyslot 1, and no other"),
                (1, 5, "keyslot 5 is not in use")):
            error = self.error(code, "-q", *self.argv(name, keyslot),
                               stdin=b"data")
            self.assertIn(said, error)
        self.assert_same_bytes(before, self.pool.contents["v"].whole())
        self.assertEqual(["v"], self.pool.images())
        # It is right, and the volume key is in the volume and its snapshot.
        self.run_command("-q", *self.argv(name, 0), stdin=b"data",
                         code=5 if name == "reachable" else 0)

    @ddt.data("reencrypt", "export", "import")
    def test_one_that_librbd_would_not_try(self, name):
        """It reads the data, and tries no keyslot of priority 0."""
        volume = "volumes/luks2"
        with self.pool.create("luks2", 17 * units.MIB) as image:
            formatting.format_new(image, base.OLD, formatting.Options(
                type="luks2"))
            found = header_io.read_header(image)
            tree = headers.tree(headers.Volume(found, {}, b""))
            tree["keyslots"]["0"]["priority"] = 0
            image.write(0, headers.craft(found, tree))
        argv = (volume if part == "volumes/v" else part
                for part in self.argv(name, 0))
        self.assertIn("is of priority ignore", self.error(
            1, "-q", *argv, stdin=b"data"))
