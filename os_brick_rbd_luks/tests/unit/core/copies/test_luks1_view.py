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

"""A volume is read as a LUKS1 image of the same data."""

from __future__ import annotations

import io

import ddt

from os_brick_rbd_luks.copies import luks1_view
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import source_cases

ITERATIONS = 1000


@ddt.ddt
class Luks1ViewTest(source_cases.SourceTestCase):

    def whole(self, passphrase, chunk=-1):
        """All bytes, read so many at a time."""
        with luks1_view.opened(self.store, "source", passphrase,
                               ITERATIONS) as stream:
            return b"".join(iter(lambda: stream.read(chunk), b""))

    def unlocked(self, data, passphrase):
        """An image of *data*, and what opens it."""
        image = self.store.create("copy", len(data))
        self.addCleanup(image.__exit__, None, None, None)
        image.write(0, data)
        return image, unlocking.unlock(image, passphrase)

    @ddt.data("luks1", "luks2", "luks1-cbc")
    def test_same_data_another_volume_key(self, kind):
        passphrase = self.make(kind)
        image, opened = self.unlocked(self.whole(passphrase), passphrase)
        self.assertEqual("luks1", opened.header.type)
        plain = plaintext.Plaintext(image, opened)
        self.assert_same_bytes(clones.expected(),
                               plain.read(0, plain.size()))
        with self.store.open("source") as source:
            other = unlocking.unlock(source, passphrase)
        self.assertNotEqual(other.volume_key, opened.volume_key)
        self.assertEqual(other.header.cipher_spec,
                         opened.header.cipher_spec)

    def test_from_anywhere(self):
        passphrase = self.make("luks2")
        with luks1_view.opened(self.store, "source", passphrase,
                               ITERATIONS) as stream:
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            whole = stream.read()
            self.assertEqual(size, len(whole))
            self.assertEqual(b"", stream.read(1))
            header = size - len(clones.expected())
            for offset in (0, 5, header - 3, header, header + 515, size - 1):
                stream.seek(offset)
                self.assertEqual(offset, stream.tell())
                self.assert_same_bytes(whole[offset:offset + 1500],
                                       stream.read(1500))

    def test_wrong_passphrase(self):
        self.make("luks2")
        self.assertRaises(exception.WrongPassphrase, self.whole, b"wrong")

    @ddt.data(("luks1", False), ("luks2", True))
    @ddt.unpack
    def test_is_needed(self, kind, needed):
        self.make(kind)
        with self.store.open("source") as image:
            self.assertEqual(needed, luks1_view.is_needed(image))
