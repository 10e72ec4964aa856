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

"""Anti-forensic split and merge against the specification's words."""

from __future__ import annotations

import hashlib
import os
import random

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks.luks import af
from os_brick_rbd_luks.tests import properties


def spec_hash(block, hash_name):
    """H: each digest-sized piece, hashed behind its big-endian number."""
    size = hashlib.new(hash_name).digest_size
    out = b""
    for number in range(-(-len(block) // size)):
        piece = block[number * size:(number + 1) * size]
        digest = hashlib.new(hash_name)
        digest.update(bytes([0, 0, 0, number]))
        digest.update(piece)
        out += digest.digest()[:len(piece)]
    return out


def spec_xor(left, right):
    return bytes(a ^ b for a, b in zip(left, right))


def spec_split(key, stripes, hash_name, drawn):
    """The specification's AFSplit; *drawn* are its random stripes."""
    link = bytes(len(key))
    for stripe in drawn:
        link = spec_hash(spec_xor(link, stripe), hash_name)
    return b"".join(drawn) + spec_xor(link, key)


def spec_merge(material, size, hash_name):
    """The specification's AFMerge."""
    stripes = [material[start:start + size]
               for start in range(0, len(material), size)]
    link = bytes(size)
    for stripe in stripes[:-1]:
        link = spec_hash(spec_xor(link, stripe), hash_name)
    return spec_xor(link, stripes[-1])


#: Keys shorter than, as long as, and no multiple of the digests.
SIZES = (1, 16, 20, 24, 32, 33, 48, 64, 65, 100)
HASHES = ("sha1", "sha256", "sha512")


@ddt.ddt
class AFTest(testtools.TestCase):

    @ddt.data(*[(size, name) for size in SIZES for name in HASHES])
    @ddt.unpack
    def test_both_directions_agree_with_the_specification(self, size, name):
        key = os.urandom(size)
        drawn = [os.urandom(size) for _stripe in range(6)]
        self.assertEqual(key, af.merge(
            spec_split(key, 7, name, drawn), size, 7, name))
        material = af.split(key, 7, name, os.urandom)
        self.assertEqual(7 * size, len(material))
        self.assertEqual(key, spec_merge(material, size, name))

    @ddt.data(*HASHES)
    def test_a_whole_area(self, name):
        key = os.urandom(64)
        material = af.split(key, 4000, name, os.urandom)
        self.assertEqual(key, af.merge(material, 64, 4000, name))
        self.assertEqual(key, spec_merge(material, 64, name))

    def test_one_stripe_is_the_key(self):
        key = os.urandom(32)
        self.assertEqual(key, af.split(key, 1, "sha256", os.urandom))
        self.assertEqual(key, af.merge(key, 32, 1, "sha256"))

    def test_known_answer(self):
        """Pinned: a change of both directions at once would be unseen."""
        drawn = bytes(range(40))
        digest = hashlib.sha1(b"\0\0\0\0" + drawn[:20]).digest()
        digest = hashlib.sha1(b"\0\0\0\0" + spec_xor(
            digest, drawn[20:])).digest()
        self.assertEqual(spec_xor(digest, b"k" * 20),
                         af.merge(drawn + b"k" * 20, 20, 3, "sha1"))

    def test_split_takes_what_random_gives(self):
        def split(seed):
            return af.split(b"k" * 32, 9, "sha256",
                            random.Random(seed).randbytes)

        self.assertEqual(split(1), split(1))
        self.assertNotEqual(split(1), split(2))

    @hypothesis.given(data=strategies.data())
    @properties.examples(40)
    def test_a_changed_bit_anywhere_loses_the_key(self, data):
        key = bytes(range(32))
        material = bytearray(af.split(key, 5, "sha256", os.urandom))
        position = data.draw(strategies.integers(0, len(material) - 1))
        material[position] ^= 1 << data.draw(strategies.integers(0, 7))
        self.assertNotEqual(key, af.merge(bytes(material), 32, 5, "sha256"))

    @ddt.data(0, 63, 65, 96)
    def test_merge_refuses_another_length(self, length):
        self.assertRaises(ValueError, af.merge, bytes(length), 32, 2,
                          "sha256")
