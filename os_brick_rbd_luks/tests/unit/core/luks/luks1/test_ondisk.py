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

"""The 592 bytes, pinned."""

from __future__ import annotations

import dataclasses

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import properties

#: Field, offset and length, as figure 1 of the specification has them.
FIELDS = (
    ("magic", 0, 6), ("version", 6, 2), ("cipher_name", 8, 32),
    ("cipher_mode", 40, 32), ("hash_spec", 72, 32),
    ("payload_offset", 104, 4), ("key_bytes", 108, 4),
    ("mk_digest", 112, 20), ("mk_digest_salt", 132, 32),
    ("mk_digest_iter", 164, 4), ("uuid", 168, 40))
#: And figure 2, from the start of a keyslot's record.
BLOCK_FIELDS = (("active", 0, 4), ("iterations", 4, 4), ("salt", 8, 32),
                ("key_material_offset", 40, 4), ("stripes", 44, 4))


def value(data, start, length, like):
    piece = data[start:start + length]
    return int.from_bytes(piece, "big") if isinstance(like, int) else piece


@ddt.ddt
class OndiskTest(testtools.TestCase):

    def test_sizes(self):
        self.assertEqual(592, ondisk.SIZE)
        self.assertEqual(208, ondisk.PHDR.size)
        self.assertEqual(48, ondisk.KEY_BLOCK.size)
        self.assertEqual(8, ondisk.KEYSLOTS)
        self.assertEqual(4000, ondisk.STRIPES)
        self.assertEqual(0x00ac71f3, ondisk.KEY_ENABLED)
        self.assertEqual(0x0000dead, ondisk.KEY_DISABLED)

    def test_offsets_for_errors(self):
        self.assertEqual({name: offset for name, offset, _ in FIELDS},
                         ondisk.OFFSETS)
        for number in range(8):
            for name, offset, _length in BLOCK_FIELDS:
                self.assertEqual(208 + 48 * number + offset,
                                 ondisk.key_block_offset(number, name))

    @hypothesis.given(strategies.binary(min_size=592, max_size=592))
    @properties.examples(50)
    def test_fields_lie_where_the_specification_says(self, data):
        phdr = ondisk.unpack(data)
        for name, offset, length in FIELDS:
            got = getattr(phdr, name)
            self.assertEqual(value(data, offset, length, got), got, name)
        for number, block in enumerate(phdr.key_blocks):
            for name, offset, length in BLOCK_FIELDS:
                got = getattr(block, name)
                start = 208 + 48 * number + offset
                self.assertEqual(value(data, start, length, got), got, name)

    @hypothesis.given(strategies.binary(min_size=592, max_size=700))
    @properties.examples(50)
    def test_pack_undoes_unpack(self, data):
        self.assertEqual(data[:592], ondisk.unpack(data).pack())

    @hypothesis.given(strategies.data())
    @properties.examples(50)
    def test_unpack_undoes_pack(self, data):
        def words(bits):
            return strategies.integers(0, 2 ** bits - 1)

        def texts(size):
            return strategies.binary(min_size=size, max_size=size)

        block = strategies.builds(
            ondisk.KeyBlock, words(32), words(32), texts(32), words(32),
            words(32))
        phdr = data.draw(strategies.builds(
            ondisk.Phdr, texts(6), words(16), texts(32), texts(32),
            texts(32), words(32), words(32), texts(20), texts(32), words(32),
            texts(40), strategies.tuples(*[block] * 8)))
        self.assertEqual(phdr, ondisk.unpack(phdr.pack()))

    @ddt.data(0, 8, 591)
    def test_too_short(self, length):
        self.assertRaises(ValueError, ondisk.unpack, bytes(length))

    def test_records_are_frozen(self):
        phdr = ondisk.unpack(bytes(592))
        self.assertRaises(dataclasses.FrozenInstanceError, setattr, phdr,
                          "version", 2)
        self.assertRaises(dataclasses.FrozenInstanceError, setattr,
                          phdr.key_blocks[0], "active", 2)
