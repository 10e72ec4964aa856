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

"""The operator's command on a real cluster."""

from __future__ import annotations

import os

import ddt
import rbd

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


class LifeOfAVolumeTest(base.FunctionalTestCase):
    """Each command does its work, as other programs see it."""

    def setUp(self):
        super().setUp()
        self.image = self.name()
        self.target = f"volumes/{self.image}"
        self.key = self.file(base.KEY, "key")
        self.new_key = self.file(base.NEW_KEY, "new")

    def create(self, *options):
        return self.rbd_luks("create", self.target, "--size", "1G",
                             "--passphrase-file", self.key, "--iterations",
                             "1000", *options)

    def test_create_and_info(self):
        created = self.create()
        shown = self.rbd_luks("info", self.target)
        self.assertEqual(created, {name: shown[name] for name in created})
        self.assertEqual(("luks1", "aes-xts-plain64", 512, 4 << 20, units.GIB),
                         tuple(shown[name] for name in (
                             "type", "cipher", "key_bits", "data_offset",
                             "decrypted_size")))
        self.assertEqual({"qemu", "librbd", "cryptsetup"},
                         {name for name, engine in shown["engines"].items()
                          if engine["usable"]})
        self.assertEqual(units.GIB, self.guest_size(self.image, base.KEY))

    def test_create_leaves_an_image_of_that_name_alone(self):
        with self.pool.create(self.image, 4096) as image:
            image.write(0, b"precious")
        errors = self.rbd_luks(
            "create", self.target, "--size", "1G", "--passphrase-file",
            self.key, "--iterations", "1000", code=5)
        self.assertIn("exists already", errors)
        with self.pool.open(self.image) as image:
            self.assertEqual((4096, b"precious"),
                             (image.size(), image.read(0, 8)))

    def test_format(self):
        self.pool.create(self.image, units.GIB + (4 << 20)).__exit__()
        arguments = ("format", self.target, "--passphrase-file", self.key,
                     "--iterations", "1000", "--cipher",
                     "aes-cbc-essiv:sha256")
        self.assertEqual(units.GIB,
                         self.rbd_luks(*arguments)["decrypted_size"])
        self.assertIn("--force", self.rbd_luks(*arguments, code=5))
        self.assertTrue(self.opens_in_qemu(self.image, base.KEY))
        self.rbd_luks(*arguments, "--force", "--key-size", "128")
        shown = self.rbd_luks("info", self.target)
        self.assertEqual(128, shown["key_bits"])
        self.assertIn("cipher", shown["engines"]["librbd"]["reason"])

    def test_keys(self):
        self.create()
        both = ("--passphrase-file", self.key, "--new-passphrase-file",
                self.new_key, "--iterations", "1000")
        self.assertEqual(1, self.rbd_luks("key", "add", self.target,
                                          *both)["added_keyslot"])
        for key in (self.key, self.new_key):
            self.rbd_luks("verify", self.target, "--passphrase-file", key)
        self.assertEqual(0, self.rbd_luks(
            "key", "remove", self.target, "--passphrase-file",
            self.key)["removed_keyslot"])
        self.rbd_luks("verify", self.target, "--passphrase-file", self.key,
                      code=2)
        self.assertIn("last one", self.rbd_luks(
            "key", "remove", self.target, "--passphrase-file", self.new_key,
            code=5))
        self.assertTrue(self.opens_in_qemu(self.image, base.NEW_KEY))
        self.assertFalse(self.opens_in_qemu(self.image, base.KEY))

    def test_rekey_names_the_snapshots_that_keep_the_old_key(self):
        self.create()
        self.rbd("snap", "create", f"{self.target}@before")
        done = self.rbd_luks(
            "rekey", self.target, "--passphrase-file", "-",
            "--new-passphrase-file", "-", "--iterations", "1000",
            stdin=base.KEY + b"\n" + base.NEW_KEY + b"\n")
        self.assertEqual(["before"], done["stale_snapshots"])
        self.assertTrue(self.opens_in_librbd(self.image, base.NEW_KEY))

    def test_header_backup_and_restore(self):
        self.create()
        saved = os.path.join(self.temp, "saved")
        self.rbd_luks("header", "backup", self.target, "--file", saved)
        self.assertEqual(0o600, os.stat(saved).st_mode & 0o777)
        self.assertIn("exists already", self.rbd_luks(
            "header", "backup", self.target, "--file", saved, code=5))
        with self.pool.open(self.image) as image:
            image.write(0, bytes(4 << 20))
        self.rbd_luks("info", self.target, code=4)
        self.assertIn("--force", self.rbd_luks(
            "header", "restore", self.target, "--file", saved, code=5))
        self.rbd_luks("header", "restore", self.target, "--file", saved,
                      "--force")
        self.assertTrue(self.opens_in_qemu(self.image, base.KEY))
        self.assertTrue(self.opens_in_librbd(self.image, base.KEY))

    def test_restored_header_brings_the_old_passphrase_back(self):
        self.create()
        saved = os.path.join(self.temp, "saved")
        self.rbd_luks("header", "backup", self.target, "--file", saved)
        self.rbd_luks("rekey", self.target, "--passphrase-file", self.key,
                      "--new-passphrase-file", self.new_key, "--iterations",
                      "1000")
        self.assertIn("--force", self.rbd_luks(
            "header", "restore", self.target, "--file", saved, code=5))
        self.assertTrue(self.opens_in_qemu(self.image, base.NEW_KEY))
        self.rbd_luks("header", "restore", self.target, "--file", saved,
                      "--force")
        self.assertTrue(self.opens_in_qemu(self.image, base.KEY))
        self.assertFalse(self.opens_in_qemu(self.image, base.NEW_KEY))

    def test_erase(self):
        self.create()
        self.assertIn("--force", self.rbd_luks("erase", self.target, code=5))
        self.assertTrue(self.opens_in_qemu(self.image, base.KEY))
        self.rbd("snap", "create", f"{self.target}@s")
        self.rbd("snap", "rm", f"{self.target}@s")
        self.assertEqual(
            {"image": self.target, "erased_keyslots": [0],
             "still_reachable": []},
            self.rbd_luks("erase", self.target, "--force", "--pool",
                          "volumes"))
        self.assertFalse(self.opens_in_qemu(self.image, base.KEY))
        self.assertEqual([], self.rbd_luks("info", self.target)["keyslots"])


class Luks2Test(base.FunctionalTestCase):
    """Each command on a LUKS2 volume."""

    def test_life_of_a_volume(self):
        image = self.name()
        target = f"volumes/{image}"
        old = ("--passphrase-file", self.file(base.KEY, "key"))
        new = ("--new-passphrase-file", self.file(base.NEW_KEY, "new"))
        created = self.rbd_luks("create", target, "--size", "1G", "--type",
                                "luks2", *old, "--iterations", "1000")
        self.assertEqual(("luks2", 4096, 16 << 20, units.GIB), tuple(
            created[name] for name in ("type", "sector_size", "data_offset",
                                       "decrypted_size")))
        engines = self.rbd_luks("info", target)["engines"]
        self.assertEqual([False, True, True], [
            engines[name]["usable"]
            for name in ("qemu", "librbd", "cryptsetup")])
        self.assertTrue(self.opens_in_librbd(image, base.KEY, "luks2"))
        saved = os.path.join(self.temp, "saved")
        self.rbd_luks("header", "backup", target, "--file", saved)
        self.rbd_luks("key", "add", target, *old, *new, "--iterations", "1000")
        self.rbd_luks("key", "remove", target, *old)
        self.assertFalse(self.opens_in_librbd(image, base.KEY, "luks2"))
        self.assertTrue(self.opens_in_librbd(image, base.NEW_KEY, "luks2"))
        with self.pool.open(image) as opened:
            opened.write(20, b"\xff")
        self.assertIn("header repair", self.rbd_luks(
            "rekey", target, "--passphrase-file", new[1],
            "--new-passphrase-file", old[1], "--iterations", "1000",
            code=5))
        self.assertEqual("primary", self.rbd_luks("header", "repair",
                                                  target)["repaired_copy"])
        self.rbd_luks("header", "restore", target, "--file", saved, "--force")
        self.assertTrue(self.opens_in_librbd(image, base.KEY, "luks2"))
        self.rbd_luks("erase", target, "--force", "--pool", "volumes")
        self.assertEqual([], self.rbd_luks("info", target)["keyslots"])

    @selection.full
    def test_argon2id(self):
        """Its cost is measured: seconds for each keyslot that is opened."""
        image = self.name()
        target = f"volumes/{image}"
        old = ("--passphrase-file", self.file(base.KEY, "key"))
        self.rbd_luks("create", target, "--size", "64M", "--type", "luks2",
                      *old, "--kdf", "argon2id")
        self.assertTrue(self.opens_in_librbd(image, base.KEY, "luks2"))
        self.rbd_luks("rekey", target, *old, "--new-passphrase-file",
                      self.file(base.NEW_KEY, "new"), "--kdf", "argon2id")
        self.assertFalse(self.opens_in_librbd(image, base.KEY, "luks2"))
        self.assertTrue(self.opens_in_librbd(image, base.NEW_KEY, "luks2"))


class NamespaceTestCase(base.FunctionalTestCase):
    """A namespace, in which no other test makes images."""

    def setUp(self):
        super().setUp()
        admin = self.open_pool(user="admin")
        self.space = self.name()
        rbd.RBD().namespace_create(admin._ioctx, self.space)
        self.addCleanup(rbd.RBD().namespace_remove, admin._ioctx, self.space)
        self.inner = self.open_pool(user="admin", namespace=self.space)
        self.addCleanup(self.empty)

    def empty(self):
        for name in self.inner.images():
            self.inner.remove(name)

    def create(self, name, size=units.GIB, **options):
        creating.create(self.inner, name, size, base.KEY,
                        formatting.Options(), **options)


@ddt.ddt
class BackupAllTest(NamespaceTestCase):
    """Headers of many volumes, saved and put back."""

    def run_all(self, folder, code=0):
        return self.rbd_luks(
            "header", "backup-all", f"volumes/{self.space}", "--to", folder,
            "--backup-passphrase-file", self.key, code=code)

    @ddt.data("folder", "pool")
    def test_saved_and_put_back(self, place):
        self.key = self.file(b"of the operator", "backup-passphrase")
        folder = os.path.join(self.temp, "backups")
        os.mkdir(folder)
        if place == "pool":
            # A namespace without images.
            folder = f"rados:volumes/{self.space}-headers"
        self.create("v1")
        creating.create(self.inner, "v2", units.GIB, base.KEY,
                        formatting.Options(type="luks2"))
        self.inner.create("plain", units.GIB).__exit__()
        starts = {}
        for name in ("v1", "v2"):
            with self.inner.open(name, read_only=True) as image:
                starts[name] = image.read(0, 16 * units.MIB)
        report = self.run_all(folder)
        self.assertEqual((2, 1, []), (report["saved"], report["plain"],
                                      report["problems"]))
        self.assertEqual(2, self.run_all(folder)["unchanged"])
        for name in ("v1", "v2"):
            with self.inner.open(name) as image:
                image.write(0, bytes(16 * units.MIB))
        self.assertIn("headers that need a look: 2",
                      self.run_all(folder, code=4))
        self.assertEqual(
            [(f"volumes/{self.space}/{name}", 1) for name in ("v1", "v2")],
            sorted((row["image"], row["backup"]) for row in self.rbd_luks(
                "header", "list", "--from", folder)))
        for name in ("v1", "v2"):
            # Nothing is left that would tell whose header it was.
            restore = ("header", "restore", f"volumes/{self.space}/{name}",
                       "--from", folder, "--backup-passphrase-file", self.key)
            self.assertIn("--force", self.rbd_luks(*restore, code=5))
            self.rbd_luks(*restore, "--force")
            with self.inner.open(name, read_only=True) as image:
                found = image.read(0, 16 * units.MIB)
            # Zeros where there was no keyslot.
            self.assertTrue(found == starts[name], name)
        self.assertEqual(2, self.run_all(folder)["unchanged"])


class AuditTest(NamespaceTestCase):
    """One row for each image of a pool, with what is wrong with it."""

    def test_metrics_and_report(self):
        self.create("good")
        report = os.path.join(self.temp, "report.html")
        done = base.run(*self.command(
            "audit", f"volumes/{self.space}", "-f", "prometheus", "--html",
            report), env=self.environment())
        self.assertIn(
            f'rbd_luks_images{{pool="volumes",namespace="{self.space}",'
            'format="luks1",encrypted="yes",cipher="aes-xts-plain64",'
            'key_bits="512",sector_size="512"} 1\n', done.stdout.decode())
        with open(report, encoding="utf-8") as stream:
            self.assertIn("<b>1</b>encrypted", stream.read())

    def test_rows(self):
        self.create("good")
        self.inner.create("plain", units.GIB).__exit__()
        self.create("cut", units.GIB - (4 << 20))
        self.create("journal", features=(
            rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
            | rbd.RBD_FEATURE_JOURNALING))
        creating.create(self.inner, "luks2", units.GIB, base.KEY,
                        formatting.Options(type="luks2"))
        creating.create(self.inner, "half", units.GIB, base.KEY,
                        formatting.Options(type="luks2"))
        with self.inner.open("half") as image:
            image.write(0, b"not the magic")
        self.create("damaged")
        with self.inner.open("damaged") as image:
            image.write(108, bytes(4))
        self.create("beyond")
        with self.inner.open("beyond") as image:
            image.write(104, b"\xff\xff\xff\xff")
        self.create("locked-out")
        with self.inner.open("locked-out") as image:
            image.write(208, (0xDEAD).to_bytes(4, "big"))
        self.qemu_create("upstream", units.GIB, pool=self.inner)
        rows = {row["image"].rsplit("/", 1)[1]: row for row in self.rbd_luks(
            "audit", f"volumes/{self.space}")}
        starts = {name: [problem.split(":")[0] for problem in row["problems"]]
                  for name, row in rows.items()}
        self.assertEqual({
            "good": [], "plain": [], "cut": ["cut tail"], "luks2": [],
            "half": ["only a second copy of a header"],
            "journal": ["journaling"], "damaged": ["damaged header"],
            "beyond": ["no payload"],
            "locked-out": ["no keyslot"], "upstream": ["unaligned payload"],
        }, starts)
        self.assertEqual(("none", None), (rows["plain"]["type"],
                                          rows["plain"]["decrypted_size"]))
        self.assertEqual(units.GIB, rows["upstream"]["decrypted_size"])
