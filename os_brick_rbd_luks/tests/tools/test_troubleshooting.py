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

"""The page "Troubleshooting" has each error, and nothing else.

The build of the documentation ends by the same check.
"""

from __future__ import annotations

import pathlib
import sys

import ddt
import fixtures
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks import exception

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
sys.path.insert(0, str(ROOT / "doc/ext"))

import error_table  # noqa: E402

TELLS = {"cause": "because", "look": "there", "remedy": "do this"}


class Unheard(exception.ImageError):
    message = "nobody has described %(what)s"


@ddt.ddt
class ErrorTableTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # All of the package is read for that.
        cls.found = error_table.said()

    def setUp(self):
        super().setUp()
        self.by_class, self.by_text = error_table.load()
        self.kinds, self.said = error_table.classes(), dict(self.found)

    def entries(self):
        return error_table.entries(self.by_class, self.by_text, self.kinds,
                                   self.said)

    def assert_wrong(self, *words):
        error = self.assertRaises(error_table.Wrong, self.entries)
        for word in words:
            self.assertIn(word, str(error))

    def test_table_is_complete(self):
        entries = self.entries()
        self.assertEqual(
            set(self.kinds), {entry.names[0] for entry in entries
                              if entry.names[0] in self.kinds}
            | set(error_table.families(self.by_class)))
        self.assertEqual(len(entries),
                         len({entry.title for entry in entries}))

    def test_class_without_an_entry(self):
        self.kinds["Unheard"] = Unheard
        self.assert_wrong("Unheard", "is missing")

    def test_entry_without_a_class(self):
        self.by_class["Forgotten"] = TELLS
        self.assert_wrong("Forgotten", "is of nothing")

    def test_text_without_an_entry(self):
        self.said["what nobody has described"] = {"Cinder's InvalidVolume"}
        self.assert_wrong("what nobody has described", "is missing")

    def test_entry_whose_text_nobody_says(self):
        self.by_text["what was said once"] = TELLS
        self.assert_wrong("what was said once", "is of nothing")

    @ddt.data(*TELLS)
    def test_entry_that_does_not_tell_all(self, what):
        tells = dict(self.by_class["ImageLocked"])
        del tells[what]
        self.by_class["ImageLocked"] = tells
        self.assert_wrong("ImageLocked", what)

    def test_entry_that_says_something_else(self):
        self.by_class["KeyNotFound"] = {
            **self.by_class["KeyNotFound"], "says": "there is no key"}
        self.assert_wrong("KeyNotFound", "does not say")

    def test_values_are_left_out_of_the_order(self):
        kind = self.kinds["ImageNotFound"]
        entry = error_table.Entry(("ImageNotFound",),
                                  error_table.template(kind), TELLS)
        self.assertEqual("does not exist; check the name", entry.key)


@ddt.ddt
class SaidTest(testtools.TestCase):
    """What is found in the source of an edge."""

    def said(self, source):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / "edge.py").write_text(source)
        return error_table.said(folder)

    @ddt.data(
        ('cinder_exception.InvalidVolume(reason=f"Volume {a} is "\n"full.")',
         {"Volume … is full.": {"Cinder's InvalidVolume"}}),
        ('nova_exception.InternalError("it has ended")',
         {"it has ended": {"Nova's InternalError"}}),
        ('exception.NotRotated(reason="it is one" if a else "it is two")',
         {"it is one": {"NotRotated"}, "it is two": {"NotRotated"}}),
        ('exception.OperationRefused(reason="not these: " + ", ".join(a))',
         {"not these: …": {"OperationRefused"}}),
        # Its text is that of another error.
        ("cinder_exception.ImageCopyFailure(reason=str(error))", {}),
        ('exception.InvalidParameter(name="a", value=1, reason="is odd")',
         {}))
    @ddt.unpack
    def test_texts(self, source, expected):
        self.assertEqual(expected, self.said(source))

    def test_what_nova_shows(self):
        shown, told = error_table.told()
        self.assertIn("MissingSecret", shown)
        self.assertEqual("the key manager has no …", told["KeyNotFound"])

    def test_nova_does_not_say_it_any_more(self):
        path = pathlib.Path(self.useFixture(fixtures.TempDir()).path) / "m.py"
        path.write_text("SHOWN = ()\n")
        self.assertRaises(error_table.Wrong, error_table.told, path)
