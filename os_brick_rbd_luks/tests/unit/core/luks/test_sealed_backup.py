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

"""The form of a sealed header backup, and what opens one."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import json

from cryptography.hazmat.primitives.ciphers import aead
import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks import sealed_backup

PASSPHRASE = b"of the operator"

#: The least that scrypt may cost here.
COST = 10

DATA = b"LUKS\xba\xbe" + bytes(range(256))

FACTS = sealed_backup.Facts(
    "volumes/space", "volume-\u00fc", "10ab", 7, "2026-11-29T19:26:49Z",
    "luks2", "c0ffee00-1111-4222-8333-444455556666", len(DATA))


def _hkdf(key, salt, info):
    """RFC 5869 with SHA-256, one block."""
    extracted = hmac.new(salt or bytes(32), key, hashlib.sha256).digest()
    return hmac.new(extracted, info + b"\1", hashlib.sha256).digest()


@ddt.ddt
class SealedBackupTest(testtools.TestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.key = sealed_backup.stretch(PASSPHRASE, cost=COST)

    def setUp(self):
        super().setUp()
        self.record = sealed_backup.seal(DATA, FACTS, self.key)

    def test_there_and_back(self):
        self.assertEqual(DATA, sealed_backup.unseal(self.record, self.key))
        self.assertEqual(FACTS, sealed_backup.read(self.record).facts)

    def test_form(self):
        """What others need to read it: the standards, and these words."""
        self.assertEqual(b"RBDLUKHB\0\1", self.record[:10])
        end = 14 + int.from_bytes(self.record[10:14], "big")
        facts = json.loads(self.record[14:end])
        self.assertEqual(
            {**dataclasses.asdict(FACTS), "scrypt_cost": COST},
            {name: value for name, value in facts.items()
             if name not in ("scrypt_salt", "check", "salt")})
        stretched = hashlib.scrypt(
            PASSPHRASE, salt=base64.b64decode(facts["scrypt_salt"]),
            n=2 ** COST, r=8, p=1, dklen=32)
        self.assertEqual(
            _hkdf(stretched, b"", b"rbd-luks header backup 1 check")[:16],
            base64.b64decode(facts["check"]))
        key = _hkdf(stretched, base64.b64decode(facts["salt"]),
                    b"rbd-luks header backup 1")
        nonce, sealed = self.record[end:end + 12], self.record[end + 12:]
        self.assertEqual(DATA, aead.AESGCM(key).decrypt(
            nonce, sealed, self.record[:end]))

    def test_zeros_at_the_end(self):
        """16 MiB of LUKS2 with a keyslot take no more than that keyslot."""
        for data in (DATA + bytes(10 ** 6), bytes(100), DATA + b"\0" + DATA):
            record = sealed_backup.seal(data, dataclasses.replace(
                FACTS, size=len(data)), self.key)
            self.assertEqual(data, sealed_backup.unseal(record, self.key))
            self.assertEqual(data.rstrip(b"\0"),
                             sealed_backup.unseal_used(record, self.key))
            self.assertLess(len(record), 1200 + len(DATA))

    def test_facts_from_the_beginning(self):
        large = sealed_backup.seal(b"x" * 10 ** 6, FACTS, self.key)
        self.assertEqual(FACTS, sealed_backup.read(
            large[:sealed_backup.MAX_START]).facts)

    def test_longest_names(self):
        """As long as RADOS lets names be, of characters that JSON escapes."""
        facts = dataclasses.replace(FACTS, image="\u00fc" * 2048)
        self.assertEqual(facts, sealed_backup.read(sealed_backup.seal(
            DATA, facts, self.key)[:sealed_backup.MAX_START]).facts)

    def test_nothing_in_plain(self):
        for secret in (DATA, PASSPHRASE, self.key.stretched):
            for spelled in (secret, secret.hex().encode(),
                            base64.b64encode(secret).rstrip(b"=")):
                self.assertNotIn(spelled[:20], self.record)
        self.assertNotIn(repr(self.key.stretched)[2:-1], repr(self.key))

    def test_never_the_same_twice(self):
        other = sealed_backup.seal(DATA, FACTS, self.key)
        one, two = (json.loads(record[14:record.index(b"}") + 1])["salt"]
                    for record in (self.record, other))
        self.assertNotEqual(one, two)
        self.assertNotEqual(self.record[-len(DATA):], other[-len(DATA):])

    def test_every_changed_byte(self):
        """It is refused, by one sentence, whatever the byte becomes."""
        for place in range(len(self.record)):
            for change in (0x01, 0x20, 0x80):
                changed = bytearray(self.record)
                changed[place] ^= change
                error = self.assertRaises(
                    (exception.BackupNotReadable,
                     exception.WrongBackupPassphrase),
                    sealed_backup.unseal, bytes(changed), self.key)
                self.assertNotIn("\n", str(error))

    def test_every_cut(self):
        for size in range(len(self.record)):
            self.assertRaises(exception.BackupNotReadable,
                              sealed_backup.unseal, self.record[:size],
                              self.key)
        self.assertRaises(exception.BackupNotReadable, sealed_backup.unseal,
                          self.record + b"\0", self.key)

    @ddt.data(*(dataclasses.asdict(FACTS)))
    def test_facts_of_another(self, name):
        """What is sealed belongs to what it says of itself."""
        value = getattr(FACTS, name)
        facts = dataclasses.replace(FACTS, **{
            name: value + 1 if isinstance(value, int) else value + "1"})
        other = sealed_backup.seal(DATA, facts, self.key)
        end = 14 + int.from_bytes(other[10:14], "big")
        own = 14 + int.from_bytes(self.record[10:14], "big")
        self.assertRaises(exception.BackupNotReadable, sealed_backup.unseal,
                          other[:end] + self.record[own:], self.key)

    def test_wrong_passphrase(self):
        salt = self.key.salt
        for passphrase in (b"x", PASSPHRASE + b"\n", PASSPHRASE[:-1]):
            key = sealed_backup.stretch(passphrase, salt=salt, cost=COST)
            self.assertFalse(sealed_backup.read(self.record).matches(key))
            self.assertRaises(exception.WrongBackupPassphrase,
                              sealed_backup.unseal, self.record, key)

    @ddt.data(b"", bytes(limits.MAX_PASSPHRASE_BYTES + 1))
    def test_none(self, passphrase):
        self.assertRaises(exception.InvalidParameter, sealed_backup.stretch,
                          passphrase, cost=COST)

    def test_other_salt(self):
        key = sealed_backup.stretch(PASSPHRASE, cost=COST)
        self.assertNotEqual(self.key.salt, key.salt)
        self.assertRaises(exception.WrongBackupPassphrase,
                          sealed_backup.unseal, self.record, key)

    def test_later_version(self):
        changed = self.record[:9] + b"\2" + self.record[10:]
        self.assertRaisesRegex(exception.BackupNotReadable,
                               "use a newer os-brick-rbd-luks",
                               sealed_backup.read, changed)

    @ddt.data(b"", b"RBDLUKHB", b"LUKS\xba\xbe\0\1" + bytes(600),
              b"RBDLUKHB\0\1\xff\xff\xff\xff{}",
              b"RBDLUKHB\0\1\0\0\0\2{}", b"RBDLUKHB\0\1\0\0\0\2[]",
              b"RBDLUKHB\0\1\0\0\0\2\xff\xfe",
              b"RBDLUKHB\0\1\0\0\x20\0" + b"[" * 8192)
    def test_of_somebody_else(self, data):
        self.assertRaises(exception.BackupNotReadable, sealed_backup.read,
                          data)

    @ddt.data({"scrypt_cost": 9}, {"scrypt_cost": 21}, {"scrypt_cost": 10.5},
              {"scrypt_cost": True}, {"scrypt_cost": None},
              {"scrypt_salt": ""}, {"check": "AA=="}, {"salt": 7},
              {"salt": "no base64"}, {"version": 0}, {"version": "1"},
              {"size": -1}, {"size": 2 ** 40}, {"image": None}, {"pool": 1})
    def test_hostile_facts(self, change):
        """None makes scrypt take what it likes, none is believed."""
        end = 14 + int.from_bytes(self.record[10:14], "big")
        text = json.dumps({**json.loads(self.record[14:end]), **change})
        changed = (self.record[:10] + len(text).to_bytes(4, "big")
                   + text.encode() + self.record[end:])
        self.assertRaises(exception.BackupNotReadable, sealed_backup.read,
                          changed)
