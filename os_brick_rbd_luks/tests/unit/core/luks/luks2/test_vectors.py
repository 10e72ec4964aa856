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

"""A volume that cryptsetup made, kept in ``tests/vectors``."""

from __future__ import annotations

import json
import pathlib

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests import vectors

FOLDER = pathlib.Path(vectors.__path__[0])
VECTOR = json.loads((FOLDER / "luks2.json").read_text())


class VectorTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.data = (FOLDER / VECTOR["file"]).read_bytes()
        self.parsed = luks2.Luks2Header.parse(self.data)
        self.areas = {slot.number: self.data[
            slot.offset:slot.offset + slot.length]
            for slot in self.parsed.keyslots}

    def test_described_as_its_maker_does(self):
        parsed = self.parsed
        for field in ("cipher_spec", "hash_name", "uuid", "data_offset"):
            self.assertEqual(VECTOR[field], getattr(parsed, field), field)
        self.assertEqual(VECTOR["sector_size"], parsed.segment.sector_size)
        self.assertEqual(VECTOR["label"].encode(),
                         parsed.primary.label.rstrip(b"\0"))
        self.assertEqual(VECTOR["kdfs"], [slot.kdf.name
                                          for slot in parsed.keyslots])
        self.assertEqual(VECTOR["priorities"], [slot.priority
                                                for slot in parsed.keyslots])
        self.assertEqual(VECTOR["tokens"], parsed.metadata.tree["tokens"])
        self.assertIsNone(parsed.ailment)

    def test_packed_as_it_was(self):
        self.assertEqual(self.data[:32768], self.parsed.pack())

    def test_opens_to_the_key_its_maker_shows(self):
        for number, passphrase in enumerate(VECTOR["passphrases"]):
            passphrase = passphrase.encode()
            area = self.areas[number]
            self.assertEqual(VECTOR["volume_key"], self.parsed.open_keyslot(
                number, area, passphrase).hex())
            self.assertRaises(exception.WrongPassphrase,
                              self.parsed.open_keyslot, number, area,
                              passphrase + b"\n")

    def test_takes_a_keyslot_of_ours(self):
        """In the area that was next, with its token and priority."""
        key = bytes.fromhex(VECTOR["volume_key"])
        change = self.parsed.replace(1, key, b"new")
        self.assertEqual(163840, change.header.keyslot(2).offset)
        self.assertEqual(key, change.header.open_keyslot(
            2, change.plan.stages[0][0].data, b"new"))
        self.assertEqual({0: (2,)}, change.header.metadata.tokens)
        self.assertEqual(2, change.header.keyslot(2).priority)
