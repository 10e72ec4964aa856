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

"""Passphrases sealed under a volume key."""

from __future__ import annotations

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives.ciphers import aead
import ddt
from hypothesis import given
from hypothesis import strategies
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import sealing

KEY = bytes(range(64))
UUID = "c0ffee00-1111-4222-8333-444455556666"
BELOW = [b"of the parent", b"\0\xff of its parent", b"x" * 512]


def _hkdf(key, salt, info):
    """RFC 5869 with SHA-256, one block."""
    extracted = hmac.new(salt, key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


@ddt.ddt
class SealTest(testtools.TestCase):

    def test_there_and_back(self):
        token = sealing.seal(BELOW, KEY, UUID)
        self.assertEqual(3, sealing.count(token))
        self.assertEqual(BELOW, sealing.unseal(token, KEY, UUID))

    @given(strategies.lists(strategies.binary(max_size=600), min_size=1,
                            max_size=20))
    def test_any(self, below):
        token = sealing.seal(below, KEY, UUID)
        self.assertEqual((len(below), below), (
            sealing.count(token), sealing.unseal(token, KEY, UUID)))

    def test_longest(self):
        below = [b"x" * 65535]
        self.assertEqual(below, sealing.unseal(
            sealing.seal(below, KEY, UUID), KEY, UUID))

    @ddt.data(([b"y", b"x" * 65536], 65536), ([b"x" * 2 ** 20], 2 ** 20))
    @ddt.unpack
    def test_too_long(self, below, length):
        for call in (lambda: sealing.check(below),
                     lambda: sealing.seal(below, KEY, UUID)):
            error = self.assertRaises(exception.InvalidParameter, call)
            self.assertEqual(length, error.value)
            self.assertIn("flatten", str(error))
            self.assertNotIn("xx", str(error))

    def test_form(self):
        """What others need to read it: the standards, and these words."""
        token = sealing.seal(BELOW[:2], KEY, UUID)
        self.assertEqual(
            {"type": "rbd-luks-layers", "keyslots": [], "version": 1,
             "layers": 2}, {name: token[name] for name in (
                 "type", "keyslots", "version", "layers")})
        salt, nonce, sealed = (base64.b64decode(token[name])
                               for name in ("salt", "nonce", "sealed"))
        key = _hkdf(KEY, salt, b"rbd-luks-layers 1")
        self.assertEqual(
            b"\0\x0d" + BELOW[0] + len(BELOW[1]).to_bytes(2, "big")
            + BELOW[1], aead.AESGCM(key).decrypt(
                nonce, sealed, f"rbd-luks-layers 1 2 {UUID}".encode()))

    def test_never_the_same_twice(self):
        one, other = (sealing.seal(BELOW, KEY, UUID) for _number in "12")
        for name in ("salt", "nonce", "sealed"):
            self.assertNotEqual(one[name], other[name])

    def test_nothing_in_plain(self):
        text = str(sealing.seal([b"passphrase"], KEY, UUID))
        for secret in (b"passphrase", KEY):
            for spelled in (secret.decode("latin1"), secret.hex(),
                            base64.b64encode(secret).decode()):
                self.assertNotIn(spelled.rstrip("="), text)

    @ddt.data((KEY[:-1] + b"\0", UUID), (KEY[:32], UUID),
              (KEY, UUID.upper()), (KEY, UUID[:-1] + "7"))
    @ddt.unpack
    def test_another_volume(self, key, uuid):
        token = sealing.seal(BELOW, KEY, UUID)
        self.assertRaisesRegex(
            exception.LayersNotReadable, "of another volume, or was changed",
            sealing.unseal, token, key, uuid)

    @ddt.data("salt", "nonce", "sealed")
    def test_every_changed_bit(self, name):
        token = sealing.seal([b"p"], KEY, UUID)
        data = base64.b64decode(token[name])
        for bit in range(8 * len(data)):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << bit % 8
            self.assertRaises(
                exception.LayersNotReadable, sealing.unseal,
                {**token, name: base64.b64encode(changed).decode()}, KEY,
                UUID)

    @ddt.data({"layers": 2}, {"layers": 4}, {"layers": 0}, {"layers": -1},
              {"layers": "3"}, {"layers": True}, {"layers": None},
              {"salt": 7}, {"salt": "AA=="}, {"nonce": "not base64"},
              {"nonce": ""}, {"sealed": None}, {"sealed": "AAAA"},
              {"type": "luks2-keyring"}, {"type": None})
    def test_of_somebody_else(self, change):
        token = {**sealing.seal(BELOW, KEY, UUID), **change}
        self.assertRaises(exception.LayersNotReadable, sealing.unseal, token,
                          KEY, UUID)

    @ddt.data(2, "1", None)
    def test_later_version(self, version):
        token = {**sealing.seal(BELOW, KEY, UUID), "version": version}
        for function in (sealing.count, lambda token: sealing.unseal(
                token, KEY, UUID)):
            self.assertRaisesRegex(exception.UnsupportedHeader,
                                   "a newer os-brick-rbd-luks", function,
                                   token)
