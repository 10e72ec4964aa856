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

"""Sector ciphers against published vectors and plain constructions."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

from cryptography.hazmat.primitives.ciphers import algorithms
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers import modes
import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests import vectors

IEEE = json.loads(
    (pathlib.Path(vectors.__path__[0]) / "xts-ieee1619.json").read_text())

SPECS = [(spec, size) for spec, sizes in cipher.SUPPORTED.items()
         for size in sizes]


def block(key, data):
    """One AES block."""
    return Cipher(algorithms.AES(key), modes.ECB()).encryptor().update(data)


def chain(key, iv, data):
    """CBC as NIST SP 800-38A writes it."""
    out = [iv]
    for start in range(0, len(data), 16):
        out.append(block(key, bytes(
            a ^ b for a, b in zip(out[-1], data[start:start + 16]))))
    return b"".join(out[1:])


@ddt.ddt
class XTSTest(testtools.TestCase):

    @ddt.data(*IEEE)
    def test_ieee_1619(self, vector):
        plain = bytes.fromhex(vector["plain"])
        expected = bytes.fromhex(vector["cipher"])
        engine = cipher.SectorCipher("aes-xts-plain64",
                                     bytes.fromhex(vector["key"]))
        sector = plain.ljust(cipher.SECTOR, b"\0")
        got = engine.encrypt(sector, vector["sector"])
        self.assertEqual(expected, got[:len(expected)])
        self.assertEqual(sector, engine.decrypt(got, vector["sector"]))

    def test_the_last_sector_number(self):
        """plain64 has 64 bits; 32 would wrap at 2 TiB."""
        key = bytes(range(64))
        engine = cipher.SectorCipher("aes-xts-plain64", key)
        last = 2 ** 64 - 1
        context = Cipher(algorithms.AES(key), modes.XTS(
            b"\xff" * 8 + bytes(8))).encryptor()
        self.assertEqual(context.update(b"x" * 512),
                         engine.encrypt(b"x" * 512, last))


@ddt.ddt
class CBCTest(testtools.TestCase):

    @ddt.data(16, 32)
    def test_plain64(self, size):
        key, plain = os.urandom(size), os.urandom(512)
        for sector in (0, 1, 255, 2 ** 32, 2 ** 40 + 7):
            iv = sector.to_bytes(8, "little") + bytes(8)
            self.assertEqual(chain(key, iv, plain), cipher.SectorCipher(
                "aes-cbc-plain64", key).encrypt(plain, sector))

    @ddt.data(16, 32)
    def test_essiv(self, size):
        """The IV is the sector number, encrypted with the key's hash."""
        key, plain = os.urandom(size), os.urandom(512)
        for sector in (0, 1, 255, 2 ** 32, 2 ** 40 + 7):
            number = sector.to_bytes(8, "little") + bytes(8)
            iv = block(hashlib.sha256(key).digest(), number)
            self.assertEqual(chain(key, iv, plain), cipher.SectorCipher(
                "aes-cbc-essiv:sha256", key).encrypt(plain, sector))

    def test_nist_sp800_38a(self):
        """Vector F.2.1 begins with an IV that is no sector number: show the
        independent construction above to be CBC.
        """
        self.assertEqual(
            "7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2",
            chain(bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c"),
                  bytes(range(16)), bytes.fromhex(
                      "6bc1bee22e409f96e93d7e117393172a"
                      "ae2d8a571e03ac9c9eb76fac45af8e51")).hex())


@ddt.ddt
class SectorCipherTest(testtools.TestCase):

    @ddt.data(*SPECS)
    @ddt.unpack
    def test_a_run_is_its_sectors(self, spec, size):
        engine = cipher.SectorCipher(spec, os.urandom(size))
        data = os.urandom(3 * 512)
        whole = engine.encrypt(data, 1000)
        self.assertEqual(whole, b"".join(
            engine.encrypt(data[start:start + 512], 1000 + start // 512)
            for start in range(0, len(data), 512)))
        self.assertEqual(data, engine.decrypt(whole, 1000))
        self.assertEqual(data[512:], engine.decrypt(whole[512:], 1001))

    @ddt.data(*SPECS)
    @ddt.unpack
    def test_equal_sectors_differ(self, spec, size):
        engine = cipher.SectorCipher(spec, os.urandom(size))
        whole = engine.encrypt(bytes(2 * 512))
        self.assertNotEqual(whole[:512], whole[512:])

    def test_takes_any_buffer(self):
        engine = cipher.SectorCipher("aes-xts-plain64", bytes(range(64)))
        self.assertEqual(engine.encrypt(bytes(512)),
                         engine.encrypt(bytearray(512)))
        self.assertEqual(b"", engine.encrypt(b""))

    @ddt.data(1, 511, 513)
    def test_whole_sectors_only(self, length):
        engine = cipher.SectorCipher("aes-xts-plain64", bytes(range(64)))
        self.assertRaises(ValueError, engine.encrypt, bytes(length))
        self.assertRaises(ValueError, engine.decrypt, bytes(length))

    @ddt.data("aes-xts-plain", "aes-ecb", "serpent-xts-plain64",
              "aes-xts-essiv:sha256", "aes", "AES-XTS-PLAIN64", "")
    def test_unsupported_cipher(self, spec):
        error = self.assertRaises(exception.UnsupportedHeader, cipher.check,
                                  spec, 32)
        self.assertEqual(f"cipher {spec}", error.what)
        self.assertEqual(", ".join(sorted(cipher.SUPPORTED)),
                         error.supported)

    @ddt.data(("aes-xts-plain64", 48, "256 bits, 512 bits"),
              ("aes-xts-plain64", 16, "256 bits, 512 bits"),
              ("aes-cbc-plain64", 24, "128 bits, 256 bits"),
              ("aes-cbc-essiv:sha256", 64, "128 bits, 256 bits"),
              ("aes-cbc-plain64", 0, "128 bits, 256 bits"))
    @ddt.unpack
    def test_unsupported_key_length(self, spec, size, supported):
        error = self.assertRaises(exception.UnsupportedHeader,
                                  cipher.SectorCipher, spec, bytes(size))
        self.assertEqual(f"cipher {spec} with a {size * 8}-bit volume key",
                         error.what)
        self.assertEqual(supported, error.supported)


@ddt.ddt
class KeyBytesTest(testtools.TestCase):
    """The key size of a Cinder volume type on RBD is that of AES."""

    @ddt.data(("aes-xts-plain64", 256, 64), ("aes-xts-plain64", 128, 32),
              ("aes-cbc-essiv:sha256", 256, 32),
              ("aes-cbc-essiv:sha256", 128, 16),
              ("aes-cbc-plain64", 256, 32), ("aes-cbc-plain64", 128, 16))
    @ddt.unpack
    def test_supported(self, spec, size, expected):
        self.assertEqual(expected, cipher.key_bytes(spec, size))
        cipher.check(spec, expected)

    @ddt.data(("aes-xts-plain64", 512), ("aes-xts-plain64", 192),
              ("aes-xts-plain64", 0), ("aes-xts-plain64", 255),
              ("aes-cbc-plain64", 512), ("aes-cbc-plain64", -128))
    @ddt.unpack
    def test_size(self, spec, size):
        error = self.assertRaises(exception.UnsupportedHeader,
                                  cipher.key_bytes, spec, size)
        self.assertEqual(f"key size {size} with cipher {spec}", error.what)
        self.assertEqual({"128", "256"}, set(error.supported.split(", ")))

    @ddt.data("serpent-xts-plain64", "aes", "", "aes-xts-plain")
    def test_cipher(self, spec):
        error = self.assertRaises(exception.UnsupportedHeader,
                                  cipher.key_bytes, spec, 256)
        self.assertEqual(f"cipher {spec}", error.what)


@ddt.ddt
class SectorSizeTest(testtools.TestCase):
    """Sectors of LUKS2 may be larger; their IVs count 512-byte units."""

    @ddt.data(*[(spec, size) for spec, sizes in cipher.SUPPORTED.items()
                for size in sizes])
    @ddt.unpack
    def test_round_trip(self, spec, size):
        engine = cipher.SectorCipher(spec, os.urandom(size), 4096)
        plain = os.urandom(3 * 4096)
        self.assertEqual(plain, engine.decrypt(engine.encrypt(plain, 8), 8))

    def test_number_of_the_second_sector(self):
        """Is that of the first one plus 8."""
        engine = cipher.SectorCipher("aes-xts-plain64", bytes(range(64)),
                                     4096)
        plain = bytes(8192)
        whole = engine.encrypt(plain, 16)
        self.assertEqual(engine.encrypt(plain[:4096], 24), whole[4096:])

    def test_first_unit_is_as_in_small_sectors(self):
        key = bytes(range(64))
        large = cipher.SectorCipher("aes-xts-plain64", key, 4096)
        small = cipher.SectorCipher("aes-xts-plain64", key)
        plain = os.urandom(4096)
        one, other = large.encrypt(plain), small.encrypt(plain)
        self.assertEqual(one[:512], other[:512])
        self.assertNotEqual(one[512:], other[512:])

    @ddt.data(512, 4095, 4097, 6144)
    def test_half_sectors(self, length):
        engine = cipher.SectorCipher("aes-xts-plain64", bytes(range(64)),
                                     4096)
        self.assertRaises(ValueError, engine.encrypt, bytes(length))
