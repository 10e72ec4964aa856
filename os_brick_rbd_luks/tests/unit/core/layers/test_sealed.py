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

"""What opens the layers below a clone, sealed in its own header.

Whether it is right is for librbd to say, which opens each layer: the fake
one of Ceph 18 here, the real one in the tests on Ceph.
"""

from __future__ import annotations

import json

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.tests.fakes import layers
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

KEYS = [f"passphrase {number}".encode() for number in range(9)]
FAILURE = exception.ImageIOError(action="read", reason="no OSD")


class SealedTestCase(clones.CloneTestCase):

    def rekeyed(self, source, name, old, new, **options):
        """A clone with a passphrase of its own; its snapshot."""
        cloning.rekeyed(self.store, source, name, old, new, **options)
        return self.snapshot(name)

    def plain(self, source, name):
        """A clone as others make it; its snapshot."""
        self.store.clone(source, name).__exit__()
        return self.snapshot(name)

    def below(self, name, key, snapshot=None):
        with self.store.open(name, read_only=True,
                             snapshot=snapshot) as image:
            return decryption.below(image, header_io.read_header(image), key)

    def count(self, name):
        with self.store.open(name, read_only=True) as image:
            return sealed.look(image, header_io.read_header(image)).count

    def assert_opens(self, name, key, below=None):
        """Its own passphrase is enough to read all of it."""
        found = self.below(name, key)
        if below is not None:
            self.assertEqual(below, found)
        self.assertEqual(len(found), self.count(name))
        content = self.store.contents[name]
        for layer in (content, content.frozen["s"]):
            plain = layers.Plaintext(layer, key, *found)
            self.assert_same_bytes(clones.expected(),
                                   plain.read(0, clones.SIZE))
        self.assertEqual(found, self.below(name, key, "s"))


@ddt.ddt
class LayersTest(SealedTestCase):

    @ddt.data("luks1", "luks2")
    def test_no_layers(self, kind):
        self.source(kind)
        self.assert_opens("source", base.OLD, [])

    @ddt.data("luks1", "luks2")
    def test_plain_clone(self, kind):
        self.plain(self.source(kind), "clone")
        self.assert_opens("clone", base.OLD, [])

    @ddt.data("luks1", "luks2")
    def test_each_with_its_own(self, kind):
        """The nearest first."""
        source = self.source(kind, key=KEYS[0])
        for number in range(1, 6):
            source = self.rekeyed(source, f"clone{number}", *KEYS[
                number - 1:number + 1])
            self.assert_opens(f"clone{number}", KEYS[number],
                              KEYS[:number][::-1])

    @ddt.data("luks1", "luks2")
    def test_plain_clones_of_such_ones(self, kind):
        """Each has one layer more, which its own passphrase opens."""
        source = self.rekeyed(self.source(kind, key=KEYS[0]), "clone",
                              KEYS[0], KEYS[1])
        for number in range(3):
            source = self.plain(source, f"plain{number}")
            self.assert_opens(f"plain{number}", KEYS[1],
                              [KEYS[1]] * (number + 1) + [KEYS[0]])
        self.rekeyed(source, "last", KEYS[1], KEYS[2])
        self.assert_opens("last", KEYS[2], [KEYS[1]] * 4 + [KEYS[0]])

    @ddt.data("luks1", "luks2")
    def test_own_header(self, kind):
        """Over a volume with layers, with and without a base between."""
        source = self.rekeyed(self.source("luks1", key=KEYS[0]), "clone",
                              KEYS[0], KEYS[1])
        cloning.own_header(self.store, source, "own", KEYS[2],
                           clones.FORMATS[kind], old_passphrase=KEYS[1])
        self.snapshot("own")
        self.assert_opens("own", KEYS[2])
        self.assertEqual({"luks1": [KEYS[1], KEYS[0]],
                          "luks2": [KEYS[1], KEYS[1], KEYS[0]]}[kind],
                         self.below("own", KEYS[2]))
        source = self.rekeyed(self.store.parent("own", "s"), "again",
                              KEYS[2], KEYS[3])
        self.assert_opens("again", KEYS[3])

    def test_over_plain_data(self):
        cloning.own_header(self.store, self.source(), "own", KEYS[0],
                           clones.LUKS2)
        self.snapshot("own")
        self.assert_opens("own", KEYS[0], [])
        self.rekeyed(self.store.parent("own", "s"), "clone", *KEYS[:2])
        self.assert_opens("clone", KEYS[1], [KEYS[0]])

    @ddt.data(None, 16, 17)
    def test_librbd_without_layers(self, release):
        """It asks for nothing; it is there for the next release."""
        self.rekeyed(self.source("luks2", key=KEYS[0]), "clone", *KEYS[:2])
        self.store.release = release
        self.assertEqual([], self.below("clone", KEYS[1]))
        self.assertEqual(1, self.count("clone"))

    @ddt.data("luks1", "luks2")
    def test_flattened(self, kind):
        source = self.rekeyed(self.source(kind, key=KEYS[0]), "clone",
                              *KEYS[:2])
        before = self.header("clone")
        flattening.flatten(self.store, "clone", KEYS[1])
        self.assert_opens("clone", KEYS[1], [])
        self.assertTrue(before.same_volume(self.header("clone")))
        with self.store.open("clone") as image:
            self.assertIsNone(image.note(sealed.NOTE))
        if kind == "luks2":
            self.assertIsNone(tokens.read(self.header("clone")))
        del source

    @ddt.data("luks1", "luks2")
    def test_flattened_by_others(self, kind):
        """What is left in it is for layers that it and its clones lack."""
        self.rekeyed(self.source(kind, key=KEYS[0]), "clone", *KEYS[:2])
        with self.store.open("clone") as image:
            image.flatten()
        self.store.contents["clone"].thaw("s")
        self.snapshot("clone")
        self.assert_opens("clone", KEYS[1], [])
        source = self.plain(self.store.parent("clone", "s"), "plain")
        self.assert_opens("plain", KEYS[1], [])
        self.rekeyed(source, "last", KEYS[1], KEYS[2])
        self.assert_opens("last", KEYS[2], [KEYS[1]])

    @ddt.data("luks1", "luks2")
    def test_layer_flattened_below(self, kind):
        """As the deep-flatten feature does: its snapshots as well."""
        source = self.source(kind, key=KEYS[0])
        for number in range(1, 4):
            source = self.rekeyed(source, f"clone{number}", *KEYS[
                number - 1:number + 1])
        with self.store.open("clone1") as image:
            image.flatten()
        self.assert_opens("clone3", KEYS[3], [KEYS[2], KEYS[1]])
        self.assert_opens("clone2", KEYS[2], [KEYS[1]])

    @ddt.data("luks1", "luks2")
    def test_with_another_id(self, kind):
        """As a migrated image, or one that was copied with its layers."""
        self.rekeyed(self.source(kind, key=KEYS[0]), "clone", *KEYS[:2])
        content = self.store.contents["clone"]
        content.image_id = "another"
        content.frozen["s"].image_id = "another@7"
        self.assert_opens("clone", KEYS[1], [KEYS[0]])

    def test_another_passphrase_later(self):
        """What is sealed is under the volume key, which stays."""
        self.rekeyed(self.source("luks2", key=KEYS[0]), "clone", *KEYS[:2])
        with self.store.open("clone") as image:
            passphrases.replace(image, KEYS[1], KEYS[2])
            self.store.contents["clone"].thaw("s")
        self.snapshot("clone")
        self.assert_opens("clone", KEYS[2], [KEYS[0]])

    def test_no_room(self):
        """Beyond what fits: said before anything is made."""
        source = self.source("luks2", key=b"x" * 512)
        made = 0
        before = self.state()
        try:
            for made in range(40):
                before = self.state()
                source = self.rekeyed(source, f"clone{made}", b"x" * 512,
                                      b"x" * 511 + bytes([made]))
                with self.store.open(f"clone{made}") as image:
                    passphrases.replace(image, b"x" * 511 + bytes([made]),
                                        b"x" * 512)
                self.store.contents[f"clone{made}"].thaw("s")
                source = self.snapshot(f"clone{made}")
        except exception.TooManyLayers as error:
            self.assertIn("flatten", str(error))
        else:
            self.fail("there is no end")
        self.assert_state(before)
        self.assertGreater(made, 10)


@ddt.ddt
class KeyslotsTest(SealedTestCase):
    """No keyslot of a plain clone changes without its parent's passphrase."""

    @ddt.data("luks1", "luks2")
    def test_added(self, kind):
        self.plain(self.source(kind), "clone")
        self.store.contents["clone"].thaw("s")
        with self.store.open("clone") as image:
            passphrases.add(image, base.OLD, base.NEW)
        self.snapshot("clone")
        self.assert_opens("clone", base.NEW, [base.OLD])
        self.assert_opens("clone", base.OLD, [base.OLD])

    @ddt.data("luks1", "luks2")
    def test_replaced(self, kind):
        self.plain(self.source(kind), "clone")
        self.store.contents["clone"].thaw("s")
        with self.store.open("clone") as image:
            passphrases.replace(image, base.OLD, base.NEW)
        self.snapshot("clone")
        self.assert_opens("clone", base.NEW, [base.OLD])

    @ddt.data("luks1", "luks2")
    def test_added_before_without_it(self, kind):
        """The passphrase that is known opens the parent: not too late."""
        self.plain(self.source(kind), "clone")
        with self.store.open("clone") as image:
            keyslots.add(image, base.OLD, base.OTHER)
            passphrases.add(image, base.OLD, base.NEW)
        self.store.contents["clone"].thaw("s")
        self.snapshot("clone")
        self.assert_opens("clone", base.NEW, [base.OLD])

    @ddt.data("luks1", "luks2")
    def test_replaced_before_without_it(self, kind):
        """Nobody has the parent's passphrase: the volume is as it was."""
        self.plain(self.source(kind), "clone")
        with self.store.open("clone") as image:
            keyslots.replace(image, base.OLD, base.OTHER)
            passphrases.replace(image, base.OTHER, base.NEW)
            self.assertEqual([], decryption.below(
                image, header_io.read_header(image), base.NEW))

    def test_no_clone(self):
        self.source("luks2")
        with self.store.open("source") as image:
            passphrases.add(image, base.OLD, base.NEW)
        self.assertIsNone(tokens.read(self.header("source")))

    def test_own_header(self):
        cloning.own_header(self.store, self.source("luks2"), "own", KEYS[0],
                           clones.LUKS2, old_passphrase=base.OLD)
        before = tokens.read(self.header("own"))
        with self.store.open("own") as image:
            passphrases.replace(image, KEYS[0], KEYS[1])
        self.assertEqual(before, tokens.read(self.header("own")))
        self.snapshot("own")
        self.assert_opens("own", KEYS[1], [base.OLD])

    @ddt.data("luks1", "luks2")
    def test_every_step_fails(self, kind):
        """Whatever opened all of it before does so, or the new one does."""
        self.plain(self.source(kind), "clone")
        self.store.contents["clone"].thaw("s")
        for number in range(200):
            self.store.steps.faults.clear()
            self.store.steps.done.clear()
            self.store.steps.faults[number] = FAILURE
            failed = False
            try:
                with self.store.open("clone") as image:
                    passphrases.add(image, base.OLD, base.NEW)
            except exception.ImageIOError:
                failed = True
            self.store.steps.faults.clear()
            self.snapshot("clone")
            self.assert_opens("clone", base.OLD)
            self.store.contents["clone"].thaw("s")
            if not failed:
                break
        else:
            self.fail("there is no end")
        self.assertGreater(number, 10)


@ddt.ddt
class RefusedTest(SealedTestCase):

    def setUp(self):
        super().setUp()
        self.rekeyed(self.source("luks1", key=KEYS[0]), "clone", *KEYS[:2])
        self.image = self.store.open("clone")
        self.addCleanup(self.image.__exit__)
        self.notes = self.store.contents["clone"].notes

    def look(self):
        return sealed.look(self.image, header_io.read_header(self.image))

    @ddt.data("", "{", "null", "1", "\"id\"", "{}", "[1]", "NaN",
              "{\"image\": 1, \"token\": {}}", "{\"image\": \"i\"}",
              "[" * 100000, "{\"image\": \"i\", \"token\": []}",
              "{\"image\": \"i\", \"token\": {}}")
    def test_not_ours(self, text):
        self.notes[sealed.NOTE] = text
        error = self.assertRaises(exception.LayersNotReadable, self.look)
        self.assertEqual(self.image.name, error.image)

    def test_changed(self):
        note = json.loads(self.notes[sealed.NOTE])
        note["token"]["layers"] = 2
        self.notes[sealed.NOTE] = json.dumps(note)
        self.assertRaises(exception.LayersNotReadable, self.below, "clone",
                          KEYS[1])

    def test_of_another_volume(self):
        note = json.loads(self.notes[sealed.NOTE])
        note["token"] = sealing.seal([b"p"], b"k" * 32, "uuid")
        self.notes[sealed.NOTE] = json.dumps(note)
        self.assertEqual(1, self.look().count)
        self.assertRaises(exception.LayersNotReadable, self.below, "clone",
                          KEYS[1])

    def test_later_version(self):
        note = json.loads(self.notes[sealed.NOTE])
        note["token"]["version"] = 2
        self.notes[sealed.NOTE] = json.dumps(note)
        self.assertRaises(exception.UnsupportedHeader, self.look)

    def test_wrong_passphrase(self):
        self.assertRaises(exception.WrongPassphrase, self.below, "clone",
                          KEYS[0])

    def test_no_secret_is_shown(self):
        opened = unlocking.unlock(self.image, KEYS[1])
        for thing in (self.look(), opened, self.notes):
            self.assertNotIn(KEYS[0].decode(), repr(thing))

    @ddt.data("note", "parent", "identity")
    def test_store_that_fails(self, call):
        """Not to know is no reason to say that there is none."""
        self.store.steps.faults[call] = FAILURE
        self.assertIs(FAILURE, self.assertRaises(
            exception.ImageIOError, self.look))

    def test_looking_writes_nothing(self):
        before = self.state()
        self.look()
        self.below("clone", KEYS[1])
        self.assert_state(before)
