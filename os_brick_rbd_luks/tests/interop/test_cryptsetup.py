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

"""Volumes of ours in cryptsetup, and cryptsetup's in ours."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.interop import base


@ddt.ddt
class OursTest(base.Cryptsetup):
    """What this package makes, cryptsetup opens."""

    @ddt.data(*base.every_format(("sha256",), ("sha512",)))
    @ddt.unpack
    def test_every_format(self, spec, size, name):
        header = self.create(cipher_spec=spec, key_bytes=size, hash_name=name,
                             iterations=1234)
        self.assert_dump_agrees(header)
        self.assertTrue(self.opens(base.OLD))
        self.assertFalse(self.opens(base.NEW))

    @ddt.data(*base.FORMATS)
    @ddt.unpack
    def test_volume_key(self, spec, size):
        """Both find the same key, not just some key."""
        self.create(cipher_spec=spec, key_bytes=size)
        text = self.cryptsetup(
            "luksDump", "--dump-master-key", "--key-file",
            self.secret(base.OLD), self.path).stdout.decode()
        shown = bytes.fromhex("".join(
            text.split("MK dump:")[1].split()))
        self.assertEqual(shown, unlocking.unlock(
            self.open(), base.OLD).volume_key)

    @ddt.data(b"\0binary\xff\n", b"x" * 511, "pässwörd".encode(), b"x")
    def test_passphrases(self, passphrase):
        self.create(passphrase)
        self.assertTrue(self.opens(passphrase))
        self.assertFalse(self.opens(passphrase + b"\n"))

    def test_keyslots(self):
        self.create()
        image = self.open()
        keyslots.add(image, base.OLD, base.OTHER, keyslot=7)
        keyslots.replace(image, base.OLD, base.NEW, iterations=2000)
        self.assertEqual(
            [False, True, True],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])
        self.assert_dump_agrees(header_io.read_header(image))
        keyslots.remove(image, base.OTHER)
        self.assertFalse(self.opens(base.OTHER))
        self.assertEqual([1], list(self.dump()["keyslots"]))

    def test_all_keyslots(self):
        self.create(cipher_spec="aes-cbc-plain64", key_bytes=16)
        image = self.open()
        for number in range(1, 8):
            keyslots.add(image, base.OLD, b"%d" % number)
        self.assertEqual(list(range(8)), list(self.dump()["keyslots"]))
        self.assertTrue(self.opens(b"7"))

    def test_cryptsetup_changes_them(self):
        self.create()
        self.add_key(base.OLD, base.NEW, "--key-slot", "3")
        self.cryptsetup("luksRemoveKey", self.path, "--key-file",
                        self.secret(base.OLD))
        image = self.open()
        self.assertEqual(3, unlocking.unlock(image, base.NEW).keyslot)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)

    def test_erased(self):
        self.create()
        image = self.open()
        keyslots.add(image, base.OLD, base.NEW)
        self.assertEqual([0, 1], erase.erase(image))
        self.assertEqual({}, self.dump()["keyslots"])
        for passphrase in (base.OLD, base.NEW):
            done = self.cryptsetup(
                "open", "--test-passphrase", "--key-file",
                self.secret(passphrase), self.path, check=False)
            self.assertEqual(1, done.returncode, done.stderr)
            self.assertIn(b"No usable keyslot", done.stderr)


@ddt.ddt
class TheirsTest(base.Cryptsetup):
    """What cryptsetup makes, this package opens and changes."""

    def check(self):
        """Unlocked, re-keyed, a keyslot added and removed, by us."""
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.NEW)
        before = unlocking.unlock(image, base.OLD)
        payload = self.content()[before.header.data_offset:]
        keyslots.replace(image, base.OLD, base.NEW)
        self.assertEqual(before.volume_key,
                         unlocking.unlock(image, base.NEW).volume_key)
        self.assertTrue(self.opens(base.NEW))
        self.assertFalse(self.opens(base.OLD))
        keyslots.add(image, base.NEW, base.OTHER)
        self.assertTrue(self.opens(base.OTHER))
        keyslots.remove(image, base.OTHER)
        self.assertFalse(self.opens(base.OTHER))
        self.assertTrue(self.opens(base.NEW))
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertEqual(payload, self.content()[before.header.data_offset:])

    @ddt.data(*base.every_format(("sha1",), ("sha256",), ("sha512",)),
              ("aes-xts-plain64", 64, "sha224"),
              ("aes-xts-plain64", 64, "sha384"))
    @ddt.unpack
    def test_every_format(self, spec, size, name):
        self.format("--cipher", spec, "--key-size", str(size * 8), "--hash",
                    name)
        self.check()

    @ddt.data(1, 7, 2048, 4040, 5000, 8193)
    def test_any_payload_offset(self, align):
        self.format("--cipher", "aes-xts-plain64", "--key-size", "512",
                    "--align-payload", str(align))
        offset = int(self.dump()["Payload offset"])
        self.assertEqual(0, offset % align)
        self.assertGreaterEqual(offset, 4036)
        self.check()

    @ddt.data(("aes-xts-plain64", 512), ("aes-cbc-essiv:sha256", 256))
    @ddt.unpack
    def test_several_keyslots_and_the_first_one_killed(self, spec, bits):
        self.format("--cipher", spec, "--key-size", str(bits), "--key-slot",
                    "0")
        self.add_key(base.OLD, base.NEW)
        self.add_key(base.OLD, base.OTHER, "--key-slot", "5")
        self.cryptsetup("luksKillSlot", self.path, "0", "--key-file",
                        self.secret(base.NEW))
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)
        self.assertEqual(1, unlocking.unlock(image, base.NEW).keyslot)
        self.assertEqual(5, unlocking.unlock(image, base.OTHER).keyslot)
        result = keyslots.replace(image, base.OTHER, base.OLD)
        self.assertEqual((0, 5), (result.added, result.removed))
        self.assertEqual(
            [True, True, False],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])

    @ddt.data(("--hash", "ripemd160"), ("--hash", "whirlpool"))
    def test_unsupported_is_described_and_refused(self, options):
        self.format(*options)
        image = self.open()
        self.assert_dump_agrees(header_io.read_header(image))
        before = self.content()
        error = self.assertRaises(
            exception.UnsupportedHeader, keyslots.replace, image, base.OLD,
            base.NEW)
        self.assertEqual(f"hash {options[1]}", error.what)
        self.assertEqual(before, self.content())
