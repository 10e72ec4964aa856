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

"""Who decrypts while data is copied, and with which passphrases."""

from __future__ import annotations

import dataclasses
import itertools
import logging

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

OBJECT = clones.OBJECT
XTS1 = formatting.Options()
XTS2 = formatting.Options(type="luks2")
CBC1 = base.QUICK
CBC2 = dataclasses.replace(base.QUICK, type="luks2")
SECRETS = (base.OLD, base.NEW, base.OTHER)


class DecryptionTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))

    def volume(self, options, features=(), aligned=True, release=18):
        """An open volume and its header."""
        self.store.release = release
        creating.create(self.store, "v", clones.SIZE, base.OLD, options)
        content = self.store.contents["v"]
        # A feature that was switched on later: not all have volumes made.
        content.features = frozenset(features)
        if not aligned:
            # As if its objects were larger.
            content.stripe_period = 2 * content.size
        image = self.store.open("v")
        self.addCleanup(image.__exit__)
        return image, header_io.read_header(image)

    def options(self, image, header):
        return decryption.block_options(
            {"driver": "rbd", "pool": "volumes", "image": "v"}, image, header,
            base.OLD)

    def assert_no_secret(self, *seen):
        for secret in SECRETS:
            self.assertNotIn(secret.decode(), f"{seen} {self.log.output}")


@ddt.ddt
class TableTest(DecryptionTestCase):
    """The expected engine: librbd, qemu, python or nothing."""

    CASES = [
        # options, features, aligned, release, QEMU, handle
        (XTS1, (), True, 18, "librbd", "librbd"),
        (XTS1, (), True, 16, "librbd", "librbd"),
        (XTS1, (), True, None, "qemu", "python"),
        (XTS1, (), False, 18, "qemu", "python"),
        (XTS1, (), False, 16, "librbd", "librbd"),
        (XTS1, ("journaling",), True, 18, "qemu", "python"),
        (CBC1, (), True, 18, "qemu", "python"),
        (XTS2, (), True, 18, "librbd", "librbd"),
        (XTS2, (), True, 16, "librbd", "librbd"),
        (XTS2, (), True, None, None, "python"),
        (XTS2, (), False, 18, None, "python"),
        (XTS2, ("journaling",), True, 16, None, "python"),
        (CBC2, (), True, 18, None, "python"),
    ]

    @ddt.data(*CASES)
    @ddt.unpack
    def test_qemu(self, options, features, aligned, release, engine, _view):
        image, header = self.volume(options, features, aligned, release)
        if engine is None:
            error = self.assertRaises(exception.UnsupportedHeader,
                                      self.options, image, header)
            self.assertIn(image.name, str(error))
            return
        found = self.options(image, header)
        secret = found.pop(
            "key-secret" if engine == "qemu" else "encrypt.key-secret")
        self.assertEqual(base.OLD, secret.value)
        if engine == "qemu":
            self.assertEqual(
                {"driver": "luks", "file.driver": "rbd",
                 "file.pool": "volumes", "file.image": "v"}, found)
        else:
            self.assertEqual(
                {"driver": "rbd", "pool": "volumes", "image": "v",
                 "encrypt.format": {"luks1": "luks", "luks2": "luks2"}[
                     header.type]}, found)
        self.assert_no_secret(secret, found)

    @ddt.data(*CASES)
    @ddt.unpack
    def test_handle(self, options, features, aligned, release, _qemu, view):
        image, header = self.volume(options, features, aligned, release)
        plain = decryption.open_view(image, header, base.OLD)
        self.assertEqual(clones.SIZE, plain.size())
        self.assertIs(view == "python",
                      isinstance(plain, plaintext.Plaintext))
        self.assertIs(view == "python", "slow" in self.log.output)
        plain.write(100, b"data")
        self.assertEqual(b"data", plain.read(100, 4))
        # Whoever did it, in the same format.
        with self.store.open("v", read_only=True) as raw:
            self.assertEqual(b"data", plaintext.Plaintext(
                raw, unlocking.unlock(raw, base.OLD)).read(100, 4))
        self.assert_no_secret()

    def test_wrong_passphrase(self):
        for options, release in itertools.product((XTS1, XTS2), (18, None)):
            image, header = self.volume(options, release=release)
            self.assertRaises(
                exception.WrongPassphrase, decryption.open_view, image,
                header, base.NEW)
            image.__exit__()
            self.store.remove("v")


@ddt.ddt
class ClonesTest(DecryptionTestCase):
    """Their layers below may have other passphrases."""

    def clone(self, kind="luks1", own=False, below=(base.OLD,)):
        """A clone with passphrase NEW of a source with OLD.

        :param below: what is sealed in it
        """
        creating.create(self.store, "source", clones.SIZE, base.OLD,
                        dataclasses.replace(XTS1, type=kind))
        parent = self.snapshot("source")
        for number in range(1, len(below)):
            # One layer more, with the same header.
            with self.store.clone(parent, f"middle{number}"):
                parent = self.snapshot(f"middle{number}")
        image = self.store.clone(parent, "clone")
        self.addCleanup(image.__exit__)
        if own:
            opened = formatting.format_clone(image, base.NEW, XTS1)
        else:
            keyslots.replace_all(image, base.OLD, base.NEW)
            opened = unlocking.unlock(image, base.NEW)
        if below:
            sealed.write(image, opened, below)
        return image, header_io.read_header(image)

    def find(self, image, header):
        return decryption.block_options(
            {"driver": "rbd"}, image, header, base.NEW)

    def test_rekeyed_luks1_needs_nothing_else_in_qemu(self):
        """Its own driver reads all layers with the one volume key."""
        image, header = self.clone()
        found = self.find(image, header)
        self.assertEqual("luks", found["driver"])
        self.assertEqual(base.NEW, found["key-secret"].value)

    @ddt.data(("luks1", 16, "luks"), ("luks2", 16, "luks2"))
    @ddt.unpack
    def test_old_librbd_asks_for_nothing_else(self, kind, release, name):
        image, header = self.clone(kind)
        self.store.release = release
        found = self.find(image, header)
        self.assertEqual(
            {"driver": "rbd", "encrypt.format": name},
            {key: value for key, value in found.items()
             if key != "encrypt.key-secret"})
        self.assertEqual(base.NEW, found["encrypt.key-secret"].value)

    @ddt.data(("luks2", False, "luks2"), ("luks1", True, "luks"))
    @ddt.unpack
    def test_layers(self, kind, own, name):
        image, header = self.clone(kind, own, below=(base.OLD, base.OTHER))
        found = self.find(image, header)
        secrets = {key: value.value for key, value in found.items()
                   if key.endswith("key-secret")}
        self.assertEqual(
            {"encrypt.key-secret": base.NEW,
             "encrypt.parent.key-secret": base.OLD,
             "encrypt.parent.parent.key-secret": base.OTHER}, secrets)
        self.assertEqual(
            (name, "luks-any", "luks-any"), tuple(
                found[f"encrypt.{parents}format"]
                for parents in ("", "parent.", "parent.parent.")))
        self.assert_no_secret(found)

    @ddt.data("luks1", "luks2")
    def test_librbd_that_cannot_close_clones(self, kind):
        """Python reads and writes, and shows holes as librbd does."""
        image, header = self.clone(kind)
        self.store.release = 16
        view = decryption.open_view(image, header, base.NEW)
        self.assertIsInstance(view, plaintext.Plaintext)
        self.assertEqual(clones.SIZE, image.size() - header.data_offset)
        self.assertEqual(bytes(view.size()), view.read(0, view.size()))
        view.write(5, b"own")
        self.assertEqual(b"own", view.read(5, 3))

    @ddt.data("luks1", "luks2")
    def test_librbd_that_can(self, kind):
        """Also of Ceph 16, what is no clone."""
        image, header = self.clone(kind)
        self.assertIs(image, decryption.open_view(image, header, base.NEW))
        self.store.release = 16
        source = self.store.open("source")
        self.addCleanup(source.__exit__)
        self.assertIs(source, decryption.open_view(
            source, header_io.read_header(source), base.OLD))

    def test_nothing_is_sealed(self):
        """librbd is asked to do with what there is, and says so."""
        image, header = self.clone("luks2", below=())
        self.assertEqual([], decryption.below(image, header, base.NEW))
        self.assertRaises(exception.WrongPassphrase, decryption.open_view,
                          image, header, base.NEW)

    def test_own_header_before_18(self):
        """Nobody reads it there."""
        image, header = self.clone(own=True)
        for release in (16, None):
            self.store.release = release
            self.assertRaises(exception.UnsupportedHeader, self.find, image,
                              header)
            self.assertRaises(
                exception.UnsupportedHeader, decryption.open_view, image,
                header, base.NEW)

    @ddt.data(("luks1", False), ("luks2", False), ("luks1", True))
    @ddt.unpack
    def test_handle(self, kind, own):
        image, header = self.clone(kind, own)
        view = decryption.open_view(image, header, base.NEW)
        self.assertIs(image, view)
        self.assertEqual(bytes(10), view.read(0, 10))


@ddt.ddt
class HolesTest(DecryptionTestCase):
    """What is tried on an empty payload, and nothing stays of it."""

    def setUp(self):
        super().setUp()
        # Holes are looked for in what is larger than 128 KiB.
        self.store._made.update(object_size=4 * OBJECT,
                                stripe_period=4 * OBJECT)

    def try_it(self, image, header, ask=True):
        if ask:
            holes.keep(image)
        with self.store.open("v") as again:
            view = decryption.open_view(again, header, base.OLD)
            try:
                return holes.stay_zeros(image, header, view)
            finally:
                self.assertFalse(image.has_data(header.data_offset))

    @ddt.data((XTS1, True), (XTS2, True), (XTS1, False), (XTS2, False))
    @ddt.unpack
    def test_as_the_osds_tell(self, options, sparse_reads):
        self.store._made["sparse_reads"] = sparse_reads
        image, header = self.volume(options)
        self.assertIs(sparse_reads, self.try_it(image, header))

    def test_not_asked(self):
        image, header = self.volume(XTS2)
        self.assertFalse(self.try_it(image, header, ask=False))

    def test_python_has_noise(self):
        image, header = self.volume(XTS2, features=("journaling",))
        self.assertFalse(self.try_it(image, header))

    def test_too_small(self):
        """Nothing beyond its end is touched."""
        creating.create(self.store, "v", OBJECT // 2, base.OLD, XTS2)
        with self.store.open("v") as image:
            self.assertFalse(self.try_it(
                image, header_io.read_header(image)))
            self.assertNotIn("zero", self.store.steps.done)

    def test_not_aligned(self):
        """The object would be the header's as well."""
        image, header = self.volume(XTS1, aligned=False, release=16)
        self.assertFalse(self.try_it(image, header))
        self.assertNotIn("zero", self.store.steps.done)

    @ddt.data(4096, OBJECT, 2 * OBJECT)
    def test_small_objects(self, size):
        """There is no room for a hole beside what was written."""
        self.store._made.update(object_size=size, stripe_period=size)
        image, header = self.volume(XTS2)
        self.assertFalse(self.try_it(image, header))
        self.assertNotIn("zero", self.store.steps.done)

    def test_two_small_objects_in_a_row(self):
        """What would be read is before the only object with a hole."""
        self.store._made.update(object_size=OBJECT,
                                stripe_period=2 * OBJECT)
        for sparse_reads in (True, False):
            self.store._made["sparse_reads"] = sparse_reads
            image, header = self.volume(XTS2)
            self.assertFalse(self.try_it(image, header))
            image.__exit__()
            self.store.remove("v")

    def test_clone(self):
        image, header = self.volume(XTS2)
        image.create_snapshot("s")
        with self.store.clone(self.store.parent("v", "s"), "c") as clone:
            before = clone.content.whole()
            self.assertFalse(holes.stay_zeros(clone, header, clone))
            self.assert_same_bytes(before, clone.content.whole())

    def test_failure_leaves_nothing(self):
        image, header = self.volume(XTS2)
        holes.keep(image)
        with self.store.open("v") as again:
            view = decryption.open_view(again, header, base.OLD)
            self.store.steps.before["read"] = lambda: (
                self.store.steps.faults.update(
                    read=exception.ImageIOError(action="read", reason="x")))
            self.assertRaises(exception.ImageIOError, holes.stay_zeros,
                              image, header, view)
        self.assertFalse(image.has_data(header.data_offset))
