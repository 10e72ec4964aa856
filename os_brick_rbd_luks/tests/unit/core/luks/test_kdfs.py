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

"""PBKDF2 and Argon2 against published answers."""

from __future__ import annotations

import sys
from unittest import mock

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import kdfs

#: RFC 6070 (SHA-1), RFC 7914 section 11 (SHA-256), and the answers for
#: SHA-512 to RFC 6070's questions that libraries have long agreed on.
ANSWERS = (
    ("sha1", b"password", b"salt", 1,
     "0c60c80f961f0e71f3a9b524af6012062fe037a6"),
    ("sha1", b"password", b"salt", 2,
     "ea6c014dc72d6f8ccd1ed92ace1d41f0d8de8957"),
    ("sha1", b"password", b"salt", 4096,
     "4b007901b765489abead49d926f721d065a429c1"),
    ("sha1", b"passwordPASSWORDpassword",
     b"saltSALTsaltSALTsaltSALTsaltSALTsalt", 4096,
     "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"),
    ("sha1", b"pass\0word", b"sa\0lt", 4096,
     "56fa6aa75548099dcc37d7f03425e0c3"),
    ("sha256", b"passwd", b"salt", 1,
     "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc"
     "49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"),
    ("sha256", b"Password", b"NaCl", 80000,
     "4ddcd8f60b98be21830cee5ef22701f9641a4418d04c0414aeff08876b34ab56"
     "a1d425a1225833549adb841b51c9b3176a272bdebba1d078478f62b397f33c8d"),
    ("sha512", b"password", b"salt", 1,
     "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"
     "c02d470a285a0501bad999bfe943c08f050235d7d68b1da55e63f73b60a57fce"),
    ("sha512", b"password", b"salt", 2,
     "e1d9c16aa681708a45f5c7c4e215ceb66e011a2e9f0040713f18aefdb866d53c"
     "f76cab2868a39b9f7840edce4fef5a82be67335c77a6068e04112754f27ccf4e"),
)


#: From the reference implementation's test.c (version 0x13): passes, KiB,
#: threads; the salt is "somesalt".
ARGON2_ANSWERS = (
    ("argon2id", 2, 256, 1, b"password",
     "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"),
    ("argon2id", 2, 256, 2, b"password",
     "6d093c501fd5999645e0ea3bf620d7b8be7fd2db59c20d9fff9539da2bf57037"),
    ("argon2id", 2, 65536, 1, b"password",
     "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
    ("argon2id", 2, 65536, 1, b"differentpassword",
     "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"),
    ("argon2i", 2, 256, 1, b"password",
     "89e9029f4637b295beb027056a7336c414fadd43f6b208645281cb214a56452f"),
    ("argon2i", 2, 256, 2, b"password",
     "4ff5ce2769a1d7f4c8a491df09d41a9fbe90e5eb02155a13e4c01e20cd4eab61"),
)


@ddt.ddt
class Argon2Test(testtools.TestCase):

    @ddt.data(*ARGON2_ANSWERS)
    @ddt.unpack
    def test_known_answer(self, name, passes, memory, cpus, passphrase,
                          expected):
        derivation = kdfs.Argon2(name, kdfs.Argon2Cost(passes, memory, cpus),
                                 b"somesalt")
        self.assertEqual(expected, derivation.derive(passphrase, 32).hex())

    def test_length(self):
        for length in (4, 16, 64, 512):
            self.assertEqual(length, len(kdfs.argon2(
                "argon2i", b"p", b"somesalt", kdfs.Argon2Cost(1, 8, 1),
                length)))

    def test_no_memory(self):
        """What libargon2 says when it gets none."""
        from argon2 import exceptions
        from argon2 import low_level

        def fail(*_arguments, **_options):
            raise exceptions.HashingError("Memory allocation error")

        self.useFixture(fixtures.MonkeyPatch(
            f"{low_level.__name__}.hash_secret_raw", fail))
        error = self.assertRaises(
            MemoryError, kdfs.argon2, "argon2id", b"secret", b"somesalt",
            kdfs.Argon2Cost(1, 8, 1), 16)
        self.assertNotIn("secret", repr(error))
        self.assertTrue(error.__suppress_context__)

    def test_not_installed(self):
        with mock.patch.dict(sys.modules, {"argon2": None}):
            error = self.assertRaises(
                exception.MissingDependency, kdfs.argon2, "argon2id", b"p",
                b"somesalt", kdfs.Argon2Cost(1, 8, 1), 16)
        self.assertEqual("argon2-cffi", error.package)


@ddt.ddt
class PBKDF2Test(testtools.TestCase):

    @ddt.data(*ANSWERS)
    @ddt.unpack
    def test_known_answer(self, name, passphrase, salt, iterations, expected):
        self.assertEqual(expected, kdfs.pbkdf2(
            name, passphrase, salt, iterations, len(expected) // 2).hex())

    @ddt.data("md5", "sha3_256", "whirlpool", "SHA256", "", "blake2b")
    def test_unsupported_hash(self, name):
        error = self.assertRaises(exception.UnsupportedHeader, kdfs.pbkdf2,
                                  name, b"p", b"s", 1, 16)
        self.assertEqual(f"hash {name}", error.what)
        self.assertEqual("sha1, sha224, sha256, sha384, sha512",
                         error.supported)

    def test_sha1_is_read_but_not_written(self):
        kdfs.check_hash("sha1")
        error = self.assertRaises(exception.UnsupportedHeader, kdfs.check_hash,
                                  "sha1", writing=True)
        self.assertEqual("sha256, sha512", error.supported)
