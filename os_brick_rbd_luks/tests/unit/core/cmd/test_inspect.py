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

"""info, verify and audit."""

from __future__ import annotations

import json
import os
import threading

from cliff.formatters import json_format
import ddt
import fixtures

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.cmd import json_rows
from os_brick_rbd_luks.cmd import plugins
from os_brick_rbd_luks.cmd import pool_walk
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import derivations
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class InfoTest(base.CommandTestCase):

    def test_json(self):
        self.make_volume(base.OLD, base.NEW)
        facts = self.json("info", self.target)
        self.assertEqual(
            ["image", "type", "uuid", "cipher", "key_bits", "hash",
             "data_offset", "image_size", "decrypted_size", "clone",
             "keyslots", "encrypted", "problems", "engines"], list(facts))
        self.assertEqual(
            (self.target, "luks1", 4 * units.MIB, 5 * units.MIB, units.MIB,
             [0, 1]),
            (facts["image"], facts["type"], facts["data_offset"],
             facts["image_size"], facts["decrypted_size"],
             [slot["keyslot"] for slot in facts["keyslots"]]))
        self.assertEqual({
            "qemu": {"usable": True, "reason": None},
            "librbd": {"usable": False,
                       "reason": "it is not an RBD image"},
            "cryptsetup": {"usable": True, "reason": None},
        }, facts["engines"])

    def test_table(self):
        self.make_volume(base.OLD, base.NEW)
        output, errors = self.run_command("info", self.target)
        self.assertEqual("", errors)
        for text in ("decrypted_size | 1 MiB (1048576 bytes)",
                     "0: active, pbkdf2, 1000 iterations",
                     "1: active, pbkdf2, 1000 iterations",
                     "qemu: yes", "librbd: no, it is not an RBD image"):
            self.assertIn(" ".join(text.split()), " ".join(output.split()))

    def clone(self, note=None):
        """A clone of a volume, with a note of its own."""
        self.make_pool_volume("golden").freeze("s")
        with self.pool.clone(self.pool.parent("golden", "s"), "v") as image:
            image.set_note(sealed.NOTE, note)

    def test_clone(self):
        self.make_pool_volume("golden").freeze("s")
        cloning.rekeyed(self.pool, self.pool.parent("golden", "s"), "v",
                        base.OLD, base.NEW)
        facts = self.json("info", "volumes/v")
        self.assertEqual(("volumes/golden@s", 1),
                         (facts["parent"], facts["sealed_passphrases"]))
        output, _errors = self.run_command("info", "volumes/v")
        for text in ("parent | volumes/golden@s", "sealed_passphrases | 1"):
            self.assertIn(text, " ".join(output.split()))

    def test_clone_with_the_passphrase_of_its_source(self):
        self.clone()
        facts = self.json("info", "volumes/v")
        self.assertEqual(("volumes/golden@s", 0),
                         (facts["parent"], facts["sealed_passphrases"]))

    def test_flattened_clone(self):
        """What is left in it is of no account any more."""
        self.clone(note="{")
        with self.pool.open("v") as image:
            image.flatten()
        facts = self.json("info", "volumes/v")
        self.assertEqual((None, 0), (facts["parent"],
                                     facts["sealed_passphrases"]))

    @ddt.data("{", "[\"id-1\"]", "{\"image\": \"id-1\", \"token\": {}}")
    def test_clone_with_a_note_of_no_use(self, note):
        """It is told, and all else is shown."""
        self.clone(note=note)
        facts = self.json("info", "volumes/v")
        self.assertEqual(("volumes/golden@s", "luks1", [0]),
                         (facts["parent"], facts["type"],
                          [slot["keyslot"] for slot in facts["keyslots"]]))
        told = facts["sealed_passphrases"]
        self.assertTrue(told.startswith("not known: "), told)
        self.assertIn("rbd", told)
        self.assertNotIn("id-1", told)
        output, _errors = self.run_command("info", "volumes/v")
        self.assertIn("sealed_passphrases | not known: ",
                      " ".join(output.split()))

    def test_clone_whose_notes_cannot_be_read(self):
        """Not to be mistaken for a note of no use."""
        self.clone()
        self.pool.steps.faults["note"] = exception.ImageIOError(
            action="read", reason="no OSD")
        self.assertIn("no OSD", self.error(4, "info", "volumes/v"))

    def test_no_clone(self):
        self.make_pool_volume()
        facts = self.json("info", "volumes/v")
        self.assertEqual((None, 0), (facts["parent"],
                                     facts["sealed_passphrases"]))

    def test_file_has_no_parent(self):
        self.make_volume()
        self.assertNotIn("parent", self.json("info", self.target))

    def test_columns(self):
        self.make_volume()
        output, _errors = self.run_command("info", self.target, "-c",
                                           "decrypted_size", "-f", "value")
        self.assertEqual("1048576", output.strip())

    def test_engines_are_asked_for_who_is_told(self):
        """To start QEMU takes as long as all the rest."""
        self.patch(f"{base.__name__}.Probe.asked", [])
        self.make_pool_volume()
        for flags, times in (((), 1), (("-f", "json"), 1),
                             (("-c", "uuid"), 0),
                             (("-c", "uuid", "-c", "ENGINES "), 1),
                             (("-f", "value", "-c", "engines"), 1)):
            base.Probe.asked.clear()
            output, _errors = self.run_command("info", "volumes/v", *flags)
            self.assertEqual([True] * times, base.Probe.asked, flags)
            self.assertEqual(bool(times), "librbd" in output, flags)
        self.make_volume()
        base.Probe.asked.clear()
        self.run_command("info", self.target)
        self.assertEqual([False], base.Probe.asked)

    def test_pool(self):
        self.make_pool_volume()
        self.patch(f"{base.__name__}.Probe.found",
                   engines.Host("no QEMU", capabilities.Librbd(18), None))
        facts = self.json("info", "volumes/v")
        self.assertEqual("no QEMU", facts["engines"]["qemu"]["reason"])
        self.assertIn("aes-cbc-plain64",
                      facts["engines"]["librbd"]["reason"])

    def test_nothing_is_written(self):
        content = self.make_pool_volume()
        content.log.clear()
        self.json("info", "volumes/v")
        self.assertEqual([], content.log)

    def test_damaged_keyslot(self):
        content = self.make_pool_volume()
        content.write(ondisk.key_block_offset(0, "active"), b"\1\2\3\4")
        output, _errors = self.run_command("info", "volumes/v")
        self.assertIn("0: damaged: its state word is 0x01020304", output)

    def test_missing_file(self):
        self.assertIn(f"file {self.path} does not exist",
                      self.error(4, "info", self.target))

    def test_no_header(self):
        self.file(bytes(8192), "volume")
        self.assertIn(f"{self.target}: there is no LUKS header",
                      self.error(4, "info", self.target))

    @ddt.data((detect.MAGIC + b"\0\2", "field hdr_size at byte 8"),
              (detect.MAGIC + b"\0\1", "is damaged"))
    @ddt.unpack
    def test_unusable_header(self, start, message):
        self.file(start + bytes(8192), "volume")
        error = self.error(4, "info", self.target)
        self.assertIn(message, error)
        self.assertIn(self.target, error)

    def test_folder(self):
        self.error(1, "info", f"file:{self.folder}")


@ddt.ddt
class VerifyTest(base.CommandTestCase):

    def setUp(self):
        super().setUp()
        self.make_volume(base.OLD, base.NEW)

    def key(self, content):
        return "--passphrase-file", self.file(content)

    @ddt.data((base.OLD, 0), (base.NEW, 1))
    @ddt.unpack
    def test_right(self, passphrase, keyslot):
        facts = self.json("verify", self.target, *self.key(passphrase))
        self.assertEqual((self.target, keyslot, {
            "encrypted": True, "reason": None, "cipher": "aes-cbc-plain64",
            "key_bits": 128, "keyslots": 2, "tokens": 0, "below": [],
            "sector_size": 512}),
            (facts["image"], facts["keyslot"], facts["encrypted"]))

    def test_line(self):
        output, _errors = self.run_command(
            "verify", self.target, *self.key(base.OLD))
        self.assertIn("| yes; aes-cbc-plain64 with 128-bit key; 2 keyslots |",
                      output)

    def test_plain(self):
        self.file(bytes(8192), "volume")
        self.assertIn("no LUKS header", self.error(
            4, "verify", self.target, *self.key(base.OLD)))

    def test_newline_that_was_cut(self):
        """It may be part of the passphrase, as it is to cryptsetup."""
        os.unlink(self.path)
        self.make_volume(base.OLD + b"\n")
        for source, options in (
                (f"file {self.file(base.OLD + bytes([10]))}",
                 self.key(base.OLD + b"\n")),
                ("stdin", ("--passphrase-file", "-"))):
            error = self.error(2, "verify", self.target, *options,
                               stdin=base.OLD + b"\n")
            self.assertIn(f"The newline at the end of {source} was not taken "
                          "for a part of it", error)
            self.assertIn("--keep-newline", error)
            self.json("verify", self.target, *options, "--keep-newline",
                      stdin=base.OLD + b"\n")

    def test_no_word_of_a_newline_that_is_not_there(self):
        self.assertNotIn("newline", self.error(
            2, "verify", self.target, *self.key(base.OTHER)))

    def test_wrong(self):
        error = self.error(2, "verify", self.target, *self.key(base.OTHER))
        self.assertEqual(f"{self.target}: the passphrase opens no keyslot; "
                         "check the passphrase or key id", error)

    def test_wrong_keyslot(self):
        error = self.error(2, "verify", self.target, *self.key(base.OLD),
                           "--keyslot", "1")
        self.assertIn("does not open keyslot 1", error)

    def test_right_keyslot(self):
        self.json("verify", self.target, *self.key(base.NEW), "--keyslot",
                  "1")

    @ddt.data("2", "8", "-1")
    def test_keyslot_not_in_use(self, number):
        self.assertIn(f"keyslot {number} is not in use", self.error(
            1, "verify", self.target, *self.key(base.OLD),
            f"--keyslot={number}"))

    def test_keyslot_is_a_number(self):
        self.usage_error("verify", self.target, "--keyslot", "first")

    def test_nothing_is_written(self):
        before = self.content()
        self.json("verify", self.target, *self.key(base.OLD))
        self.assert_same_bytes(before, self.content())


@ddt.ddt
class Argon2Test(base.CommandTestCase):
    """What a header's Argon2 may take is said by the environment."""

    def setUp(self):
        super().setUp()
        self.addCleanup(derivations.bound, derivations.Bounds())
        self.make_volume(options=formatting.Options(
            type="luks2", argon2=kdfs.Argon2Cost(1, 1025, 1)))
        self.key = "--passphrase-file", self.file(base.OLD)

    def allow(self, mib):
        self.useFixture(fixtures.EnvironmentVariable(
            "RBD_LUKS_ARGON2_MEMORY_MIB", mib))

    @ddt.data(None, "2", "2048")
    def test_enough(self, mib):
        self.allow(mib)
        self.assertEqual(0, self.json("verify", self.target,
                                      *self.key)["keyslot"])

    def test_too_little(self):
        self.allow("1")
        self.assertIn("Argon2 memory in KiB is 1025, the limit is 1024",
                      self.error(4, "verify", self.target, *self.key))

    @ddt.data("0", "2049", "-1", "1G", "", "9" * 12, "\u0662")
    def test_none(self, mib):
        self.allow(mib)
        error = self.error(1, "verify", self.target, *self.key)
        self.assertIn("MiB" if "between" not in error else "KiB", error)


class AuditTest(base.CommandTestCase):

    warnings = ("volumes: namespaces that were not looked at: space; add "
                "--all-namespaces\n")

    def setUp(self):
        super().setUp()
        self.make_pool_volume("good")
        with self.pool.create("plain", 8 * units.MIB):
            pass
        damaged = self.make_pool_volume("damaged")
        damaged.write(108, bytes(4))
        journaled = self.make_pool_volume("journaled")
        journaled.features = frozenset({"journaling"})

    def test_json(self):
        rows = self.json("audit", "volumes")
        self.assertEqual(
            ["image", "type", "encrypted", "image_size", "decrypted_size",
             "keyslots", "problems"], list(rows[0]))
        self.assertEqual([None, True, True, False], [
            row["encrypted"]["encrypted"] for row in rows])
        self.assertEqual(
            [("volumes/damaged", "luks1", None, 1),
             ("volumes/good", "luks1", units.MIB, 0),
             ("volumes/journaled", "luks1", units.MIB, 1),
             ("volumes/plain", "none", None, 0)],
            [(row["image"], row["type"], row["decrypted_size"],
              len(row["problems"])) for row in rows])

    def test_table(self):
        output, errors = self.run_command("audit", "volumes")
        self.assertIn("not looked at: space", errors)
        lines = {line.split("|")[1].strip(): [
            cell.strip() for cell in line.split("|")[2:-1]]
            for line in output.splitlines() if line.startswith("| volumes/")}
        self.assertEqual(
            ["luks1", "yes; aes-cbc-plain64 with 128-bit key; 1 keyslot",
             "5 MiB (5242880 bytes)", "1 MiB (1048576 bytes)", "0", "-"],
            lines["volumes/good"])
        self.assertEqual(
            ["none", "no; the image is plain", "8 MiB (8388608 bytes)", "-",
             "-", "-"], lines["volumes/plain"])
        self.assertIn("journaling", lines["volumes/journaled"][-1])

    def test_namespace(self):
        self.make_pool_volume("inner", "volumes/space")
        self.warnings = ""
        rows = self.json("audit", "volumes/space")
        self.assertEqual(["volumes/space/inner"],
                         [row["image"] for row in rows])

    def test_all_namespaces(self):
        self.make_pool_volume("inner", "volumes/space")
        output, errors = self.run_command(
            "audit", "volumes", "--all-namespaces", "-f", "json")
        self.assertEqual("", errors)
        self.assertEqual(
            ["volumes/damaged", "volumes/good", "volumes/journaled",
             "volumes/plain", "volumes/space/inner"],
            [row["image"] for row in json.loads(output)])
        self.assertIn("is for a pool", self.error(
            1, "audit", "volumes/space", "--all-namespaces"))

    def test_image_that_cannot_be_read(self):
        self.make_unreadable("volumes/good")
        rows = {row["image"]: row for row in self.json("audit", "volumes")}
        self.assertEqual(4, len(rows))
        self.assertEqual(["cannot be read: cannot read: no OSD"],
                         rows["volumes/good"]["problems"])

    def test_image_removed_meanwhile(self):
        self.patch(f"{stores.__name__}.MemoryStore.images",
                   lambda _self: ["gone", "good"])
        rows = self.json("audit", "volumes")
        self.assertIn("does not exist", rows[0]["problems"][0])
        self.assertEqual([], rows[1]["problems"])

    def test_empty_pool(self):
        self.warnings = ""
        self.assertEqual([], self.json("audit", "volumes/space"))

    def test_missing_pool(self):
        self.assertIn("pool nopool does not exist",
                      self.error(4, "audit", "nopool"))

    def test_nothing_is_written(self):
        for content in self.pool.contents.values():
            content.log.clear()
        self.json("audit", "volumes")
        self.assertEqual([], [event for content
                              in self.pool.contents.values()
                              for event in content.log])

    def test_file_is_no_pool(self):
        self.usage_error("audit", "a/b/c")


@ddt.ddt
class LargeAuditTest(base.CommandTestCase):
    """Many images at a time, and no more of them than that."""

    def setUp(self):
        super().setUp()
        # It would be told of.
        del self.cluster.pools["volumes/space"]
        for number in range(200):
            self.pool.create(f"v{number:03}", units.MIB).__exit__()

    def let_audit(self, function):
        """Call *function* with each image that is inspected."""
        original = audit.audit

        def audited(image, *below):
            function(image)
            return original(image, *below)

        self.patch(f"{audit.__name__}.audit", audited)

    def test_at_the_same_time(self):
        together = threading.Barrier(pool_walk.OPEN, timeout=60)
        self.let_audit(lambda _image: together.wait())
        rows = self.json("audit", "volumes")
        self.assertEqual(sorted(self.pool.contents),
                         [row["image"].partition("/")[2] for row in rows])
        self.assertEqual([threading.main_thread()], threading.enumerate())

    @ddt.data("json", "csv", "value")
    def test_rows_as_they_come(self, formatter):
        """What is held in memory is bounded, for a pool of any size."""
        inspected, ahead = [], []
        self.let_audit(lambda image: inspected.append(image.name))

        def flushed(output):
            shown = output.getvalue().count("volumes/")
            if shown:
                ahead.append(len(inspected) - shown)

        self.patch(f"{base.__name__}.Output.flush", flushed)
        output, _errors = self.run_command("-q", "audit", "volumes", "-f",
                                           formatter)
        self.assertEqual(200, output.count("volumes/"))
        self.assertLessEqual(200, len(ahead))
        self.assertLessEqual(max(ahead), pool_walk.AHEAD)

    @ddt.data(KeyboardInterrupt, SystemExit)
    def test_interrupted(self, kind):
        """No thread has an image open when the connection ends."""
        def end(_output):
            raise kind(143) if kind is SystemExit else kind

        self.patch(f"{base.__name__}.Output.flush", end)
        self.run_command("-q", "audit", "volumes", "-f", "value",
                         code=143 if kind is SystemExit else 130)
        self.assertEqual([threading.main_thread()], threading.enumerate())

    @ddt.data("unreadable", "removed")
    def test_one_that_fails_is_a_row(self, how):
        def fail(image):
            if image.name == "volumes/v100":
                raise (exception.ImageNotFound(what="image v100")
                       if how == "removed" else exception.ImageIOError(
                           action="read", reason="no OSD"))

        self.let_audit(fail)
        rows = self.json("audit", "volumes")
        self.assertEqual(200, len(rows))
        self.assertEqual([100], [number for number, row in enumerate(rows)
                                 if row["problems"]])

    @ddt.data(("table",), ("yaml",), ("value",),
              ("value", "--sort-column", "image"))
    def test_progress(self, flags):
        """On a terminal, where the rows are not seen as they come."""
        times = iter(range(1, 1000))
        self.patch("time.monotonic", lambda: next(times))
        self.errors_tty = True
        _output, errors = self.run_command("audit", "volumes", "-f",
                                            *flags)
        self.assertIn("\r1 of 200 images\033[K", errors)
        self.assertTrue(errors.endswith("\r200 of 200 images\033[K"
                                        "\r\033[K"), errors[-80:])

    def test_no_progress_among_the_rows(self):
        self.errors_tty = True
        self.patch(f"{base.__name__}.Output.isatty", lambda _output: True)
        _output, errors = self.run_command("audit", "volumes", "-f", "value")
        self.assertEqual("", errors)

    def test_no_progress_for_programs(self):
        for formatter in ("table", "json"):
            _output, errors = self.run_command("audit", "volumes", "-f",
                                               formatter)
            self.assertEqual("", errors)


@ddt.ddt
class JSONTest(base.CommandTestCase):

    @ddt.data(*((count, flags) for count in (0, 1, 2)
                for flags in ((), ("--noindent",))))
    @ddt.unpack
    def test_as_cliff_writes_it(self, count, flags):
        for number in range(count):
            self.make_pool_volume(f"v{number}").write(108, bytes(4))
        ours, _errors = self.run_command("audit", "volumes", "-f", "json",
                                         *flags)
        self.assertEqual(count, len(json.loads(ours)))
        self.patch(f"{json_rows.__name__}.JSONRows",
                   json_format.JSONFormatter)
        theirs, _errors = self.run_command("audit", "volumes", "-f", "json",
                                           *flags)
        self.assertEqual(theirs, ours)

    def test_is_one_of_cliffs(self):
        self.assertIsInstance(
            plugins.Formats("cliff.formatter.list",
                            json=json_rows.JSONRows)["json"].obj,
            json_format.JSONFormatter)
