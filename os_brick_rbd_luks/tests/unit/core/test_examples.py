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

"""What the documentation shows works."""

from __future__ import annotations

import contextlib
import io
from xml.etree import ElementTree

import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.examples import attaching
from os_brick_rbd_luks.tests.examples import life
from os_brick_rbd_luks.tests.examples import reading
from os_brick_rbd_luks.tests.fakes import store as stores

MIB = 1024 ** 2


class ExamplesTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.printed = io.StringIO()
        stack = contextlib.ExitStack()
        stack.enter_context(contextlib.redirect_stdout(self.printed))
        self.addCleanup(stack.close)

    def test_life_in_a_file(self):
        path = self.useFixture(fixtures.TempDir()).join("volume")
        opened = life.live(rawfile.FileStore(), path)
        self.assertEqual("luks1", opened.header.type)
        self.assertIn(path, self.printed.getvalue())
        self.assertNotIn("the first", self.printed.getvalue())

    def test_life_in_a_pool(self):
        store = stores.MemoryStore()
        life.live(store, "v")
        with store.open("v") as image:
            self.assertEqual(68 * MIB, image.size())

    def test_reading(self):
        store = stores.MemoryStore()
        creating.create(store, "v", MIB, b"right")
        self.assertEqual(bytes(512),
                         reading.first_sector(store, "v", b"right"))
        self.assertIsNone(reading.first_sector(store, "v", b"wrong"))
        self.assertEqual("", self.printed.getvalue())
        store.create("plain", MIB).__exit__()
        self.assertIsNone(reading.first_sector(store, "plain", b"right"))
        self.assertIsNone(reading.first_sector(store, "gone", b"right"))
        damaged, gone = self.printed.getvalue().splitlines()
        self.assertIn("damaged, or no volume: memory/plain", damaged)
        self.assertIn("the store, try again: ", gone)

    def test_attaching(self):
        store = stores.MemoryStore()
        creating.create(store, "v", 8 * MIB, b"right")
        info = {"serial": "the-id", "data": {
            "name": "volumes/v", "hosts": ["192.0.2.1"], "ports": ["6789"]}}
        self.assertRaises(ValueError, attaching.disk, info)
        with store.open("v", read_only=True) as image:
            attaching.mark(info, image)
        root = ElementTree.fromstring(attaching.disk(info))
        self.assertEqual("luks", root.find("source/encryption").get("format"))
        self.assertEqual(
            "the-id", root.find("source/encryption/secret").get("usage"))

    def test_errors_are_told_apart(self):
        """As the second example relies on."""
        classes = (exception.WrongPassphrase, exception.HeaderError,
                   exception.ImageError)
        for one in classes:
            self.assertEqual([one], [other for other in classes
                                     if issubclass(one, other)])
