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

"""Secrets do not show in what programs print: repr, str, tracebacks."""

from __future__ import annotations

import os
import traceback

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import restore as luks1_restore
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base
from os_brick_rbd_luks.tests.unit.core.luks import spellings
from os_brick_rbd_luks.tests import units


class SecretsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.volume = base.sample(base.OLD, base.OTHER)

    def assert_hidden(self, text, *more):
        for secret in (self.volume.key, base.OLD, base.NEW, base.OTHER,
                       *more):
            for spelling in spellings.spellings(secret):
                self.assertNotIn(spelling, text)

    def objects(self):
        volume = self.volume
        change = volume.header.add(volume.key, base.NEW)
        replaced = volume.header.replace(0, volume.key, base.NEW)
        restored = luks1_restore.over_header(
            volume.header, volume.areas, volume.header, volume.areas)
        return {
            "header": volume.header, "phdr": volume.header.phdr,
            "keyslots": volume.header.keyslots, "change": change,
            "plan": change.plan, "write": change.plan.stages[0][0],
            "replace": replaced, "erase": volume.header.erase([0]),
            "restore": restored,
            "over nothing": luks1_restore.over_nothing(
                volume.header, volume.areas, b""),
            "unlocked": unlocking.Unlocked(volume.header, 0, volume.key),
            "cipher": cipher.SectorCipher("aes-cbc-plain64", volume.key),
            "parameters": keymaterial.Parameters(
                "aes-cbc-plain64", 16, "sha256", 16, 4000,
                kdfs.Pbkdf2("sha256", 1000, bytes(32))),
            "result": keyslots.Result(1, 0, []),
            "options": formatting.Options(),
        }

    def test_every_object(self):
        for name, value in self.objects().items():
            for text in (repr(value), str(value), f"{value}"):
                self.assert_hidden(f"{name}: {text}")

    def test_key_material_does_not_show_either(self):
        """Somebody with a passphrase opens what a log has kept of it."""
        for name, value in self.objects().items():
            for area in self.volume.areas.values():
                self.assertNotIn(repr(area[:16])[2:-1], repr(value), name)
                self.assertNotIn(area[:16].hex(), repr(value), name)

    def test_the_search_finds_what_is_there(self):
        """A NamedTuple that holds the key would be found."""
        leak = keyslots.Result(self.volume.key, None, [])
        self.assertRaises(AssertionError, self.assert_hidden, repr(leak))

    def test_salts_are_no_secrets(self):
        """The header's repr is of use: it has its public fields."""
        text = repr(self.volume.header)
        self.assertIn("mk_digest_salt=", text)
        self.assertIn("key_bytes=16", text)

    def errors(self):
        volume = self.volume
        full = base.sample(*[b"%d" % number for number in range(8)])
        stranger = os.urandom(16)
        yield lambda: volume.opens(base.NEW, 0)
        yield lambda: volume.header.open_keyslot(5, b"", base.NEW)
        yield lambda: volume.header.add(stranger, base.NEW)
        yield lambda: volume.header.add(volume.key, base.NEW, keyslot=0)
        yield lambda: volume.header.add(volume.key, base.NEW, keyslot=9)
        yield lambda: volume.header.add(volume.key, base.NEW, iterations=1)
        yield lambda: volume.header.add(volume.key, b"")
        yield lambda: volume.header.replace(7, volume.key, base.NEW)
        yield lambda: full.header.add(full.key, base.NEW)
        yield lambda: luks1.Luks1Header.build(
            volume.key, cipher_spec="aes-ecb", hash_name="sha256",
            data_offset=4 * units.MIB, uuid=base.UUID)
        yield lambda: luks1.Luks1Header.build(
            volume.key[:15], cipher_spec="aes-cbc-plain64",
            hash_name="sha256", data_offset=4 * units.MIB, uuid=base.UUID)

    def test_every_error(self):
        count = 0
        for call in self.errors():
            error = self.assertRaises(exception.RBDLuksError, call)
            count += 1
            shown = traceback.TracebackException.from_exception(error)
            for text in (str(error), repr(error), repr(vars(error)),
                         repr(error.args), "".join(
                             shown.format_exception_only())):
                self.assert_hidden(text)
        self.assertEqual(11, count)
