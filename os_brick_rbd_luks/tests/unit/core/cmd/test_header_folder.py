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

"""header backup-all, header list, and header restore from a folder."""

from __future__ import annotations

import os
import re
import threading

import ddt

from os_brick_rbd_luks.cmd import pool_walk
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import backup_series
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import record_store
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class FolderTestCase(base.CommandTestCase):
    """Pools, and a folder for backups of them."""

    def setUp(self):
        super().setUp()
        # The least that scrypt may cost.
        self.patch(f"{backup_series.__name__}.find_key.__defaults__", (10,))
        # It would be told of.
        del self.cluster.pools["volumes/space"]
        self.backups = os.path.join(self.folder, "backups")
        os.mkdir(self.backups)
        self.key = ("--backup-passphrase-file",
                    self.file(base.OTHER, "backup-passphrase"))

    def all(self, *argv, pool="volumes"):
        return ("header", "backup-all", pool, "--to", self.backups,
                *self.key, *argv)

    def restore(self, *argv, target="volumes/v"):
        return ("header", "restore", target, "--from", self.backups,
                *self.key, *argv)

    def rekey(self, old=base.OLD, new=base.NEW):
        with self.pool.open("v") as image:
            keyslots.replace(image, old, new)

    def opens(self, passphrase, target="volumes/v"):
        self.json("verify", target, "--passphrase-file",
                  self.file(passphrase, "opens"))


@ddt.ddt
class BackupAllTest(FolderTestCase):

    def test_report(self):
        for name in "vw":
            self.make_pool_volume(name)
        with self.pool.create("plain", units.MIB):
            pass
        expected = {"to": self.backups, "images": 3, "saved": 2,
                    "unchanged": 0, "plain": 1, "not_saved": 0, "removed": 0,
                    "problems": []}
        self.assertEqual(expected, self.json(*self.all()))
        self.assertEqual({**expected, "saved": 0, "unchanged": 2},
                         self.json(*self.all()))
        self.rekey()
        self.assertEqual({**expected, "saved": 1, "unchanged": 1},
                         self.json(*self.all()))

    def test_damage_is_told(self):
        for name in "vw":
            self.make_pool_volume(name)
        self.json(*self.all())
        self.pool.contents["w"].write(108, bytes(4))
        output, errors = self.run_command(*self.all(), code=4)
        self.assertIn("volumes/w: the LUKS header is damaged", output)
        self.assertIn("backup 1 of it is kept", output)
        self.assertEqual("headers that need a look: 1, see the report's "
                         "problems\n", errors)

    def test_image_removed_meanwhile(self):
        self.make_pool_volume("good")
        self.patch(f"{stores.__name__}.MemoryStore.images",
                   lambda _self: ["gone", "good"])
        report = self.json(*self.all())
        self.assertEqual((1, 1, []), (report["removed"], report["saved"],
                                      report["problems"]))

    def test_image_that_cannot_be_read(self):
        for name in "vw":
            self.make_pool_volume(name)
        self.make_unreadable("volumes/v")
        output, _errors = self.run_command(*self.all(), code=4)
        self.assertIn("volumes/v: cannot be read: cannot read: no OSD; there "
                      "is no backup of it", output)

    def test_full_folder_ends_it(self):
        """Not one line for each of ten thousand images."""
        for number in range(20):
            self.make_pool_volume(f"v{number}")

        def full(*_args):
            raise exception.FileSystemFull(action="write")

        self.patch(f"{record_store.__name__}.Folder.write", full)
        self.assertIn("no space left", self.error(4, *self.all()))
        self.assertEqual([threading.main_thread()], threading.enumerate())

    def test_at_the_same_time(self):
        for number in range(6):
            self.make_pool_volume(f"v{number}")
        together = threading.Barrier(3, timeout=60)
        write = record_store.Folder.write

        def writes(*args):
            together.wait()
            write(*args)

        self.patch(f"{record_store.__name__}.Folder.write", writes)
        self.assertEqual(6, self.json(*self.all("--parallel", "3"))["saved"])

    @ddt.data("0", "101", "-1", "x", "1.5", "\u0662")
    def test_counts(self, number):
        for option in ("--parallel", "--keep"):
            self.assertIn("is no number from 1 to 100", self.usage_error(
                *self.all(f"{option}={number}")))

    def test_count_of_more_digits_than_python_reads(self):
        self.assertIn("is no number from 1 to 100", self.usage_error(
            *self.all("--keep=" + "9" * 5000)))

    def test_keep(self):
        self.make_pool_volume()
        self.json(*self.all("--keep", "1"))
        self.rekey()
        self.json(*self.all("--keep", "1"))
        row, = self.json("header", "list", "--from", self.backups)
        self.assertEqual(2, row["backup"])

    def test_no_folder(self):
        os.rmdir(self.backups)
        self.assertIn(self.backups, self.error(4, *self.all()))
        self.assertFalse(os.path.exists(self.backups))

    def test_no_pool(self):
        self.assertIn("nopool", self.error(4, *self.all(pool="nopool")))

    def test_other_run(self):
        with record_store.Folder(self.backups).lock():
            self.assertIn("another run", self.error(5, *self.all()))

    def test_other_passphrase(self):
        self.make_pool_volume()
        self.json(*self.all())
        self.key = "--backup-passphrase-file", self.file(base.OLD)
        before = os.listdir(os.path.join(self.backups, "volumes"))
        self.assertIn("not the one that the header backups are sealed with",
                      self.error(2, *self.all()))
        self.assertEqual(before, os.listdir(
            os.path.join(self.backups, "volumes")))

    def test_asked_twice_for_the_first_one(self):
        self.make_pool_volume()
        self.key = ()
        self.prompts(base.OTHER.decode(), base.OTHER.decode(),
                     base.OTHER.decode())
        self.json(*self.all())
        self.json(*self.all())
        self.assertEqual(["Passphrase of the backups: ", "Once more: ",
                          "Passphrase of the backups: "], self.asked)

    def test_no_terminal(self):
        self.key = ()
        self.assertIn("--backup-passphrase-file", self.error(2, *self.all()))

    def test_key_manager_is_named(self):
        self.key = "--backup-key-id", "1"
        self.assertIn("--config-file", self.error(2, *self.all()))

    def test_newline(self):
        """As with other passphrases: one is cut unless that is said."""
        self.make_pool_volume()
        self.json(*self.all())
        self.key = ("--backup-passphrase-file",
                    self.file(base.OTHER + b"\n"))
        self.json(*self.all())
        self.assertIn("sealed with", self.error(
            2, *self.all("--backup-keep-newline")))

    def test_newline_that_was_cut(self):
        self.make_pool_volume()
        self.key = ("--backup-passphrase-file",
                    self.file(base.OTHER + b"\n"))
        self.json(*self.all("--backup-keep-newline"))
        self.assertTrue(self.error(2, *self.all()).endswith(
            "if it is one, add --backup-keep-newline"))

    def test_nothing_in_plain(self):
        """What is stolen with the folder opens nothing."""
        self.make_pool_volume()
        self.json(*self.all())
        path, = (os.path.join(folder, name)
                 for folder, _folders, names in os.walk(self.backups)
                 for name in names if name.endswith(record_store.SUFFIX))
        data = self.content(path)
        with self.pool.open("v") as image:
            for offset in range(4096, 60000, 1024):
                self.assertNotIn(image.read(offset, 64).rstrip(b"\0") or
                                 b"LUKS\xba\xbe", data)
        for secret in (base.OLD, base.OTHER):
            self.assertNotIn(secret, data)

    def test_progress(self):
        for number in range(3):
            self.make_pool_volume(f"v{number}")
        times = iter(range(1, 1000))
        self.patch("time.monotonic", lambda: next(times))
        self.errors_tty = True
        _output, errors = self.run_command(*self.all())
        self.assertIn("\r3 of 3 images\033[K", errors)

    def test_help(self):
        output, _errors = self.run_command("header", "backup-all", "--help")
        for number in (pool_walk.OPEN, backup_series.KEEP):
            self.assertIn(f"(default: {number})", " ".join(output.split()))


class NamespacesTest(FolderTestCase):

    def setUp(self):
        super().setUp()
        inner = stores.MemoryStore(name="volumes/space")
        self.cluster.pools["volumes/space"] = inner
        inner.stores = self.cluster.pools
        self.make_pool_volume("v")
        self.make_pool_volume("v", "volumes/space")

    def test_not_looked_at(self):
        self.warnings = ("volumes: namespaces that were not looked at: space;"
                         " add --all-namespaces\n")
        self.assertEqual(1, self.json(*self.all())["images"])

    def test_all(self):
        self.assertEqual(2, self.json(*self.all("--all-namespaces"))["saved"])
        self.assertEqual(
            ["volumes/v", "volumes/space/v"],
            [row["image"] for row in self.json(
                "header", "list", "--from", self.backups)])

    def test_one(self):
        self.assertEqual(1, self.json(*self.all(pool="volumes/space"))[
            "saved"])
        self.cluster.pools["volumes/space"].contents["v"].write(108, bytes(4))
        self.run_command(*self.restore(target="volumes/space/v"))
        self.opens(base.OLD, "volumes/space/v")


class PoolTest(FolderTestCase):
    """Backups in a pool of the cluster, as objects."""

    def setUp(self):
        super().setUp()
        self.cluster.pools["headers"] = stores.MemoryStore(name="headers")
        self.volume = self.make_pool_volume()
        self.backups = "rados:headers"

    def test_saved_and_put_back(self):
        before = self.volume.whole()
        report = self.json(*self.all())
        self.assertEqual(("rados:headers", 1), (report["to"],
                                                report["saved"]))
        self.assertEqual(1, self.json(*self.all())["unchanged"])
        row, = self.json("header", "list", "--from", self.backups)
        self.assertEqual(("volumes/v", 1), (row["image"], row["backup"]))
        self.volume.write(108, bytes(4))
        self.run_command(*self.restore())
        self.assert_same_bytes(before, self.volume.whole())

    def test_no_backup_of_it(self):
        self.json(*self.all())
        self.make_pool_volume("w")
        self.assertIn("a backup of volumes/w in pool headers", self.error(
            4, *self.restore(target="volumes/w")))

    def test_no_pool(self):
        self.backups = "rados:missing"
        self.assertIn("pool missing", self.error(4, *self.all()))
        self.assertIn("pool missing", self.error(4, *self.restore()))

    def test_somebody_else_writes(self):
        with self.cluster.records("headers") as records, records.lock():
            self.assertIn("another run", self.error(5, *self.all()))

    def test_names_no_pool(self):
        for text in ("rados:", "rados:a/b/c"):
            self.backups = text
            self.usage_error(*self.all())


class ListTest(FolderTestCase):

    def test_rows(self):
        content = self.make_pool_volume()
        self.json(*self.all())
        self.rekey()
        self.json(*self.all())
        first, second = self.json("header", "list", "--from", self.backups)
        self.assertEqual(
            ["image", "backup", "time", "type", "uuid", "image_id", "size",
             "problem"], list(first))
        self.assertEqual(
            [("volumes/v", 1, "luks1", content.image_id, None),
             ("volumes/v", 2, "luks1", content.image_id, None)],
            [tuple(row[name] for name in (
                "image", "backup", "type", "image_id", "problem"))
             for row in (first, second)])
        self.assertTrue(TIME.fullmatch(first["time"]))

    def test_nothing(self):
        self.assertEqual([], self.json("header", "list", "--from",
                                       self.backups))

    def test_damaged(self):
        self.make_pool_volume()
        self.json(*self.all())
        folder = os.path.join(self.backups, "volumes")
        name, = os.listdir(folder)
        os.truncate(os.path.join(folder, name), 100)
        row, = self.json("header", "list", "--from", self.backups)
        self.assertEqual(("volumes/?", None), (row["image"], row["backup"]))
        self.assertIn("cut off", row["problem"])
        self.assertIn(row["image_id"], name)

    def test_no_folder(self):
        self.error(4, "header", "list", "--from", self.backups + "/no")
        self.usage_error("header", "list")


class RestoreTest(FolderTestCase):

    def setUp(self):
        super().setUp()
        self.volume = self.make_pool_volume()
        self.json(*self.all())

    def damage(self):
        self.volume.write(108, bytes(4))

    def test_restored(self):
        before = self.volume.whole()
        self.damage()
        _output, errors = self.run_command("-q", *self.restore())
        self.assertRegex(errors, r"^volumes/v: its header is that of "
                         rf"{TIME.pattern} again, so it opens by the "
                         r"passphrases of then\n$")
        self.assert_same_bytes(before, self.volume.whole())

    def test_rekeyed_since(self):
        """The rules are those of one file; so is what insists."""
        self.rekey()
        before = self.volume.whole()
        error = self.error(5, *self.restore())
        self.assertIn("the passphrase of now would be lost", error)
        self.assert_same_bytes(before, self.volume.whole())
        self.run_command(*self.restore("--force"))
        self.opens(base.OLD)

    def test_older_one(self):
        self.rekey()
        self.json(*self.all())
        self.run_command(*self.restore("--backup", "1", "--force"))
        self.opens(base.OLD)
        self.run_command(*self.restore("--force"))
        self.opens(base.NEW)
        self.assertIn("which has 1, 2", self.error(
            4, *self.restore("--backup", "3")))

    def test_wrong_passphrase(self):
        self.key = "--backup-passphrase-file", self.file(base.OLD)
        self.damage()
        before = self.volume.whole()
        self.error(2, *self.restore())
        self.assert_same_bytes(before, self.volume.whole())

    def test_no_backup_of_it(self):
        self.make_pool_volume("w")
        self.assertIn("a backup of volumes/w in folder", self.error(
            4, *self.restore(target="volumes/w")))

    def test_in_use(self):
        self.damage()
        self.volume.watchers.append("client.4")
        self.error(5, *self.restore())

    def test_file_target(self):
        self.make_volume()
        self.assertIn("--file", self.error(1, *self.restore(
            target=self.target)))

    def test_one_source(self):
        self.usage_error(*self.restore("--file", "x"))
        self.usage_error("header", "restore", "volumes/v")
        self.assertIn("--backup", self.error(
            1, "header", "restore", "volumes/v", "--file", self.path,
            "--backup", "1"))
