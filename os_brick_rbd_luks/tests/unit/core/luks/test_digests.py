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

"""The volume-key digest."""

from __future__ import annotations

import hashlib

import ddt
import testtools

from os_brick_rbd_luks.luks import digests

KEY = bytes(range(64))
SALT = bytes(range(32))


@ddt.ddt
class DigestTest(testtools.TestCase):

    def test_known_answer(self):
        """What RFC 6070 says of the same PBKDF2 with 20 bytes."""
        self.assertEqual("4b007901b765489abead49d926f721d065a429c1",
                         digests.make("sha1", b"password", b"salt",
                                      4096).hex())

    @ddt.data("sha1", "sha256", "sha512")
    def test_twenty_bytes_of_pbkdf2(self, name):
        made = digests.make(name, KEY, SALT, 1000)
        self.assertEqual(digests.SIZE, len(made))
        self.assertEqual(
            hashlib.pbkdf2_hmac(name, KEY, SALT, 1000, 64)[:20], made)

    def test_only_its_own_key_verifies(self):
        made = digests.make("sha256", KEY, SALT, 1000)
        self.assertTrue(digests.verify("sha256", KEY, SALT, 1000, made))
        other = KEY[:-1] + b"\0"
        self.assertFalse(digests.verify("sha256", other, SALT, 1000, made))
        self.assertFalse(digests.verify("sha256", KEY, SALT, 1001, made))
        self.assertFalse(digests.verify("sha512", KEY, SALT, 1000, made))
        self.assertFalse(digests.verify("sha256", KEY, SALT[::-1], 1000,
                                        made))
        self.assertFalse(digests.verify("sha256", KEY, SALT, 1000,
                                        made[:-1] + b"\0"))

    @ddt.data(("sha1", 20), ("sha256", 32), ("sha512", 64))
    @ddt.unpack
    def test_as_long_as_the_hash(self, name, size):
        """As LUKS2 has it."""
        self.assertEqual(size, digests.full_size(name))
        made = digests.make(name, KEY, SALT, 1000, size)
        self.assertEqual(hashlib.pbkdf2_hmac(name, KEY, SALT, 1000, size),
                         made)
        self.assertTrue(digests.verify(name, KEY, SALT, 1000, made))
        self.assertFalse(digests.verify(name, KEY, SALT, 1000,
                                        made[:-1] + b"\0"))
