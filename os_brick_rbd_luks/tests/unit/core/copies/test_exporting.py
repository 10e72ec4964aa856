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

"""Volumes go to files and streams, complete or not at all."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat

import ddt
import fixtures

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.copies import source_cases
from os_brick_rbd_luks.tests.unit.core.headers import base

SIZE = clones.SIZE


class ExportTestCase(source_cases.SourceTestCase):

    kind = "luks1"

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "file")
        self.partial = self.path + ".rbd-luks-partial"
        self.passphrase = self.make(self.kind)
        self.reports = []

    def report(self, *found):
        self.reports.append(found)

    def export(self, **options):
        with self.opened(passphrase=self.passphrase) as volume:
            exporting.to_file(volume, self.path, **options)

    def export_raw(self, **options):
        with sources.opened_raw(self.store, "source") as volume:
            exporting.to_file(volume, self.path, **options)

    def found(self):
        with open(self.path, "rb") as stream:
            return stream.read()

    def leave(self, path, data=b"precious"):
        with open(path, "wb") as stream:
            stream.write(data)

    def change(self, *_ignored):
        """Let a guest start while the data is copied."""
        self.store.contents["source"].watchers.append("client.9 at x")


class InterleavedTest(ExportTestCase):
    """librbd would garble what is behind the first stripe unit."""

    def test_luks1(self):
        self.interleave()
        self.export()
        found = self.found()
        # What was never written is noise to QEMU as well.
        for offset, data in clones.WRITES:
            self.assertEqual(data, found[offset:offset + len(data)])
        self.assertIn("decrypted by Python", self.log.output)

    def interleave(self):
        self.store.contents["source"].interleaves = True

    def test_luks2(self):
        self.store.remove("source")
        self.passphrase = self.make("luks2")
        self.interleave()
        self.export()
        self.assert_same_bytes(clones.expected(), self.found())
        error = self.assertRaises(exception.UnsupportedHeader, self.export,
                                  file_format="qcow2", force=True)
        self.assertIn("stripe unit", str(error))


@ddt.ddt
class FileTest(ExportTestCase):

    @ddt.data("plain", "luks1", "luks2", "luks1-cbc")
    def test_data(self, kind):
        del self.store.contents["source"]
        self.passphrase = self.make(kind)
        self.export(report=self.report)
        self.assert_same_bytes(clones.expected(), self.found())
        self.assertEqual(["file"], os.listdir(self.folder))
        self.assertEqual((SIZE, SIZE), self.reports[-1])

    def test_nobody_else_reads_it(self):
        before = os.umask(0)
        self.addCleanup(os.umask, before)
        self.export()
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_nobody_else_reads_it_in_the_meantime(self):
        modes = []
        self.addCleanup(os.umask, os.umask(0))
        self.export(report=lambda *found: modes.append(
            stat.S_IMODE(os.stat(self.partial).st_mode)))
        self.assertEqual({0o600}, {*modes})

    def test_sparse(self):
        """Zeros take no space, whether they were written or not."""
        with self.store.open("source") as image:
            image.load_encryption("luks1", base.OLD)
            image.write(0, bytes(SIZE))
            image.write(SIZE // 2, b"x")
        self.export()
        self.assertEqual(SIZE, os.stat(self.path).st_size)
        self.assertLessEqual(os.stat(self.path).st_blocks * 512, 65536)

    def test_as_it_is(self):
        self.export_raw(report=self.report)
        whole = self.store.contents["source"].whole()
        self.assert_same_bytes(whole, self.found())
        self.assertEqual((len(whole), len(whole)), self.reports[-1])

    # files that are there

    @ddt.data("export", "export_raw")
    def test_exists(self, name):
        self.leave(self.path)
        error = self.assertRaises(exception.ImageExists, getattr(self, name))
        self.assertIn(self.path, str(error))
        self.assertEqual(b"precious", self.found())
        self.assertEqual(["file"], os.listdir(self.folder))

    @ddt.data("export", "export_raw")
    def test_half_made(self, name):
        self.leave(self.partial)
        error = self.assertRaises(exception.HalfMade, getattr(self, name))
        self.assertIn(self.partial, str(error))
        self.assertEqual([self.partial], [
            os.path.join(self.folder, name)
            for name in os.listdir(self.folder)])

    def test_force(self):
        for path in (self.path, self.partial):
            self.leave(path, b"precious" * SIZE)
        self.export(force=True)
        self.assert_same_bytes(clones.expected(), self.found())
        self.assertEqual(["file"], os.listdir(self.folder))

    def test_force_replaces_a_link_not_what_it_names(self):
        other = os.path.join(self.folder, "other")
        self.leave(other)
        for path in (self.path, self.partial):
            os.symlink(other, path)
        self.assertRaises(exception.ImageExists, self.export)
        self.export(force=True)
        self.assertFalse(os.path.islink(self.path))
        with open(other, "rb") as stream:
            self.assertEqual(b"precious", stream.read())

    def test_dangling_link(self):
        os.symlink("/nowhere/else", self.path)
        self.assertRaises(exception.ImageExists, self.export)

    @ddt.data(False, True)
    def test_folder(self, force):
        os.mkdir(self.path)
        self.assertRaises(exception.ImageExists, self.export, force=force)
        self.assertEqual(["file"], os.listdir(self.folder))

    def test_no_such_folder(self):
        self.path = os.path.join(self.folder, "nowhere", "file")
        error = self.assertRaises(exception.CopyFailed, self.export)
        self.assertIn("No such file", str(error))

    def test_relative_path(self):
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        with self.opened(passphrase=self.passphrase) as volume:
            exporting.to_file(volume, "file",
                              report=lambda *found: os.chdir("/"))
        self.assert_same_bytes(clones.expected(), self.found())

    # failures

    @ddt.data("export", "export_raw")
    def test_failure_leaves_nothing(self, name):
        for force in (False, True):
            for error in (ZeroDivisionError(), KeyboardInterrupt(),
                          SystemExit(1)):
                def report(*found, error=error):
                    raise error

                self.assertIs(error, self.assertRaises(
                    type(error), getattr(self, name), report=report,
                    force=force))
                self.assertEqual([], os.listdir(self.folder))

    @ddt.data("export", "export_raw")
    def test_changed_in_between(self, name):
        self.assertRaises(exception.SourceChanged, getattr(self, name),
                          report=self.change)
        self.assertEqual([], os.listdir(self.folder))

    def test_what_it_would_replace_stays_after_a_failure(self):
        self.leave(self.path)
        self.assertRaises(exception.SourceChanged, self.export, force=True,
                          report=self.change)
        self.assertEqual(b"precious", self.found())
        self.assertEqual(["file"], os.listdir(self.folder))

    # what is no plain file

    def special(self, kind):
        """Make one; what it is from then on."""
        if kind == "socket":
            stream = socket.socket(socket.AF_UNIX)
            self.addCleanup(stream.close)
            stream.bind(self.path)
        elif kind == "link":
            os.symlink("/dev/null", self.path)
        else:
            os.mkfifo(self.path)
        return stat.S_IFMT(os.lstat(self.path).st_mode)

    @ddt.data(*((name, kind, force) for name in ("export", "export_raw")
                for kind in ("pipe", "link", "socket")
                for force in (False, True)))
    @ddt.unpack
    def test_special(self, name, kind, force):
        """It would be a plain file afterwards; as root, also /dev/null."""
        mode = self.special(kind)
        error = self.assertRaises(exception.InvalidParameter,
                                  getattr(self, name), force=force)
        self.assertIn("redirect stdout", str(error))
        self.assertEqual(mode, stat.S_IFMT(os.lstat(self.path).st_mode))
        self.assertEqual(["file"], os.listdir(self.folder))

    @ddt.data("export", "export_raw")
    def test_special_that_was_made_meanwhile(self, name):
        for force in (False, True):
            self.assertRaises(
                exception.InvalidParameter, getattr(self, name), force=force,
                report=lambda *found: os.path.lexists(
                    self.path) or os.mkfifo(self.path))
            self.assertEqual(["file"], os.listdir(self.folder))
            os.unlink(self.path)

    @ddt.data("export", "export_raw")
    def test_made_meanwhile(self, name):
        """It is somebody's, and stays, unless all that is there may go."""
        def report(*found):
            self.leave(self.path)

        self.assertRaises(exception.ImageExists, getattr(self, name),
                          report=report)
        self.assertEqual(b"precious", self.found())
        self.assertEqual(["file"], os.listdir(self.folder))
        getattr(self, name)(report=report, force=True)
        self.assertNotEqual(b"precious", self.found())
        self.assertEqual(["file"], os.listdir(self.folder))

    @ddt.data(("pwrite", False), ("fsync", False), ("replace", True),
              ("open", False))
    @ddt.unpack
    def test_system_call_fails(self, name, force):
        real, seen = getattr(os, name), []

        def fail(*arguments, **options):
            seen.append(name)
            if name != "open" or arguments[0] == self.partial:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*arguments, **options)

        with fixtures.MonkeyPatch(f"os.{name}", fail):
            error = self.assertRaises(exception.CopyFailed, self.export,
                                      force=force)
        self.assertTrue(seen)
        self.assertIn("No space left", str(error))
        self.assertIn(self.path, str(error))
        self.assertEqual([], os.listdir(self.folder))

    def test_name_cannot_be_given(self):
        def fail(*arguments, **options):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with fixtures.MonkeyPatch("os.link", fail):
            error = self.assertRaises(exception.FileSystemFull, self.export)
        self.assertIn(self.path, str(error))
        self.assertEqual([], os.listdir(self.folder))

    @ddt.data(("link", False), ("replace", True))
    @ddt.unpack
    def test_order_at_the_end(self, named, force):
        """On the disk, and the source unchanged, before it has the name."""
        calls = []
        for name in ("fsync", named):
            def call(*arguments, name=name, real=getattr(os, name),
                     **options):
                calls.append((name, os.path.exists(self.path)))
                return real(*arguments, **options)
            self.useFixture(fixtures.MonkeyPatch(f"os.{name}", call))
        self.export(force=force)
        self.assertEqual([("fsync", False), (named, False)], calls)

    def test_partial_file_that_is_gone(self):
        """The error that is told is the first one."""
        def report(*found):
            os.unlink(self.partial)
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.export, report=report)

    def test_short_writes(self):
        real = os.pwrite
        self.useFixture(fixtures.MonkeyPatch(
            "os.pwrite", lambda descriptor, data, offset: real(
                descriptor, data[:40001], offset)))
        self.export()
        self.assert_same_bytes(clones.expected(), self.found())

    def test_volume_cannot_be_read(self):
        error = exception.ImageIOError(action="read", reason="no OSD")
        with self.opened(passphrase=self.passphrase) as volume:
            self.store.steps.before["extents"] = lambda: (
                self.store.steps.faults.update(read=error))
            self.assertIs(error, self.assertRaises(
                exception.ImageIOError, exporting.to_file, volume, self.path))
        self.assertEqual([], os.listdir(self.folder))

    def test_no_secret(self):
        self.export()
        self.assertNotIn(base.OLD.decode(), self.log.output)


class Qcow2Test(ExportTestCase):

    def setUp(self):
        super().setUp()
        self.programs = self.useFixture(programs.QemuImg())

    def test_commands(self):
        self.programs.plan("rebase", append={self.partial: "qcow2"})
        self.export(file_format="qcow2", report=self.report)
        create, rebase = self.programs.runs()
        for run in (create, rebase):
            self.assertEqual(self.partial, run.argv[-1])
            self.assertEqual(base.OLD, run.secrets()["secret1"])
            self.assertEqual("--of=volumes", run.environment["CEPH_ARGS"])
        self.assertEqual(b"qcow2", self.found())
        self.assertEqual((SIZE, SIZE), self.reports[-1])
        self.assertEqual(0o600, stat.S_IMODE(os.stat(self.path).st_mode))

    def test_failure(self):
        for verb in ("rebase", "create"):
            self.programs.plan(verb, code=1, stderr="no space\n",
                               append={self.partial: "half"})
            self.assertRaises(exception.CopyFailed, self.export,
                              file_format="qcow2")
            self.assertEqual([], os.listdir(self.folder))

    def test_changed_in_between(self):
        self.assertRaises(exception.SourceChanged, self.export,
                          file_format="qcow2", report=self.change)
        self.assertEqual([], os.listdir(self.folder))


class Sink(io.RawIOBase):
    """Takes a part of what it is given."""

    def __init__(self):
        super().__init__()
        self.data = bytearray()
        self.flushes = 0

    def write(self, data):
        self.data += data[:30011]
        return min(len(data), 30011)

    def flush(self):
        self.flushes += 1


@ddt.ddt
class StreamTest(ExportTestCase):

    def to_stream(self, stream, **options):
        with self.opened(passphrase=self.passphrase) as volume:
            exporting.to_stream(volume, stream, **options)

    def to_stream_raw(self, stream, **options):
        with sources.opened_raw(self.store, "source") as volume:
            exporting.to_stream(volume, stream, **options)

    @ddt.data("plain", "luks1", "luks2")
    def test_data(self, kind):
        del self.store.contents["source"]
        self.passphrase = self.make(kind)
        sink = Sink()
        self.to_stream(sink, report=self.report)
        self.assert_same_bytes(clones.expected(), bytes(sink.data))
        self.assertEqual((SIZE, SIZE), self.reports[-1])
        self.assertGreaterEqual(sink.flushes, 1)
        self.assertFalse(sink.closed)

    def test_as_it_is(self):
        sink = Sink()
        self.to_stream_raw(sink)
        self.assert_same_bytes(self.store.contents["source"].whole(),
                               bytes(sink.data))
        self.assertGreaterEqual(sink.flushes, 1)

    @ddt.data("to_stream", "to_stream_raw")
    def test_changed_in_between(self, name):
        self.assertRaises(exception.SourceChanged, getattr(self, name),
                          Sink(), report=self.change)

    @ddt.data("to_stream", "to_stream_raw")
    def test_reader_is_gone(self, name):
        class Broken(Sink):
            def write(self, data):
                raise BrokenPipeError

        self.assertRaises(BrokenPipeError, getattr(self, name), Broken())
        self.assertEqual(0, self.store.contents["source"].handles)
