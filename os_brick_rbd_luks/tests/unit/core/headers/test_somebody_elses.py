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
"""Headers that somebody else wrote, and wrote right: nothing is damaged."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes

TOKEN = {"type": "clevis", "keyslots": ["0"], "jwe": {"x": 1}}


def with_token(**values):
    def change(tree):
        tree["tokens"]["0"] = {**TOKEN, **values}

    return change


def with_flags(tree):
    tree["config"]["flags"] = ["allow-discards"]


def with_priority(tree):
    tree["keyslots"]["0"]["priority"] = 2


@ddt.ddt
class RestoreTest(luks2_volumes.Luks2TestCase):
    """Without insisting, nothing is taken from them."""

    def setUp(self):
        super().setUp()
        self.image = self.make_volume()
        self.saved = header_backup.backup(self.image)

    def refused(self):
        error = self.assert_untouched(
            self.image, lambda: header_backup.restore(self.image, self.saved),
            exception.OperationRefused)
        self.assertIn("--force", error.reason)
        return error.reason

    @ddt.data({"csum_alg": b"sha3-256".ljust(32, b"\0")},
              {"csum_alg": b"blake2b-512".ljust(32, b"\0")}, {"version": 3})
    def test_unknown(self, fields):
        """It may be newer than the backup; who can tell?"""
        keyslots.replace(self.image, base.OLD, base.NEW)
        self.change_tree(self.image, lambda tree: None, **fields)
        self.assertIn("nothing shows that the header is damaged",
                      self.refused())
        header_backup.restore(self.image, self.saved, force=True)
        self.assertTrue(self.opens(self.image, base.OLD))

    @ddt.data((with_token(), "tokens"), (with_flags, "flags"),
              (with_priority, "priorities"))
    @ddt.unpack
    def test_metadata(self, change, what):
        """A token may be the only one who knows a passphrase."""
        self.change_tree(self.image, change)
        self.assertIn(what, self.refused())

    @ddt.data({"label": b"precious".ljust(48, b"\0")},
              {"subsystem": b"precious".ljust(48, b"\0")})
    def test_label(self, fields):
        self.change_tree(self.image, lambda tree: None, **fields)
        self.assertIn("a " + next(iter(fields)), self.refused())

    def test_what_cannot_be_written_again(self):
        """Who insists gets what the backup has."""
        self.change_tree(self.image, with_token(x=float("inf")))
        header_backup.restore(self.image, self.saved, force=True)
        self.assertTrue(self.opens(self.image, base.OLD))
        self.assertEqual({}, header_io.read_header(
            self.image).metadata.tree["tokens"])

    def test_less_than_the_backup(self):
        """Nothing is lost then."""
        self.change_tree(self.image, with_token())
        self.saved = header_backup.backup(self.image)
        self.change_tree(self.image, lambda tree: tree["tokens"].clear())
        header_backup.restore(self.image, self.saved)
        self.assertEqual(TOKEN, header_io.read_header(
            self.image).metadata.tree["tokens"]["0"])


@ddt.ddt
class OddTest(luks2_volumes.Luks2TestCase):

    def test_checksum_in_capitals(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: None,
                         csum_alg=b"SHA256".ljust(32, b"\0"))
        keyslots.replace(image, base.OLD, base.NEW)
        self.assertTrue(self.opens(image, base.NEW))

    @ddt.data("b\u00fcro-token", "a\tb", "\x1b[2J", "\ud800", "x" * 5000)
    def test_type_of_a_token(self, kind):
        """It is kept as it is, and shown so that a terminal can have it."""
        image = self.make_volume()
        self.change_tree(image, with_token(type=kind))
        self.assertTrue(self.opens(image, base.OLD))
        shown = describe.describe_image(image)
        self.assertTrue(str(shown).isprintable())
        keyslots.replace(image, base.OLD, base.NEW)
        self.assertEqual(kind, header_io.read_header(
            image).metadata.tree["tokens"]["0"]["type"])

    @ddt.data(float("nan"), float("inf"), -float("inf"))
    def test_number_in_a_token(self, number):
        """All that reads the header goes on; nothing writes it."""
        image = self.make_volume()
        self.change_tree(image, with_token(x=number))
        self.assertTrue(self.opens(image, base.OLD))
        describe.describe_image(image)
        header_backup.backup(image)
        error = self.assert_untouched(
            image, lambda: keyslots.replace(image, base.OLD, base.NEW),
            exception.UnsupportedHeader)
        self.assertIn("beyond JSON's", str(error))

    def test_copy_that_we_cannot_use(self):
        """Newer than the other, and with the right checksum."""
        image = self.make_volume()
        older = image.read(16384, 16384)

        def change(tree):
            tree["keyslots"]["0"]["area"]["offset"] = "1"

        self.change_tree(image, change)
        self.patch_header(image, 16384, older)
        error = self.assert_untouched(image, lambda: repair.repair(image),
                                      exception.OperationRefused)
        self.assertIn("what somebody wrote", error.reason)
        self.assertEqual("primary", repair.repair(image, force=True))
        self.assertTrue(self.opens(image, base.OLD))
