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
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import restore as luks2_restore
from os_brick_rbd_luks.luks.luks2 import slots
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests.unit.core.luks import spellings
from os_brick_rbd_luks.tests import units


class SecretsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.volume = base.sample(base.OLD, base.OTHER)

    def assert_hidden(self, text):
        for secret in (self.volume.key, base.OLD, base.NEW, base.OTHER):
            for spelling in spellings.spellings(secret):
                self.assertNotIn(spelling, text)

    def objects(self):
        volume = self.volume
        of = luks2.Luks2Header.parse(volume.header.pack())
        added = of.add(volume.key, base.NEW)
        restored = luks2_restore.over_header(added.header, {
            **volume.areas, 2: base.area_of(added)}, of, volume.areas)
        return {
            "header": of, "binary": of.primary, "metadata": of.metadata,
            "keyslots": of.keyslots, "add": added, "plan": added.plan,
            "replace": of.replace(0, volume.key, base.NEW),
            "argon2": of.add(volume.key, base.NEW,
                             argon2=kdfs.Argon2Cost(1, 64, 1)),
            "erase": of.erase([0]), "restore": restored,
            "over nothing": luks2_restore.over_nothing(of, volume.areas, b""),
            "parameters": slots.parameters(of.metadata, 0),
            "unlocked": unlocking.Unlocked(of, 0, volume.key),
        }

    def test_every_object(self):
        for name, value in self.objects().items():
            self.assert_hidden(f"{name}: {value!r} {value}")

    def test_key_material_does_not_show_either(self):
        """Somebody with a passphrase opens what a log has kept of it."""
        for name, value in self.objects().items():
            for area in self.volume.areas.values():
                self.assertNotIn(repr(area[:16])[2:-1], repr(value), name)
                self.assertNotIn(area[:16].hex(), repr(value), name)

    def errors(self):
        volume, of = self.volume, self.volume.header
        yield lambda: volume.opens(base.NEW, 0)
        yield lambda: of.open_keyslot(5, b"", base.NEW)
        yield lambda: of.add(os.urandom(16), base.NEW)
        yield lambda: of.add(volume.key, base.NEW, keyslot=0)
        yield lambda: of.add(volume.key, base.NEW, keyslot=32)
        yield lambda: of.add(volume.key, base.NEW, iterations=1)
        yield lambda: of.add(volume.key, base.NEW,
                             argon2=kdfs.Argon2Cost(0, 0, 0))
        yield lambda: of.add(volume.key, b"")
        yield lambda: of.replace(7, volume.key, base.NEW)
        yield lambda: luks2.Luks2Header.build(
            volume.key, cipher_spec="aes-ecb", hash_name="sha256",
            data_offset=units.MIB, uuid=base.UUID)

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
        self.assertEqual(10, count)
