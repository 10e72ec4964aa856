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

"""PBKDF2 against published answers."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import kdf

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


@ddt.ddt
class PBKDF2Test(testtools.TestCase):

    @ddt.data(*ANSWERS)
    @ddt.unpack
    def test_known_answer(self, name, passphrase, salt, iterations, expected):
        self.assertEqual(expected, kdf.pbkdf2(
            name, passphrase, salt, iterations, len(expected) // 2).hex())

    @ddt.data("md5", "sha3_256", "whirlpool", "SHA256", "", "blake2b")
    def test_unsupported_hash(self, name):
        error = self.assertRaises(exception.UnsupportedHeader, kdf.pbkdf2,
                                  name, b"p", b"s", 1, 16)
        self.assertEqual(f"hash {name}", error.what)
        self.assertEqual("sha1, sha256, sha512", error.supported)

    def test_sha1_is_read_but_not_written(self):
        kdf.check_hash("sha1")
        error = self.assertRaises(exception.UnsupportedHeader, kdf.check_hash,
                                  "sha1", writing=True)
        self.assertEqual("sha256, sha512", error.supported)
