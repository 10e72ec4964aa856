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

"""What a header has sealed in it, and cryptsetup, which does not know it."""

from __future__ import annotations

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.tests.interop import base

BELOW = [b"of the parent", b"f" * 64]


class TokenTest(base.Luks2):

    def seal(self):
        image = self.open()
        opened = unlocking.unlock(image, base.OLD)
        token = sealing.seal(BELOW, opened.volume_key, opened.header.uuid)
        header_io.apply(image, tokens.change(opened.header, token).plan)
        return token

    def assert_there(self, token, passphrase=base.OLD):
        opened = unlocking.unlock(self.open(), passphrase)
        self.assertEqual(token, tokens.read(opened.header))
        self.assertEqual(BELOW, sealing.unseal(
            token, opened.volume_key, opened.header.uuid))
        self.assert_dump_agrees(opened.header)
        self.assertTrue(self.opens(passphrase))

    def test_in_ours(self):
        self.create()
        self.assert_there(self.seal())

    def test_in_cryptsetup_s(self):
        self.format(kdf="argon2id")
        self.assert_there(self.seal())

    def test_shown(self):
        self.create()
        self.seal()
        text = self.cryptsetup("luksDump", self.path).stdout.decode()
        self.assertIn("0: rbd-luks-layers", text)

    def test_cryptsetup_keeps_it(self):
        """Whatever it changes."""
        self.create()
        token = self.seal()
        self.add_key(base.OLD, base.NEW)
        self.assert_there(token, base.NEW)
        self.kill_slot(0, base.NEW)
        self.assert_there(token, base.NEW)
        self.cryptsetup("config", "--label", "label", self.path)
        self.assert_there(token, base.NEW)

    def test_we_keep_it(self):
        self.create()
        token = self.seal()
        keyslots.replace(self.open(), base.OLD, base.NEW)
        self.assert_there(token, base.NEW)

    def test_removed_by_cryptsetup(self):
        """Who knows what it does may do it."""
        self.create()
        self.seal()
        self.cryptsetup("token", "remove", "--token-id", "0", self.path)
        self.assertIsNone(tokens.read(header_io.read_header(self.open())))
        self.assertTrue(self.opens(base.OLD))
