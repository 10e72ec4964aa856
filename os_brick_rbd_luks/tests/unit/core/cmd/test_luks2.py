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

"""What the commands have for LUKS2."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

COST = kdfs.Argon2Cost(1, 64, 1)
FLAGS = ("--type", "luks2", *base.QUICK_FLAGS)


class Luks2TestCase(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.patch("os_brick_rbd_luks.headers.kdf_cost.argon2",
                   lambda key_bytes: COST)
        self.key = ("--passphrase-file", self.file(base.OLD))
        self.new = ("--new-passphrase-file", self.file(base.NEW, "new"))

    def create(self, *argv):
        return self.json("create", self.target, "--size", "1M", *self.key,
                         *(argv or FLAGS))

    def damage(self, offset):
        with open(self.path, "r+b") as stream:
            stream.seek(offset)
            byte, = stream.read(1)
            stream.seek(offset)
            stream.write(bytes([byte ^ 1]))


@ddt.ddt
class Luks2Test(Luks2TestCase):

    def test_create(self):
        facts = self.create("--type", "luks2")
        self.assertEqual(
            ("luks2", 4096, 16 * units.MIB, units.MIB, [], None, False),
            tuple(facts[name] for name in (
                "type", "sector_size", "data_offset", "decrypted_size",
                "requirements", "damaged_copy", "clone")))
        self.assertEqual(17 * units.MIB, os.path.getsize(self.path))
        shown = self.json("info", self.target)
        self.assertEqual(facts, {name: shown[name] for name in facts})
        self.assertFalse(shown["engines"]["qemu"]["usable"])
        self.assertTrue(shown["engines"]["cryptsetup"]["usable"])

    def test_table(self):
        self.create(*FLAGS)
        with rawfile.FileStore().open(self.path) as image:
            keyslots.add(image, base.OLD, base.NEW, argon2=COST)
        output, _errors = self.run_command("info", self.target)
        for text in ("sector_size | 4096 |", "requirements | - |",
                     "1: active, argon2id, 1 passes over 64 KiB, 1 threads",
                     "qemu: no, QEMU's luks driver knows only LUKS1"):
            self.assertIn(text, " ".join(output.split()))

    def test_sector_size(self):
        self.assertEqual(512, self.create(*FLAGS, "--sector-size", "512")[
            "sector_size"])

    def test_argon2(self):
        facts = self.create("--type", "luks2", "--cipher", "aes-cbc-plain64",
                            "--key-size", "128", "--kdf", "argon2id")
        self.assertEqual([{"keyslot": 0, "state": "active",
                           "kdf": "argon2id", "time": 1, "memory_kib": 64,
                           "cpus": 1}], facts["keyslots"])
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_format(self):
        self.file(bytes(20 * units.MIB), "volume")
        facts = self.json("format", self.target, *self.key, *FLAGS)
        self.assertEqual(("luks2", 4 * units.MIB), (facts["type"],
                                              facts["decrypted_size"]))
        self.assertIn("LUKS2 header already", self.error(
            5, "format", self.target, *self.key, *FLAGS))

    @ddt.data(
        ("--sector-size", "1024", "--type", "luks2"),
        ("--sector-size", "4096"),
        ("--kdf", "argon2id"),
        ("--kdf", "argon2id", "--type", "luks2", "--iterations", "1000"))
    def test_bad_values(self, flags):
        measured = []
        self.patch("os_brick_rbd_luks.headers.kdf_cost.argon2",
                   measured.append)
        code = 4 if "1024" in flags else 1
        self.error(code, "create", self.target, "--size", "1M", *self.key,
                   *flags)
        self.assertFalse(os.path.exists(self.path))
        self.assertEqual([], measured)

    def test_keys(self):
        self.create()
        self.json("key", "add", self.target, *self.key, *self.new,
                  "--new-keyslot", "20", "--kdf", "argon2id")
        with rawfile.FileStore().open(self.path) as image:
            self.assertEqual(20, unlocking.unlock(image, base.NEW).keyslot)
            self.assertEqual(COST, header_io.read_header(image).keyslot(
                20).kdf.cost)
        self.json("key", "remove", self.target, *self.key)
        self.assertEqual(20, self.keyslot(base.NEW))

    def test_rekey(self):
        self.create()
        done = self.json("rekey", self.target, *self.key, *self.new)
        self.assertEqual((1, 0), (done["added_keyslot"],
                                  done["removed_keyslot"]))
        self.assertEqual(1, self.keyslot(base.NEW))

    def test_backup_and_restore(self):
        self.create()
        saved = os.path.join(self.folder, "saved")
        self.assertEqual(16 * units.MIB, self.json(
            "header", "backup", self.target, "--file", saved)["size"])
        self.json("rekey", self.target, *self.key, *self.new)
        self.json("header", "restore", self.target, "--file", saved,
                  "--force")
        self.assertEqual(0, self.keyslot(base.OLD))

    def test_erase(self):
        self.create()
        self.assertEqual([0], self.json("erase", self.target, "--force")[
            "erased_keyslots"])


@ddt.ddt
class RepairTest(Luks2TestCase):

    @ddt.data((20, "primary"), (16404, "secondary"))
    @ddt.unpack
    def test_repair(self, place, which):
        self.create()
        self.damage(place)
        self.assertEqual(which, self.json("info", self.target)[
            "damaged_copy"])
        self.assertIn("header repair", self.error(
            5, "rekey", self.target, *self.key, *self.new))
        self.assertEqual({"image": self.target, "repaired_copy": which},
                         self.json("header", "repair", self.target))
        self.json("rekey", self.target, *self.key, *self.new)

    def test_nothing_to_repair(self):
        self.create()
        self.assertIn("nothing to repair", self.error(
            5, "header", "repair", self.target))

    def test_luks1(self):
        self.make_volume()
        self.assertIn("LUKS1", self.error(5, "header", "repair",
                                          self.target))

    def test_no_good_copy(self):
        self.create()
        self.damage(20)
        self.damage(16404)
        self.error(4, "header", "repair", self.target, "--force")

    def test_force(self):
        self.create()
        self.damage(0)
        self.assertIn("--force", self.error(5, "header", "repair",
                                            self.target))
        self.json("header", "repair", self.target, "--force")
        self.assertEqual(0, self.keyslot(base.OLD))
