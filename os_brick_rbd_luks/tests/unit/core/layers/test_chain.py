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

"""What clones remember of the keys of the layers below."""

from __future__ import annotations

import json

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import chain
from os_brick_rbd_luks.tests.unit.core.clones import clones


@ddt.ddt
class ChainTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.image = self.store.clone(self.source(), "v")
        self.addCleanup(self.image.__exit__)

    def note(self):
        return self.image.content.notes.get("rbd_luks.parent_keys")

    @ddt.data(["one"], ["two", "one"], [""], ["two", "", "zero"],
              ["with \"quotes\" and \u00fc"])
    def test_round_trip(self, keys):
        chain.write(self.image, keys)
        self.assertEqual(keys, chain.read(self.image))
        self.assertEqual({"image": self.image.content.image_id,
                          "keys": keys}, json.loads(self.note()))

    def test_nothing_to_remember(self):
        self.assertEqual([], chain.read(self.image))
        chain.write(self.image, [])
        self.assertIsNone(self.note())
        self.assertEqual([], chain.read(self.image))

    def test_what_came_with_the_clone_is_removed(self):
        """A clone begins with the metadata of its source."""
        chain.write(self.image, ["not mine"])
        chain.write(self.image, [])
        self.assertIsNone(self.note())

    def assert_refused(self, said):
        for call in (lambda: chain.read(self.image),
                     lambda: chain.below(self.image, "id"),
                     lambda: chain.needed(self.image)):
            error = self.assertRaises(exception.OperationRefused, call)
            self.assertIn("rbd_luks.parent_keys", str(error))
            self.assertIn(said, str(error))
        # What librbd does not ask for is not looked at.
        self.store.release = 16
        self.assertEqual([], chain.needed(self.image))
        self.store.release = 18

    @ddt.data("", "{", "null", "1", "\"id\"", "{}", "{\"a\": 1}", "[1]",
              "[null]", "[[\"id\"]]", "[\"id\", 1]", "['id']", "[\"id\"",
              "\0", "[\"id\"] x", "NaN", "[\"id\"]", "[]")
    def test_corrupt(self, text):
        self.image.content.notes[chain.NOTE] = text
        self.assert_refused("is not a note of key ids")

    @ddt.data("1", "null", "\"id\"", "{}", "{\"id\": 1}", "[1]", "[null]",
              "[[\"id\"]]", "[\"id\", 1]", "[\"id\"", "NaN", "")
    def test_corrupt_keys(self, keys):
        self.image.content.notes[chain.NOTE] = (
            f"{{\"image\": \"{self.image.identity()}\", \"keys\": {keys}}}")
        self.assert_refused("is not a note of key ids")

    @ddt.data("image", "keys")
    def test_half_a_note(self, name):
        chain.write(self.image, ["one"])
        found = json.loads(self.note())
        self.image.content.notes[chain.NOTE] = json.dumps(
            {name: found[name]})
        self.assert_refused("is not a note of key ids")

    @ddt.data("[", "{\"a\":", "{\"image\": \"i\", \"keys\": [[")
    def test_corrupt_and_deep(self, text):
        """Anybody who may write to the image may write the note."""
        self.image.content.notes[chain.NOTE] = text * 100000
        self.assert_refused("is not a note of key ids")

    def test_of_another_image(self):
        """librbd copied it to a plain clone, which has one more layer."""
        chain.write(self.image, ["one"])
        self.image.create_snapshot("s")
        parent = self.store.parent("v", "s")
        with self.store.clone(parent, "plain") as image:
            self.assertEqual(self.note(), image.note(chain.NOTE))
            self.image, v = image, self.image
            self.assert_refused("plain clone")
            image.create_snapshot("s")
            with self.store.open_snapshot(
                    self.store.parent("plain", "s")) as self.image:
                self.assert_refused("plain clone")
            # It is of no account without a parent, or when it is replaced.
            chain.write(image, ["two"])
            self.assertEqual(["two"], chain.read(image))
        self.image = v
        self.assertEqual(["one"], chain.read(v))

    @ddt.data("\"id\"", "null", "1", "[]", "{}", "\"\"")
    def test_of_whatever_else(self, image):
        self.image.content.notes[chain.NOTE] = (
            f"{{\"image\": {image}, \"keys\": [\"one\"]}}")
        self.assert_refused("plain clone")

    def test_of_another_image_without_keys(self):
        """One passphrase is for all of its layers, whoever it is of."""
        self.image.content.notes[chain.NOTE] = (
            "{\"image\": \"other\", \"keys\": []}")
        self.assertEqual([], chain.read(self.image))
        self.assertEqual(["own"], chain.below(self.image, "own"))

    def test_of_a_renamed_image(self):
        chain.write(self.image, ["one"])
        self.store.contents["w"] = self.store.contents.pop("v")
        with self.store.open("w") as image:
            self.assertEqual(["one"], chain.read(image))

    @ddt.data("[\"one\"]", "{", "",
              "{\"image\": \"other\", \"keys\": [\"one\"]}")
    def test_of_no_account_without_a_parent(self, text):
        self.image.content.notes[chain.NOTE] = text
        self.image.flatten()
        self.assertEqual([], chain.read(self.image))
        self.assertEqual(["own"], chain.below(self.image, "own"))

    @ddt.data((None, [], [""]), ("", [], [""]), ("own", [], ["own"]),
              ("own", ["one"], ["own", "one"]),
              (None, ["two", "one"], ["", "two", "one"]))
    @ddt.unpack
    def test_below(self, key_id, remembered, expected):
        chain.write(self.image, remembered)
        self.assertEqual(expected, chain.below(self.image, key_id))

    def test_below_a_snapshot(self):
        """Metadata is the image's, its snapshots have none of their own."""
        self.image.create_snapshot("s")
        chain.write(self.image, ["later"])
        self.assertEqual(self.image.identity(),
                         json.loads(self.note())["image"])
        with self.store.open_snapshot(self.store.parent("v", "s")) as source:
            self.assertEqual(["own", "later"], chain.below(source, "own"))

    @ddt.data((None, []), (16, []), (17, []), (18, ["two", "one"]),
              (19, ["two", "one"]))
    @ddt.unpack
    def test_needed(self, release, expected):
        chain.write(self.image, ["two", "one"])
        self.store.release = release
        self.assertEqual(expected, chain.needed(self.image))

    def test_reading_writes_nothing(self):
        chain.write(self.image, ["one"])
        before = self.state()
        chain.read(self.image)
        chain.below(self.image, "own")
        self.assert_state(before)

    def test_store_that_fails(self):
        """Not to know is no reason to say that there is none."""
        failure = exception.ImageIOError(action="read", reason="no OSD")
        chain.write(self.image, ["one"])
        for call in ("note", "parent", "identity"):
            self.store.steps.faults[call] = failure
            self.assertIs(failure, self.assertRaises(
                exception.ImageIOError, chain.read, self.image))
