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

"""Passphrases that QEMU takes from nobody, wherever one is set."""

from __future__ import annotations

import dataclasses
import logging

import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import passphrase_advice
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base

XTS = formatting.Options()
ODD = b"\xff\xfe secret"


@ddt.ddt
class TextTest(base.OperationsTestCase):

    @ddt.data(b"passphrase", "Schlüssel".encode(), "\U0001f511".encode(),
              "\uffff".encode(), b"a\nb", b"\x01\x7f", b"0123456789abcdef")
    def test_text(self, passphrase):
        self.assertTrue(passphrase_advice.is_text(passphrase))

    @ddt.data(b"\0", b"a\0", b"\0a", b"\xff", b"a\xc3", b"\xc0\x80",
              b"\xed\xa0\x80", b"\xf4\x90\x80\x80", "ü".encode("latin1"))
    def test_no_text(self, passphrase):
        """By g_utf8_validate(), of a length that is given."""
        self.assertFalse(passphrase_advice.is_text(passphrase))


@ddt.ddt
class SetTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.WARNING))

    def assert_said(self, said=True, name="volume"):
        self.assertEqual(1 if said else 0, self.log.output.count(
            f"{name}: the new passphrase is not UTF-8"), self.log.output)
        self.assertNotIn("secret", self.log.output)

    def volume(self, options=XTS, passphrase=base.OLD):
        creating.create(self.store, "volume", clones.SIZE, passphrase,
                        options)
        return self.store.open("volume")

    @ddt.data((XTS, ODD, True), (XTS, b"a\0secret", True),
              (XTS, base.OLD, False), (XTS, "ü".encode(), False),
              (dataclasses.replace(XTS, type="luks2"), ODD, False))
    @ddt.unpack
    def test_new_volume(self, options, passphrase, said):
        with self.volume(options, passphrase) as image:
            unlocking.unlock(image, passphrase)
        self.assert_said(said, "volume")

    def test_formatted(self):
        image = self.store.create("volume", 8 * clones.SIZE)
        formatting.format_image(image, ODD, XTS)
        self.assert_said()
        image.__exit__()

    @ddt.data("add", "replace", "replace_all")
    def test_keyslots(self, change):
        for new in (base.NEW, ODD):
            with self.volume() as image:
                getattr(keyslots, change)(image, base.OLD, new)
            self.store.remove("volume")
        self.assert_said()

    @ddt.data("luks1", "luks2")
    def test_clone_with_its_own_key(self, kind):
        self.volume(dataclasses.replace(XTS, type=kind)).__exit__()
        cloning.rekeyed(self.store, self.snapshot("volume"), "clone",
                        base.OLD, ODD)
        self.assert_said(kind == "luks1", "")

    @ddt.data("luks1", "luks2")
    def test_clone_with_its_own_header(self, kind):
        """Which only librbd opens."""
        cloning.own_header(self.store, self.source(), "clone", ODD,
                           dataclasses.replace(XTS, type=kind))
        self.assert_said(False)

    # Where no guest opens the volume

    @ddt.data("aes-cbc-essiv:sha256", "aes-cbc-plain64")
    def test_cipher_that_librbd_has_not(self, spec):
        self.volume(dataclasses.replace(XTS, cipher_spec=spec, key_bytes=32),
                    ODD).__exit__()
        self.assert_said()
        self.assertIn(f"no guest opens the volume with it, for librbd has no "
                      f"cipher {spec}", self.log.output)
