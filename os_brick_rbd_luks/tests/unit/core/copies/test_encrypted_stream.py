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

"""Encrypted images that come as a stream."""

from __future__ import annotations

import random

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import encrypted_stream
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import transfers
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE
XTS2 = transfers.XTS["luks2"]


class Drops:
    """A stream that gives what it likes, but never nothing before its end."""

    def __init__(self, data, seed=0):
        self._data, self._offset = data, 0
        self._random = random.Random(seed)

    def read(self, length):
        length = min(length, self._random.choice([1, 511, 513, 5000, length]))
        found = self._data[self._offset:self._offset + length]
        self._offset += len(found)
        return found


@ddt.ddt
class EncryptedStreamTest(transfers.TransferTestCase):

    def image(self, kind="luks1", written=(), **options):
        """The bytes of an encrypted image in which a guest has written."""
        creating.create(self.store, "i", SIZE, base.OLD,
                        self.encryption(kind, **options).options)
        with self.store.open("i") as image:
            view = plaintext.Plaintext(image, unlocking.unlock(
                image, base.OLD))
            for offset, data in written:
                view.write(offset, data)
            return image.read(0, image.size())

    def opened(self, data, size=None, seed=0):
        return encrypted_stream.EncryptedStream(
            Drops(data, seed), len(data) if size is None else size,
            "image of Glance")

    @ddt.data(("luks1", {}), ("luks2", {}),
              ("luks1", {"cipher_spec": "aes-cbc-essiv:sha256",
                         "key_bytes": 32}))
    @ddt.unpack
    def test_plain(self, kind, options):
        expected = clones.expected()
        written = [(offset, expected[offset:offset + clones.OBJECT])
                   for offset in range(0, SIZE, clones.OBJECT)
                   if expected[offset:offset + clones.OBJECT].strip(b"\0")]
        data = self.image(kind, written, **options)
        for seed in range(3):
            stream = self.opened(data, seed=seed)
            source = stream.plain(stream.unlock(base.OLD))
            self.assertEqual(("image of Glance", SIZE),
                             (source.name, source.size))
            self.new(source, kind, size=SIZE)
            self.assert_same_bytes(expected, self.seen("new", kind))
            self.store.remove("new")

    @ddt.data("luks1", "luks2")
    def test_raw(self, kind):
        """As it is, whatever of it was read before."""
        data = self.image(kind, [(4096, b"x" * 4096)])
        for unlocked in (False, True):
            stream = self.opened(data)
            if unlocked:
                stream.unlock(base.OLD)
            source = stream.raw()
            self.assertEqual(len(data), source.size)
            self.new(source, "plain")
            self.assert_same_bytes(data, self.seen("new", "plain"))
            self.store.remove("new")

    def test_zeros_of_a_sector(self):
        """A guest wrote around what nobody wrote."""
        data = self.image("luks1", [(0, b"a" * 512), (1024, b"b" * 512)])
        stream = self.opened(data)
        self.new(stream.plain(stream.unlock(base.OLD)), "plain", size=SIZE)
        self.assert_same_bytes(
            b"a" * 512 + bytes(512) + b"b" * 512 + bytes(SIZE - 1536),
            self.seen("new", "plain"))

    def test_part_of_a_sector(self):
        data = self.image("luks1", [(0, b"a" * 1024)])
        stream = self.opened(data[:4 * units.MIB + 1000])
        source = stream.plain(stream.unlock(base.OLD))
        self.new(source, "plain", size=SIZE)
        self.assertEqual(b"a" * 512 + bytes(512),
                         self.seen("new", "plain")[:1024])

    def test_wrong_passphrase(self):
        stream = self.opened(self.image())
        self.assertRaises(exception.WrongPassphrase, stream.unlock, base.NEW)
        # The right one may follow.
        stream.unlock(base.OLD)

    def test_refused(self):
        plain = self.assertRaises(exception.NotLuks, self.opened,
                                  bytes(units.MIB))
        cut = self.assertRaises(exception.HeaderError, self.opened,
                                self.image("luks2")[:2048])
        for error in (plain, cut):
            self.assertIn("image of Glance", str(error))

    def test_clone_of_a_plain_image(self):
        """Its payload is that of another image, where nobody wrote."""
        self.store.release = 18
        self.store.create("p", SIZE).__exit__()
        with self.store.open("p") as image:
            image.create_snapshot("s")
            image.protect_snapshot("s")
        cloning.own_header(self.store, self.store.parent("p", "s"), "i",
                           base.OLD, XTS2)
        with self.store.open("i") as image:
            data = image.read(0, image.size())
        error = self.assertRaises(exception.UnsupportedHeader, self.opened,
                                  data)
        self.assertIn("own header of a clone", str(error))

    def test_header_without_end(self):
        """Nobody keeps in memory what a header asks for."""
        stream = self.opened(self.image("luks2"))
        self.patch(encrypted_stream, "_MOST", 8 * units.MIB)
        self.assertRaises(exception.HeaderLimitExceeded, stream.plain,
                          stream.unlock(base.OLD))
