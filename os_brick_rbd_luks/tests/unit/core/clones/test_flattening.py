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

from __future__ import annotations

import logging

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import flatten_note
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

LUKS2 = formatting.Options(type="luks2")
DELETED = ".deleted"


class FlattenTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))

    def own_header(self, parent, name="clone", **options):
        cloning.own_header(self.store, parent, name, base.NEW, LUKS2,
                           **options)

    def needs_keys(self, name):
        with self.store.open(name, read_only=True) as image:
            return flattening.needs_keys(image)

    def flatten(self, name="clone"):
        flattening.flatten(self.store, name, base.NEW)


def _spoil_second_copy(image):
    """Give ``header repair`` something to do, behind everybody's back."""
    image.content.write(16384, bytes(64))


#: Every change of a header, by another client.
CHANGES = {
    "add": lambda image: keyslots.add(image, base.NEW, base.OTHER),
    "replace": lambda image: keyslots.replace(image, base.NEW, base.OTHER),
    "replace_all": lambda image: keyslots.replace_all(image, base.NEW,
                                                      base.OTHER),
    "remove": lambda image: keyslots.remove(image, base.OTHER),
    "remove_number": lambda image: keyslots.remove_number(image, 1, base.NEW),
    "remove_others": lambda image: keyslots.remove_others(image, base.NEW),
    "restore": lambda image: header_backup.restore(
        image, header_backup.backup(image), force=True),
    "repair": lambda image: (_spoil_second_copy(image),
                             repair.repair(image)),
    "erase": lambda image: erase.erase(image, force=True),
    "overwrite": erase.overwrite,
    "format": lambda image: formatting.format_image(
        image, base.OTHER, LUKS2, force=True)}


@ddt.ddt
class UnderwayTest(FlattenTestCase):
    """While one client flattens, another changes the header."""

    def setUp(self):
        super().setUp()
        self.own_header(self.source())

    def meanwhile(self, step, change):
        """Flatten; what the other client meets at a *step* of that."""
        met = []

        def other():
            with self.store.open("clone") as image:
                try:
                    change(image)
                except exception.RBDLuksError as error:
                    met.append(error)

        self.store.steps.before[step] = other
        try:
            self.flatten()
        except exception.RBDLuksError as error:
            return met, error
        return met, None

    @ddt.data(*((step, name) for name in sorted(CHANGES)
                for step in ("flatten", "flatten_header")))
    @ddt.unpack
    def test_refused(self, step, name):
        with self.store.open("clone") as image:
            keyslots.add(image, base.NEW, base.OTHER)
        (error,), failed = self.meanwhile(step, CHANGES[name])
        self.assertIsInstance(error, exception.FlattenUnderway)
        self.assertIn(error.client, str(error))
        self.assertIsNone(failed)
        self.assertEqual(clones.expected(), self.guest("clone", base.NEW))
        # And afterwards nobody is refused.
        with self.store.open("clone") as image:
            self.assertIsNone(image.note(flatten_note.NOTE))
            CHANGES[name](image)

    def test_two_of_them(self):
        (error,), failed = self.meanwhile(
            "flatten", lambda image: self.flatten())
        self.assertIsInstance(error, exception.FlattenUnderway)
        self.assertIsNone(failed)

    def test_note_of_a_killed_one(self):
        with self.store.open("clone") as image:
            image.set_note(flatten_note.NOTE,
                           "client.1 at 10.0.0.1:0/1 since yesterday")
            keyslots.replace(image, base.NEW, base.OTHER)
            keyslots.replace(image, base.OTHER, base.NEW)
        self.flatten()
        with self.store.open("clone") as image:
            self.assertIsNone(image.note(flatten_note.NOTE))

    def test_failed(self):
        self.store.steps.faults["flatten"] = exception.ImageFull(action="x")
        _met, error = self.meanwhile("none", None)
        self.assertIsInstance(error, exception.ImageFull)
        with self.store.open("clone") as image:
            self.assertIsNone(image.note(flatten_note.NOTE))
            keyslots.replace(image, base.NEW, base.OTHER)

    # Of one who knows nothing of the note.

    def behind(self, step, change):
        def ignorant(image):
            note = image.note(flatten_note.NOTE)
            image.set_note(flatten_note.NOTE, None)
            change(image)
            image.set_note(flatten_note.NOTE, note)

        return self.meanwhile(step, ignorant)

    def test_added_behind_its_back(self):
        met, failed = self.behind("flatten", CHANGES["add"])
        self.assertEqual(([], None), (met, failed))
        self.assertIn("somebody changed its header", self.log.output)
        self.assertTrue(self.opens_name("clone", base.NEW))
        self.assertTrue(self.opens_name("clone", base.OTHER))

    def test_replaced_behind_its_back(self):
        met, failed = self.behind("flatten", CHANGES["replace"])
        self.assertEqual([], met)
        self.assertIsInstance(failed, exception.ChangedWhileFlattened)
        self.assertTrue(self.opens_name("clone", base.OTHER))
        self.assertEqual(clones.expected(), self.guest("clone", base.OTHER))

    @ddt.data(bytes(65536), bytes(4))
    def test_backup_from_before(self, damage):
        """Put back when it is no clone any more: it has no parent's keys."""
        with self.store.open("clone") as image:
            saved = header_backup.backup(image)
        self.flatten()
        with self.store.open("clone") as image:
            # All is gone; or who it was is left, so that nobody insists.
            for copy in (0, 16384):
                image.content.write(copy + (0 if damage[4:] else 450), damage)
            header_backup.restore(image, saved, force=len(damage) > 4)
        self.assertFalse(self.header("clone").clone)
        self.assertEqual(clones.expected(), self.guest("clone", base.NEW))

    @ddt.data(("the header", 0, 20000), ("a keyslot", 32768, 256000))
    @ddt.unpack
    def test_damaged_behind_its_back(self, _what, offset, length):
        met, failed = self.behind("flatten", lambda image:
                                  image.content.write(offset,
                                                      b"\0x" * (length // 2)))
        self.assertEqual(([], None), (met, failed))
        self.assertIn("put back", self.log.output)
        self.assertEqual(clones.expected(), self.guest("clone", base.NEW))
        self.assertFalse(self.header("clone").clone)


@ddt.ddt
class NeedsKeysTest(FlattenTestCase):

    def test_no_clone(self):
        self.source("luks2")
        self.assertIs(False, self.needs_keys("source"))

    def test_plain_clone(self):
        self.store.clone(self.source(), "clone").__exit__()
        self.assertIs(False, self.needs_keys("clone"))

    @ddt.data("luks1", "luks2")
    def test_same_volume_key(self, kind):
        cloning.rekeyed(self.store, self.source(kind), "clone", base.OLD,
                        base.NEW)
        self.assertIs(False, self.needs_keys("clone"))

    def test_header_of_its_own(self):
        self.own_header(self.source())
        self.assertIs(True, self.needs_keys("clone"))
        self.flatten()
        self.assertIs(False, self.needs_keys("clone"))


@ddt.ddt
class FlattenTest(FlattenTestCase):

    @ddt.data("plain", "luks1")
    def test_parent_s_data_is_encrypted_anew(self, kind):
        secret = {} if kind == "plain" else {"old_passphrase": base.OLD}
        self.own_header(self.source(kind), **secret)
        self.flatten()
        self.assertEqual(clones.expected(), self.guest("clone", base.NEW))
        self.assert_nothing_sealed()

    @ddt.data("plain", "luks1", "luks2")
    def test_qemu_reads_what_librbd_did(self, kind):
        """Of LUKS1, which it opens from then on: zeros, not its noise."""
        parent = self.source(kind)
        options = {"old_passphrase": base.OLD} if kind != "plain" else {}
        cloning.own_header(self.store, parent, "clone", base.NEW, base.QUICK,
                           **options)
        keys = [base.NEW] if kind == "plain" else [base.NEW, base.OLD]
        self.assertEqual(clones.expected(), self.guest("clone", *keys))
        # Of an object that it has written, too.
        self.plaintext("clone", *keys).write(clones.OBJECT, b"own")
        before = self.guest("clone", *keys)
        self.flatten()
        with self.store.open("clone", read_only=True) as image:
            view = plaintext.Plaintext(image, unlocking.unlock(image,
                                                               base.NEW))
            self.assertEqual(before, view.read(0, view.size()))

    def test_open_for_others(self):
        """What one of them writes meanwhile would be overwritten by zeros."""
        cloning.own_header(self.store, self.source(), "clone", base.NEW,
                           base.QUICK)
        content = self.store.contents["clone"]
        before = content.read(0, content.size)
        content.watchers.append("client.7")
        error = self.assertRaises(exception.ImageLocked, self.flatten)
        self.assertIn("client.7", str(error))
        content.watchers.clear()
        self.assertEqual(before, content.read(0, content.size))
        self.flatten()

    def assert_nothing_sealed(self):
        with self.store.open("clone") as image:
            self.assertIsNone(image.parent())
            self.assertIsNone(image.note(sealed.NOTE))
            header = header_io.read_header(image)
            if header.type == "luks2":
                self.assertIsNone(tokens.read(header))

    @ddt.data("luks1", "luks2")
    def test_same_volume_key_needs_no_passphrase(self, kind):
        cloning.rekeyed(self.store, self.source(kind), "clone", base.OLD,
                        base.NEW)
        flattening.flatten(self.store, "clone", b"whatever")
        self.assertEqual(clones.expected(), self.guest("clone", base.NEW))

    def test_no_clone_is_left_alone(self):
        self.source("luks2", name="clone", key=base.NEW)
        before = self.state()
        self.flatten()
        self.assertEqual(before, self.state())

    def test_wrong_passphrase_changes_nothing(self):
        self.own_header(self.source())
        before = self.state()
        self.assertRaises(exception.WrongPassphrase, flattening.flatten,
                          self.store, "clone", base.OTHER)
        self.assertEqual(before, self.state())

    def test_what_is_sealed_was_changed(self):
        self.own_header(self.source("luks1"), old_passphrase=base.OLD)
        with self.store.open("clone") as image:
            header = header_io.read_header(image)
            header_io.apply(image, tokens.change(
                header, {**tokens.read(header), "layers": 3}).plan)
        before = self.state()
        self.assertRaises(exception.LayersNotReadable, self.flatten)
        self.assertEqual(before, self.state())

    @ddt.data(16, None)
    def test_old_ceph_changes_nothing(self, release):
        self.own_header(self.source())
        before = self.state()
        self.store.release = release
        error = self.assertRaises(exception.UnsupportedCeph, self.flatten)
        self.assertIn("18", str(error))
        self.assertEqual(before, self.state())


@ddt.ddt
class ReleaseParentsTest(FlattenTestCase):
    """What there was only for a clone."""

    def release(self, parent, name):
        flattening.release_parents(self.store, parent, name)

    def clone_of(self, image, name):
        parent = self.snapshot(image, f"{name}.clone_snap")
        self.store.clone(parent, name).__exit__()
        return parent

    def test_nothing(self):
        """A clone without a parent: nothing is looked for or removed."""
        self.source("luks1")
        before = self.state()
        self.store.steps.done.clear()
        self.release(None, "clone")
        self.assertEqual([], self.store.steps.done)
        self.assertEqual(before, self.state())

    def test_snapshot_of_the_clone(self):
        self.source("luks1")
        parent = self.clone_of("source", "clone")
        self.store.remove("clone")
        self.release(parent, "clone")
        self.assertEqual(["s"], [*self.store.contents["source"].frozen])
        self.assertEqual(["source"], self.store.images())

    def test_snapshot_of_somebody_else(self):
        parent = self.source("luks1")
        self.release(parent, "clone")
        self.assertEqual(["s"], [*self.store.contents["source"].frozen])

    def test_snapshot_with_a_clone(self):
        self.source("luks1")
        parent = self.clone_of("source", "clone")
        self.release(parent, "clone")
        self.assertIn("clone.clone_snap",
                      self.store.contents["source"].frozen)

    def test_images_kept_for_their_clones(self):
        self.source("luks1")
        self.clone_of("source", "one")
        parent = self.clone_of("one", "two")
        self.store.rename("one", "one" + DELETED)
        parent = parent._replace(image="one" + DELETED)
        self.store.remove("two")
        self.release(parent, "two")
        self.assertEqual(["source"], self.store.images())
        self.assertEqual(["s"], [*self.store.contents["source"].frozen])

    def test_kept_while_there_is_another_clone(self):
        self.source("luks1")
        self.clone_of("source", "one")
        self.clone_of("one", "other")
        parent = self.clone_of("one", "two")
        self.store.rename("one", "one" + DELETED)
        self.store.remove("two")
        self.release(parent._replace(image="one" + DELETED), "two")
        self.assertEqual(["one" + DELETED, "other", "source"],
                         sorted(self.store.images()))

    def test_padded_base(self):
        self.own_header(self.source())
        with self.store.open("clone", read_only=True) as image:
            parent = image.parent()
        self.assertEqual(1, len(self.bases()))
        self.store.remove("clone")
        self.release(parent, "clone")
        self.assertEqual([], self.bases())
