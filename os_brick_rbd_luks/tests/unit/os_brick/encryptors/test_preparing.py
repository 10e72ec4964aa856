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

"""The header that an attachment finds, or makes."""

from __future__ import annotations

import ddt
import fixtures

from os_brick_rbd_luks.encryptors import preparing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.fakes import image as fakes
from os_brick_rbd_luks.tests.unit.core.headers import base

LOW = preparing.CHEAP


@ddt.ddt
class HeaderTest(base.OperationsTestCase):

    def header(self, image, passphrase=base.OLD):
        return preparing.opened(image, passphrase, lambda: base.QUICK)[0]

    def test_there(self):
        image = self.make_volume(base.OLD, base.NEW)
        header = self.header(image, base.NEW)
        self.assertEqual(unlocking.unlock(image, base.OLD).header, header)
        self.assertEqual([], image.content.log)

    def test_wrong_passphrase(self):
        image = self.make_volume()
        self.assert_untouched(image, lambda: self.header(image, base.NEW),
                              exception.WrongPassphrase)

    @ddt.data((LOW, True), (LOW + 1, False))
    @ddt.unpack
    def test_a_passphrase_is_tried_if_it_is_cheap(self, iterations, tried):
        """Where it takes long, whoever decrypts does the same right after."""
        image = self.make_volume(options=formatting.Options(
            cipher_spec="aes-cbc-plain64", key_bytes=16,
            iterations=iterations))
        if tried:
            self.assertRaises(exception.WrongPassphrase, self.header, image,
                              base.NEW)
        else:
            self.assertEqual(iterations, self.header(
                image, base.NEW).keyslots[0].kdf.iterations)

    def test_all_keyslots_count(self):
        image = self.make_volume()
        keyslots.add(image, base.OLD, base.NEW, iterations=LOW)
        self.assertEqual(2, len(self.header(image, b"wrong").keyslots))

    def test_blank(self):
        image = self.make_image()
        log = self.useFixture(fixtures.FakeLogger())
        header = self.header(image)
        self.assertEqual(unlocking.unlock(image, base.OLD).header, header)
        self.assertIn(f"{image.name}: the image was blank", log.output)
        self.assertIn(f"{image.size() - header.data_offset} bytes",
                      log.output)
        self.assertNotIn(base.OLD.decode(), log.output)

    @ddt.data(0, 600, base.SIZE - 1)
    def test_data(self, offset):
        image = self.make_image()
        image.write(offset, b"x")
        error = self.assertRaises(exception.OperationRefused, self.header,
                                  image)
        self.assertIn("header restore", str(error))
        self.assertEqual(1, image.content.whole().count(b"x"))
        self.assertEqual(base.SIZE - 1, image.content.whole().count(0))

    def test_read_only(self):
        with self.make_image() as blank:
            image = fakes.MemoryImage(blank.content, read_only=True)
        self.assert_untouched(image, lambda: self.header(image),
                              exception.ImageReadOnly)

    def test_read_only_volume(self):
        volume = self.make_volume()
        image = fakes.MemoryImage(volume.content, read_only=True)
        self.assertEqual("luks1", self.header(image).type)

    def test_store_fails(self):
        """Neither damage nor a wrong passphrase nor a blank image."""
        image = self.make_volume()
        self.useFixture(fixtures.MockPatchObject(
            fakes.MemoryImage, "read", autospec=True,
            side_effect=exception.ImageIOError(action="read", reason="x")))
        self.assertRaises(exception.ImageIOError, self.header, image)

    def test_somebody_formats_it_meanwhile(self):
        image = self.make_image()

        def other():
            # A program that does not ask who has it open.
            formatting.format_new(fakes.MemoryImage(image.content),
                                  base.NEW, base.QUICK)

        self.assertRaises(exception.HeaderChanged, self.header,
                          self.disturbed(image, "lock", other))
        self.assertTrue(self.opens(image, base.NEW))
