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

"""import and export."""

from __future__ import annotations

import json
import os
from unittest import mock

import ddt
import fixtures

from os_brick_rbd_luks.cmd import main
from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import qemu_img
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests.unit.core.cmd import transfers
from os_brick_rbd_luks.tests.unit.core.copies import inspector
from os_brick_rbd_luks.tests import units

DATA = transfers.DATA


@ddt.ddt
class ImportStreamTest(transfers.TransferTestCase):

    def test_new(self):
        facts = self.imported("--size", "1M", stdin=DATA)
        self.assertEqual(("luks1", units.MIB, 5 * units.MIB), (
            facts["type"], facts["decrypted_size"], facts["image_size"]))
        self.assert_filled(DATA, units.MIB)
        self.assert_nothing_made("v")

    def test_luks2(self):
        facts = self.imported("--size", "1M", "--type", "luks2", stdin=DATA)
        self.assertEqual(("luks2", units.MIB), (facts["type"],
                                          facts["decrypted_size"]))
        self.assert_filled(DATA, units.MIB, sector=4096)

    def test_namespace(self):
        self.imported("--size", "1M", stdin=DATA, target="volumes/space/v")
        self.assert_filled(DATA, units.MIB,
                           pool=self.cluster.pools["volumes/space"])

    def test_table(self):
        output, errors = self.run_command(*self.argv("--size", "1M"),
                                          stdin=DATA)
        self.assertIn("decrypted_size | 1 MiB (1048576 bytes)",
                      " ".join(output.split()))
        self.assertEqual("", errors)

    def test_connects_as_told(self):
        self.run_command(*self.argv("--size", "1M", "--conf", "/x.conf",
                                    "--id", "me", "--cluster", "far"))
        self.assertEqual(("/x.conf", "me", "far"), self.cluster.connected)

    def test_exactly(self):
        self.imported("--size", "1M", stdin=b"x" * units.MIB)
        self.assert_holds(b"x" * units.MIB, units.MIB)

    def test_empty(self):
        self.imported("--size", "1M")
        self.assertEqual(units.MIB, len(self.plain()))

    def test_too_much(self):
        error = self.error(5, *self.argv("--size", "1M"),
                           stdin=b"x" * (units.MIB + 1))
        self.assertIn("the stream has more than 1048576 bytes", error)
        self.assert_nothing_made()

    def test_size_is_needed(self):
        error = self.error(1, *self.argv(), stdin=DATA)
        self.assertIn("size", error)
        self.assertIn("is not known", error)
        self.assert_nothing_made()

    @ddt.data("0", "1000", "1.0000001M")
    def test_bad_size(self, size):
        self.assertIn("positive multiple of 512", self.error(
            1, *self.argv("--size", size), stdin=DATA))
        self.assert_nothing_made()

    def test_no_size(self):
        self.assertIn("is not a size like 10G", self.usage_error(
            *self.argv("--size", "ten")))

    def test_passphrase_on_stdin(self):
        error = self.error(1, *self.argv(
            "--size", "1M", key=("--passphrase-file", "-")), stdin=DATA)
        self.assertIn("--passphrase-file '-' is the image here", error)
        self.assertIn("--passphrase-fd", error)
        self.assert_nothing_made()

    def test_descriptor(self):
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, base.NEW + b"\n")
        os.close(writing)
        self.imported("--size", "1M", stdin=DATA,
                      key=("--passphrase-fd", str(reading)))
        self.assert_filled(DATA, units.MIB, passphrase=base.NEW)

    def test_no_terminal_for_the_passphrase(self):
        error = self.error(2, *self.argv("--size", "1M", key=()),
                           stdin=DATA)
        self.assertIn("use --passphrase-file", error)
        self.assert_nothing_made()

    def test_closed(self):
        with mock.patch.object(base, "Stdin", autospec=True,
                               return_value=None):
            error = self.error(1, *self.argv("--size", "1M"))
        self.assertIn("source '-' is closed", error)
        self.assert_nothing_made()

    def test_raw(self):
        self.imported("--size", "1M", "--disk-format", "raw", stdin=DATA)
        self.assert_filled(DATA, units.MIB)

    @ddt.data("-", "rbd:volumes/p")
    def test_disk_format(self, place):
        self.make_plain()
        error = self.error(1, *self.argv(
            "--size", "1M", "--disk-format", "qcow2", source=place))
        self.assertIn("a stream and an RBD image are raw", error)
        self.assert_nothing_made("p")

    def test_there_already(self):
        self.make_encrypted(content=DATA)
        for force in ((), ("--force",)):
            self.assertIn("volumes/v exists already", self.error(
                5, *self.argv("--size", "1M", *force), stdin=b"x"))
        self.assert_holds(DATA, units.MIB)

    def test_file_target(self):
        error = self.error(1, *self.argv("--size", "1M",
                                         target=self.target))
        self.assertIn("data is copied to RBD images only", error)
        self.assertFalse(os.path.exists(self.path))

    @ddt.data("v", "volumes/", "a/b/c/d")
    def test_no_target(self, target):
        self.assertIn("argument IMAGE", self.usage_error(
            *self.argv("--size", "1M", target=target)))

    def test_bad_format_options(self):
        for flags in (("--iterations", "999"), ("--cipher", "aes"),
                      ("--sector-size", "4096"), ("--key-size", "512")):
            self.error(1, *self.argv("--size", "1M", *flags))
        self.assert_nothing_made()

    def test_failure_leaves_nothing(self):
        with mock.patch.object(transfer, "_with_policy", autospec=True,
                               side_effect=exception.CopyFailed(reason="x")):
            error = self.error(4, *self.argv("--size", "1M"))
        self.assertEqual("volumes/v: the data could not be copied: x", error)
        self.assert_nothing_made()

    def interrupted(self, after):
        """Ctrl-C in the moment when the image gets its name."""
        rename = self.pool.rename

        def interrupted(name, new_name):
            if after:
                rename(name, new_name)
            raise KeyboardInterrupt

        self.patch(f"{stores.__name__}.MemoryStore.rename",
                   lambda _store, *names: interrupted(*names))
        return self.run_command(*self.argv("--size", "1M"), stdin=DATA,
                                code=130)

    def test_interrupted_before_the_end(self):
        self.interrupted(after=False)
        self.assert_nothing_made()

    def test_interrupted_after_the_end(self):
        """There is nothing that somebody would have to remove."""
        self.assertEqual(("", ""), self.interrupted(after=True))
        self.assert_nothing_made("v")
        self.assert_filled(DATA, units.MIB)

    # half-made

    def test_half_made(self):
        self.leave_half_made()
        error = self.error(5, *self.argv("--size", "1M"), stdin=DATA)
        self.assertIn(f"volumes/{partial.PREFIX}v is what an interrupted",
                      error)
        self.assertIn("--force", error)
        self.assert_nothing_made(f"{partial.PREFIX}v")

    def test_half_made_forced(self):
        self.leave_half_made()
        self.imported("--size", "1M", "--force", stdin=DATA)
        self.assert_filled(DATA, units.MIB)
        self.assert_nothing_made("v")

    def test_half_made_by_one_that_lives(self):
        self.leave_half_made()
        self.pool.contents[f"{partial.PREFIX}v"].watchers.append("client.7")
        for force in ((), ("--force",)):
            self.assertIn("client.7", self.error(
                5, *self.argv("--size", "1M", *force)))
        self.assert_nothing_made(f"{partial.PREFIX}v")

    # --existing

    def test_existing(self):
        self.make_encrypted()
        header = self.pool.contents["v"].read(0, 4096)
        facts = self.imported("--existing", stdin=DATA)
        self.assertEqual(units.MIB, facts["decrypted_size"])
        self.assert_same_bytes(DATA, self.plain()[:len(DATA)])
        self.assert_same_bytes(header, self.pool.contents["v"].read(0, 4096))
        self.assertEqual({}, self.pool.contents["v"].notes)

    def test_existing_with_size(self):
        self.make_encrypted()
        error = self.error(1, *self.argv("--existing", "--size", "1M"))
        self.assertIn("--size 1048576 is for a new volume", error)
        self.assertIn("rbd-luks resize", error)

    def test_existing_with_data_pool(self):
        self.make_encrypted()
        self.assertIn("is for a new volume", self.error(
            1, *self.argv("--existing", "--data-pool", "volumes")))

    def test_data_pool(self):
        self.imported("--data-pool", "volumes", "--size", "1M", stdin=DATA)
        self.assertIn("data-pool", self.pool.contents["v"].features)

    def test_existing_with_data(self):
        self.make_encrypted(content=DATA)
        error = self.error(5, *self.argv("--existing"), stdin=b"x" * 512)
        self.assertIn("volumes/v: it holds data", error)
        self.assertIn("--force", error)
        self.assert_holds(DATA, units.MIB)

    def test_existing_forced(self):
        self.make_encrypted(content=DATA)
        self.imported("--existing", "--force", stdin=b"x" * 512)
        found = self.plain()
        self.assert_same_bytes(b"x" * 512, found[:512])
        self.assertNotIn(DATA[512:1024], found)

    @ddt.data("-", "file", "image")
    def test_existing_forced_from_nothing(self, source):
        self.make_encrypted(content=DATA)
        if source == "image":
            with self.pool.create("golden", 0):
                pass
            source = "rbd:volumes/golden"
        elif source == "file":
            source = self.file(b"", "empty")
        error = self.error(5, *self.argv("--existing", "--force",
                                         source=source), stdin=b"")
        self.assertIn("has no data", error)
        self.assert_holds(DATA, units.MIB)

    def test_existing_too_small(self):
        self.make_encrypted()
        error = self.error(5, *self.argv("--existing"),
                           stdin=b"x" * (units.MIB + 1))
        self.assertIn("the stream has more", error)
        with self.pool.open("v", read_only=True) as opened:
            self.assertFalse(opened.has_data(4 * units.MIB))
        self.assertEqual({}, self.pool.contents["v"].notes)

    def test_existing_wrong_passphrase(self):
        self.make_encrypted()
        self.assertIn("volumes/v", self.error(2, *self.argv(
            "--existing", key=("--passphrase-file",
                               self.file(base.OTHER, "other")))))

    def test_existing_in_use(self):
        self.make_encrypted().watchers.append("client.7 at 10.0.0.1")
        self.assertIn("client.7", self.error(5, *self.argv("--existing")))

    def test_existing_that_is_not_there(self):
        self.assertIn("volumes/v does not exist", self.error(
            4, *self.argv("--existing")))

    def test_existing_that_is_plain(self):
        self.make_plain("v")
        self.assertIn("no LUKS header", self.error(
            4, *self.argv("--existing")))


@ddt.ddt
class ImportAskingTest(transfers.TransferTestCase):
    """Somebody sits there."""

    def setUp(self):
        super().setUp()
        self.make_plain()

    def run_import(self, *flags, code=0, stdin=b""):
        return self.run_command(*self.argv(*flags, source="rbd:volumes/p",
                                           key=()), code=code, stdin=stdin)

    def test_new_is_confirmed(self):
        self.prompts(base.NEW.decode(), base.NEW.decode())
        self.run_import("--size", "1M")
        self.assertEqual(["New passphrase: ", "Once more: "], self.asked)
        self.assert_filled(DATA, units.MIB, passphrase=base.NEW)

    def test_two_that_differ(self):
        self.prompts(base.NEW.decode(), base.OLD.decode())
        self.run_import("--size", "1M", code=2)
        self.assert_nothing_made("p")

    def test_existing_is_not_confirmed(self):
        self.make_encrypted()
        self.prompts(base.OLD.decode())
        self.run_import("--existing")
        self.assertEqual(["Passphrase: "], self.asked)

    def test_nothing_is_asked_for_in_vain(self):
        self.prompts()
        for flags, code in ((("--existing", "--size", "1M"), 1),
                            (("--disk-format", "qcow2"), 1)):
            self.run_import(*flags, code=code)
        self.assertEqual([], self.asked)

    @ddt.data("y\n", "Y\n", "yes\n", " y \n")
    def test_half_made_is_removed(self, answer):
        self.leave_half_made()
        self.prompts(*[base.OLD.decode()] * 2)
        self.errors_tty = True
        _output, errors = self.run_import("--size", "1M",
                                          stdin=answer.encode())
        self.assertIn(f"volumes/{partial.PREFIX}v is what an interrupted run "
                      "left.\nRemove it and begin anew? [y/N] ", errors)
        self.assert_filled(DATA, units.MIB)

    @ddt.data("n\n", "\n", "", "yesterday\n")
    def test_half_made_stays(self, answer):
        self.leave_half_made()
        self.prompts(*[base.OLD.decode()] * 2)
        self.errors_tty = True
        _output, errors = self.run_import("--size", "1M", code=5,
                                          stdin=answer.encode())
        self.assertIn("insist with --force", errors)
        self.assert_nothing_made("p", f"{partial.PREFIX}v")

    def test_half_made_where_nobody_reads_the_question(self):
        self.leave_half_made()
        self.prompts(*[base.OLD.decode()] * 2)
        _output, errors = self.run_import("--size", "1M", code=5,
                                          stdin=b"y\n")
        self.assertNotIn("[y/N]", errors)

    def test_half_made_forced_is_not_asked(self):
        self.leave_half_made()
        self.prompts(*[base.OLD.decode()] * 2)
        self.errors_tty = True
        _output, errors = self.run_import("--size", "1M", "--force")
        self.assertNotIn("[y/N]", errors)
        self.assert_filled(DATA, units.MIB)


@ddt.ddt
class ImportImageTest(transfers.TransferTestCase):
    """Of a plain RBD image."""

    def test_size_is_that_of_the_source(self):
        self.make_plain(content=DATA[:250 * 1000])
        facts = self.imported(source="rbd:volumes/p")
        self.assertEqual(489 * 512, facts["decrypted_size"])
        self.assert_holds(DATA[:250 * 1000], 489 * 512)

    def test_larger(self):
        self.make_plain()
        self.imported("--size", "1M", source="rbd:volumes/p")
        self.assert_filled(DATA, units.MIB)

    def test_smaller(self):
        self.make_plain()
        error = self.error(5, *self.argv("--size", "200K",
                                         source="rbd:volumes/p"))
        self.assertIn(f"volumes/p has {len(DATA)} bytes", error)
        self.assert_nothing_made("p")

    def test_snapshot(self):
        self.make_plain("p").freeze("s")
        with self.pool.open("p") as opened:
            opened.write(0, b"later")
        self.imported("--size", "1M", source="rbd:volumes/p@s")
        self.assert_filled(DATA, units.MIB)

    def test_namespace(self):
        self.make_plain(pool="volumes/space")
        self.imported("--size", "1M", source="rbd:volumes/space/p")
        self.assert_filled(DATA, units.MIB)

    def test_in_use(self):
        self.make_plain().watchers.append("client.7 at 10.0.0.1")
        self.assertIn("client.7", self.error(
            5, *self.argv(source="rbd:volumes/p")))
        self.assert_nothing_made("p")

    def test_encrypted(self):
        self.make_encrypted("p", DATA)
        error = self.error(1, *self.argv(source="rbd:volumes/p"))
        self.assertIn("rbd-luks reencrypt", error)
        self.assert_nothing_made("p")

    def test_into_itself(self):
        self.make_encrypted(content=DATA)
        self.assertIn("is encrypted", self.error(1, *self.argv(
            "--existing", "--force", source="rbd:volumes/v")))
        self.assert_holds(DATA, units.MIB)

    @ddt.data("rbd:", "rbd:p", "rbd:volumes/p@", "rbd:file:/p")
    def test_no_source(self, place):
        error = self.error(1, *self.argv(source=place))
        self.assertIn(f"source {place!r} is no image", error)
        self.assertIn("POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]", error)

    @ddt.data("rbd:volumes/nowhere", "rbd:nowhere/p", "rbd:volumes/p@nowhere")
    def test_missing(self, place):
        self.make_plain()
        self.assertIn("nowhere", self.error(4, *self.argv(source=place)))
        self.assert_nothing_made("p")

    def test_changed_meanwhile(self):
        content = self.make_plain()
        self.pool.steps.before["load_encryption"] = (
            lambda: content.watchers.append("client.7"))
        error = self.error(4, *self.argv(source="rbd:volumes/p"))
        self.assertIn("was changed while it was copied", error)
        self.assert_nothing_made("p")


class ImportFileTest(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.image = self.file(DATA, "image")
        for name, value in (("info", {"virtual-size": 542 * 512}),
                            ("check", {}), ("convert", None)):
            patcher = mock.patch.object(qemu_img, name, autospec=True,
                                        return_value=value)
            setattr(self, name, patcher.start())
            self.addCleanup(patcher.stop)

    #: what no inspector of oslo.utils is needed for
    raw = ("--disk-format", "raw")

    def test_format_is_found_out(self):
        if not inspector.INSPECTOR:
            self.assertIn("oslo.utils", self.error(1, *self.argv(
                source=self.image)))
            return
        self.imported(source=self.image)
        self.assertEqual("raw", self.convert.call_args[0][0]["driver"])

    def test_qemu_fills_it(self):
        facts = self.imported(*self.raw, source=self.image)
        self.assertEqual(543 * 512 - 512, facts["decrypted_size"])
        (come, went), options = self.convert.call_args
        self.assertEqual((self.image, "raw"), (come["file.filename"],
                                               come["driver"]))
        self.assertEqual(("volumes", f"{partial.PREFIX}v"), (
            went["pool"], went["image"]))
        self.assertEqual((542 * 512, zeros.WRITTEN), (options["size"],
                                              options["policy"]))

    def test_wrong_format(self):
        known = inspector.INSPECTOR
        error = self.error(5 if known else 1, *self.argv(
            "--disk-format", "qcow2", source=self.image))
        self.assertIn("its format is raw, not qcow2" if known
                      else "oslo.utils", error)
        self.assert_nothing_made()

    def test_unknown_format(self):
        error = self.error(1, *self.argv("--disk-format", "tar",
                                         source=self.image))
        self.assertIn("format 'tar' is not one of raw, qcow2", error)

    def test_missing(self):
        error = self.error(1, *self.argv(source=self.image + "x"))
        self.assertIn("cannot be read", error)

    def test_nothing_is_asked_of_a_bad_file(self):
        self.prompts()
        self.error(1, *self.argv(source=self.image + "x", key=()))
        self.assertEqual([], self.asked)

    def test_failure(self):
        self.convert.side_effect = exception.CopyFailed(reason="no luck")
        self.assertIn("no luck", self.error(4, *self.argv(
            *self.raw, source=self.image)))
        self.assert_nothing_made()

    def test_progress(self):
        self.imported(*self.raw, source=self.image)
        self.assertIsNotNone(self.convert.call_args[1]["report"])
        self.pool.contents.clear()
        self.run_command(*self.argv(*self.raw, source=self.image))
        self.assertIsNone(self.convert.call_args[1]["report"])


@ddt.ddt
class ExportTest(transfers.TransferTestCase):

    def setUp(self):
        super().setUp()
        self.out = os.path.join(self.folder, "out")

    def argv(self, *flags, source="volumes/v", file=None, key=None):
        return ("export", source, file or self.out,
                *(self.key if key is None else key), *flags)

    def exported(self, *flags, **places):
        output, _errors = self.run_command(*self.argv(*flags, **places),
                                           "-f", "json")
        return json.loads(output)

    def assert_no_file(self):
        self.assertEqual([], [name for name in os.listdir(self.folder)
                              if name.startswith("out")])

    def test_raw(self):
        self.make_encrypted(content=DATA)
        facts = self.exported()
        self.assertEqual(
            {"file": self.out, "format": "raw", "size": units.MIB}, facts)
        self.assert_same_bytes(DATA.ljust(units.MIB, b"\0"),
                               self.content(self.out))
        self.assertEqual(0o600, os.stat(self.out).st_mode & 0o777)

    def test_table(self):
        self.make_encrypted(content=DATA)
        output, errors = self.run_command(*self.argv())
        self.assertIn("size | 1 MiB (1048576 bytes)",
                      " ".join(output.split()))
        self.assertEqual("", errors)

    def test_plain_image(self):
        """Nobody is asked for a passphrase."""
        self.make_plain("v")
        self.prompts()
        self.exported(key=())
        self.assert_same_bytes(DATA, self.content(self.out))

    def test_asked_once(self):
        self.make_encrypted(content=DATA)
        self.prompts(base.OLD.decode())
        self.exported(key=())
        self.assertEqual(["Passphrase: "], self.asked)

    def test_snapshot(self):
        self.make_encrypted(content=DATA).freeze("s")
        with self.pool.open("v") as opened:
            opened.load_encryption("luks1", base.OLD)
            opened.write(0, b"later" * 1024)
        self.exported(source="volumes/v@s")
        self.assert_same_bytes(DATA, self.content(self.out)[:len(DATA)])

    def test_stdout(self):
        self.make_encrypted(content=DATA)
        for flags in ((), ("-f", "json")):
            output, _errors = self.run_command(*self.argv(*flags, file="-"))
            self.assertEqual("", output)
            self.assert_same_bytes(DATA.ljust(units.MIB, b"\0"), self.binary)

    def test_stdout_is_closed(self):
        self.make_encrypted(content=DATA)
        errors = base.Output()
        with fixtures.MonkeyPatch("sys.stdout", None), \
                fixtures.MonkeyPatch("sys.stderr", errors):
            self.assertEqual(1, main.main([*self.argv(file="-")]))
        self.assertIn("file '-' is closed", errors.getvalue())

    def test_stdout_breaks(self):
        self.make_encrypted(content=DATA)
        with mock.patch.object(exporting, "to_stream", autospec=True,
                               side_effect=BrokenPipeError(32, "Broken pipe")
                               ):
            self.assertIn("Broken pipe", self.error(
                4, *self.argv(file="-")))

    def test_encrypted(self):
        content = self.make_encrypted(content=DATA)
        self.prompts()
        facts = self.exported("--encrypted", key=())
        self.assertEqual(("encrypted", 5 * units.MIB), (facts["format"],
                                                  facts["size"]))
        self.assert_same_bytes(content.whole(), self.content(self.out))
        self.assertEqual([], self.asked)

    def test_encrypted_to_stdout(self):
        content = self.make_encrypted(content=DATA)
        self.run_command(*self.argv("--encrypted", file="-", key=()))
        self.assert_same_bytes(content.whole(), self.binary)

    def test_encrypted_of_a_plain_image(self):
        self.make_plain("v")
        self.assertIn("no LUKS header", self.error(
            4, *self.argv("--encrypted")))
        self.assert_no_file()

    def test_qcow2(self):
        self.make_encrypted(content=DATA)

        def save(come, path, *, size, report, check, environment):
            self.assertEqual(("volumes", "v", units.MIB), (
                come["pool"], come["image"], size))
            with open(path, "wb") as stream:
                stream.write(b"QFI")

        with mock.patch.object(qemu_img, "save_qcow2", autospec=True,
                               side_effect=save):
            facts = self.exported("--disk-format", "qcow2")
        self.assertEqual(("qcow2", units.MIB),
                         (facts["format"], facts["size"]))
        self.assertEqual(b"QFI", self.content(self.out))

    @ddt.data(("--encrypted",), ())
    def test_qcow2_to_where_it_cannot_go(self, flags):
        self.make_encrypted()
        error = self.error(1, *self.argv("--disk-format", "qcow2", *flags,
                                         file=None if flags else "-"))
        self.assertIn("stdout and --encrypted are raw", error)

    def test_unknown_format(self):
        self.assertIn("invalid choice: 'vmdk'", self.usage_error(
            *self.argv("--disk-format", "vmdk")))

    def test_file_exists(self):
        self.make_encrypted(content=DATA)
        self.file(b"mine", "out")
        error = self.error(5, *self.argv())
        self.assertIn(f"file {self.out} exists already", error)
        self.assertEqual(b"mine", self.content(self.out))
        self.exported("--force")
        self.assert_same_bytes(DATA, self.content(self.out)[:len(DATA)])

    def test_half_made(self):
        self.make_encrypted(content=DATA)
        rest = self.file(b"half", "out" + exporting.SUFFIX)
        error = self.error(5, *self.argv())
        self.assertIn(f"file {rest} is what an interrupted run left", error)
        self.exported("--force")
        self.assertFalse(os.path.exists(rest))
        self.assert_same_bytes(DATA, self.content(self.out)[:len(DATA)])

    def test_another_run(self):
        """Its file is not taken from it, which would end as a mixture."""
        self.make_encrypted(content=DATA)
        with exporting._new_file(self.out, False) as rest:
            for force in ((), ("--force",)):
                error = self.error(5, *self.argv(*force))
                self.assertIn(f"another run, which writes {rest}", error)
            with open(rest, "wb") as stream:
                stream.write(b"theirs")
        self.assertEqual(b"theirs", self.content(self.out))

    def test_no_folder(self):
        self.make_encrypted()
        error = self.error(4, *self.argv(file=f"{self.folder}/no/out"))
        self.assertIn("No such file or directory", error)

    def test_folder(self):
        self.make_encrypted()
        for force in ((), ("--force",)):
            self.assertIn("exists already", self.error(
                5, *self.argv(*force, file=self.folder)))

    def test_wrong_passphrase(self):
        self.make_encrypted()
        self.assertIn("volumes/v", self.error(2, *self.argv(
            key=("--passphrase-file", self.file(base.OTHER, "other")))))
        self.assert_no_file()

    def test_in_use(self):
        self.make_encrypted().watchers.append("client.7 at 10.0.0.1")
        for flags in ((), ("--encrypted",)):
            self.assertIn("client.7", self.error(5, *self.argv(*flags)))
        self.assert_no_file()

    def test_changed_meanwhile(self):
        content = self.make_encrypted(content=DATA)
        self.pool.steps.before["extents"] = (
            lambda: content.watchers.append("client.7"))
        self.assertIn("was changed while it was copied", self.error(
            4, *self.argv()))
        self.assert_no_file()

    @ddt.data("volumes/nowhere", "nowhere/v", "volumes/v@nowhere")
    def test_missing(self, place):
        self.make_encrypted()
        self.assertIn("nowhere", self.error(4, *self.argv(source=place)))

    @ddt.data("v", "file:/v", "volumes/v@", "volumes/v@a/b")
    def test_no_source(self, place):
        self.assertIn("POOL[/NAMESPACE]/IMAGE[@SNAPSHOT]", self.usage_error(
            *self.argv(source=place)))
