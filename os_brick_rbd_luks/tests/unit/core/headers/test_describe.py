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

"""A header as a plain dict, without secrets."""

from __future__ import annotations

import json

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units


class DescribeTest(base.OperationsTestCase):

    def test_facts(self):
        image = self.make_volume(options=formatting.Options(uuid="some-uuid"))
        self.assertEqual({
            "type": "luks1", "uuid": "some-uuid",
            "cipher": "aes-xts-plain64", "key_bits": 512, "hash": "sha256",
            "data_offset": 4 * units.MIB, "image_size": 8 * units.MIB,
            "decrypted_size": 4 * units.MIB, "clone": False,
            "keyslots": [{"keyslot": 0, "state": "active", "kdf": "pbkdf2",
                          "iterations": 1000}],
        }, describe.describe_image(image))
        self.assertEqual([], image.content.log)

    def test_damaged_keyslot(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        states = [slot["state"]
                  for slot in describe.describe_image(image)["keyslots"]]
        self.assertEqual(["active", "damaged: its state word is 0x01020304"],
                         states)

    def test_neither_secrets_nor_salts(self):
        image = self.make_volume(base.OLD)
        phdr = luks1.Luks1Header.parse(image.read(0, 592)).phdr
        text = json.dumps(describe.describe_image(image))
        for secret in (phdr.mk_digest, phdr.mk_digest_salt,
                       phdr.key_blocks[0].salt,
                       self.volume_key(image, base.OLD)):
            self.assertNotIn(secret.hex(), text)
            self.assertNotIn(repr(secret)[2:-1], text)
        self.assertNotIn("salt", text)
        self.assertNotIn("digest", text)
        self.assertNotIn(base.OLD.decode(), text)

    def test_plain_image(self):
        image = self.make_image()
        self.assert_untouched(image, lambda: describe.describe_image(image),
                              exception.NotLuks)
