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

"""The auditor's question: each kind of answer."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import at_rest
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests import claims

CASES = {case.name: case for case in claims.CASES}


def judged(name, **options):
    case = CASES[name]
    return at_rest.judge(header_io.parse(case.make(), case.image_size),
                         **options)


@ddt.ddt
class AtRestTest(testtools.TestCase):

    @ddt.data(
        ("luks1 as we make it",
         "yes; aes-xts-plain64 with 512-bit key; 1 keyslot"),
        ("luks1 eight keyslots",
         "yes; aes-xts-plain64 with 512-bit key; 8 keyslots"),
        ("luks1 disabled: state of keyslot 0",
         "yes; aes-xts-plain64 with 512-bit key; no keyslots"),
        ("luks1 serpent-xts-plain64 with 64 bytes of key",
         "yes; serpent-xts-plain64 with 512-bit key; 1 keyslot"),
        # The IVs are null, the cipher is not.
        ("luks1 aes-cbc-null with 32 bytes of key",
         "yes; aes-cbc-null with 256-bit key; 1 keyslot"),
        ("luks2 a token of the keyring",
         "yes; aes-xts-plain64 with 512-bit key; 1 keyslot and 1 token"),
        ("luks2 first of two for another key",
         "yes; aes-xts-plain64 with 512-bit key; 1 keyslot"),
        ("luks2 a dear keyslot before ours",
         "yes; aes-xts-plain64 with 512-bit key; 2 keyslots"))
    @ddt.unpack
    def test_yes(self, name, line):
        self.assertEqual(line, str(judged(name)))

    @ddt.data(
        ("luks1 cipher_null-ecb with 32 bytes of key", "encrypts nothing"),
        ("luks1 null-ecb-null with 32 bytes of key", "encrypts nothing"),
        ("luks2 payload cipher_null-ecb", "encrypts nothing"),
        ("luks2 payload cipher_null-xts-plain64", "encrypts nothing"),
        ("luks2 a segment that is not encrypted behind",
         "segment 1 is linear"),
        ("luks2 a payload that is not encrypted", "segment 0 is linear"),
        ("luks2 keyslot of cipher_null-ecb", "holds its key in plain text"))
    @ddt.unpack
    def test_no(self, name, reason):
        found = judged(name)
        self.assertIs(False, found.encrypted)
        self.assertIn(reason, str(found))
        self.assertTrue(str(found).startswith("no; "))

    @ddt.data(("luks2 requirement later", "requirement 'later'"),
              ("luks2 a payload of another type", "segment 0"))
    @ddt.unpack
    def test_not_known(self, name, reason):
        found = judged(name)
        self.assertIsNone(found.encrypted)
        self.assertIn(reason, str(found))

    def test_lost_parent(self):
        found = judged("luks2 mark of a clone", lost_parent=True)
        self.assertIsNone(found.encrypted)
        self.assertIn("is lost", str(found))

    def test_layers(self):
        found = judged("luks2 mark of a clone",
                       below=(at_rest.ENCRYPTED, at_rest.PLAIN))
        self.assertTrue(found.encrypted)
        self.assertTrue(str(found).endswith("layers below: encrypted, plain"))

    def test_plain(self):
        self.assertEqual("no; the image is plain", str(at_rest.of_plain()))

    def test_each_header_has_an_answer(self):
        for case in claims.CASES:
            try:
                header = header_io.parse(case.make(), case.image_size)
            except exception.HeaderError:
                continue
            self.assertTrue(str(at_rest.judge(header)))
