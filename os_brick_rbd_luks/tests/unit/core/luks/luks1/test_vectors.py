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

"""Volumes that cryptsetup and QEMU made, kept in ``tests/vectors``."""

from __future__ import annotations

import json
import pathlib

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import vectors

FOLDER = pathlib.Path(vectors.__path__[0])
VOLUMES = json.loads((FOLDER / "luks1.json").read_text())


@ddt.ddt
class VectorTest(testtools.TestCase):

    def load(self, vector):
        data = (FOLDER / vector["file"]).read_bytes()
        parsed = luks1.Luks1Header.parse(data)
        slot = parsed.keyslot(0)
        return data, parsed, data[slot.offset:slot.offset + slot.length]

    @ddt.data(*VOLUMES)
    def test_described_as_its_maker_does(self, vector):
        data, parsed, area = self.load(vector)
        for field in ("cipher_spec", "hash_name", "uuid", "data_offset"):
            self.assertEqual(vector[field], getattr(parsed, field), field)
        self.assertEqual([0], [slot.number for slot in parsed.keyslots])
        self.assertEqual(vector["iterations"],
                         parsed.keyslot(0).kdf.iterations)
        self.assertEqual(len(vector["volume_key"]) * 4, parsed.key_bits)
        self.assertEqual(data[:ondisk.SIZE], parsed.pack())
        self.assertEqual(64000, len(area))

    @ddt.data(*VOLUMES)
    def test_opens_to_the_key_its_maker_shows(self, vector):
        _data, parsed, area = self.load(vector)
        passphrase = vector["passphrase"].encode()
        self.assertEqual(vector["volume_key"], parsed.open_keyslot(
            0, area, passphrase).hex())
        self.assertRaises(exception.WrongPassphrase, parsed.open_keyslot, 0,
                          area, passphrase + b"\n")

    @ddt.data(*VOLUMES)
    def test_takes_a_keyslot_of_ours(self, vector):
        _data, parsed, _area = self.load(vector)
        key = bytes.fromhex(vector["volume_key"])
        change = parsed.replace(0, key, b"new")
        self.assertEqual(key, change.header.open_keyslot(
            1, change.plan.stages[0][0].data, b"new"))
        self.assertEqual([1], [slot.number
                               for slot in change.header.keyslots])
