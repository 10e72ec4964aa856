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
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
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
