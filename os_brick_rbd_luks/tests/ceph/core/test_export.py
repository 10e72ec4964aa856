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

"""Volumes that become files and streams."""

from __future__ import annotations

import json
import os
import subprocess

import ddt

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


def contents(path):
    with open(path, "rb") as stream:
        return stream.read()


def allocated(path):
    """Bytes that a file takes."""
    return os.stat(path).st_blocks * 512


@ddt.ddt
class ExportTest(copies.CopyTestCase):

    @ddt.data("luks1", "luks2")
    def test_raw(self, kind):
        data = copies.content(20 * units.MIB + 4096)
        name, path = self.volume(data, "--type", kind), self.path("out")
        shown = self.export(name, path)
        self.assertEqual(("raw", len(data)), (shown["format"],
                                              shown["size"]))
        self.assert_same(data, contents(path))
        self.assertEqual(0o600, os.stat(path).st_mode & 0o777)
        self.assertEqual([], [name for name in os.listdir(self.temp)
                              if exporting.SUFFIX in name])

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_sparse(self, kind):
        data = bytearray(64 * units.MIB)
        data[30 * units.MIB:31 * units.MIB] = os.urandom(units.MIB)
        name = self.volume(bytes(data), "--type", kind)
        raw, qcow2 = self.path("out.raw"), self.path("out.qcow2")
        self.export(name, raw)
        self.export(name, qcow2, "--disk-format", "qcow2")
        self.assert_same(data, contents(raw))
        self.assertLess(allocated(raw), 4 * units.MIB)
        self.assertLess(allocated(qcow2), 4 * units.MIB)
        self.assert_qcow2(data, qcow2)

    def assert_qcow2(self, data, path):
        told = json.loads(base.run("qemu-img", "info", "--output=json",
                                   path).stdout)
        self.assertEqual(("qcow2", len(data)),
                         (told["format"], told["virtual-size"]))
        self.assertFalse([name for name in told if "backing" in name], told)
        base.run("qemu-img", "check", path)
        base.run("qemu-img", "compare", "-f", "raw", "-F", "qcow2",
                 self.file(data, "expected.raw"), path)
        with open(path, "rb") as stream:
            self.assertNotIn(self.image.encode(), stream.read(units.MIB))

    @ddt.data(*selection.cases("luks1", full=("luks2",)))
    def test_qcow2(self, kind):
        data = copies.content()
        path = self.path("out.qcow2")
        self.export(self.volume(data, "--type", kind), path,
                    "--disk-format", "qcow2")
        self.assert_qcow2(data, path)

    @ddt.data(*selection.cases(("--cipher", "aes-cbc-essiv:sha256"),
                               full=(("--key-size", "128"),)))
    def test_ciphers(self, options):
        data = copies.content(9 * units.MIB + 512)
        name, path = self.volume(data, *options), self.path("out")
        self.export(name, path)
        self.assert_same(data, contents(path))
        self.export(name, path + ".qcow2", "--disk-format", "qcow2")
        self.assert_qcow2(data, path + ".qcow2")

    @selection.full
    def test_upstream_s_layout(self):
        name, path = self.name(), self.path("out")
        self.qemu_create(name, 16 * units.MIB)
        self.qemu_io(name, base.KEY, "write -P 0x71 3M 9M",
                     "write -P 0 0 3M", "write -P 0 12M 4M")
        expected = (bytes(3 * units.MIB) + b"\x71" * 9 * units.MIB
                    + bytes(4 * units.MIB))
        self.export(name, path)
        self.assert_same(expected, contents(path))
        self.export(name, path + ".qcow2", "--disk-format", "qcow2")
        self.assert_qcow2(expected, path + ".qcow2")

    def test_snapshot_of_a_volume_in_use(self):
        data = copies.content(9 * units.MIB)
        name, path = self.volume(data), self.path("out")
        with self.open_pool().open(name) as image:
            image.create_snapshot("s")
            image.write(6 * units.MIB, b"later")
            self.assertIn("in use", self.export(name, path, code=5))
            self.assertFalse(os.path.lexists(path))
            self.export(f"{name}@s", path)
        self.assert_same(data, contents(path))

    @selection.full
    def test_plain(self):
        data = copies.content()
        path = self.path("out")
        self.export(self.plain_image(data), path)
        self.assert_same(data, contents(path))

    def test_clone_with_its_own_passphrase(self):
        if copies.RELEASE >= 18:
            # Its parent's passphrase is a key manager's, or none.
            return
        data = copies.content()
        name = self.volume(data)
        self.rbd_luks("clone", f"volumes/{name}", self.target, "--own-key",
                      "--passphrase-file", self.key,
                      "--new-passphrase-file", self.new_key,
                      "--iterations", "1000")
        self.key, path = self.new_key, self.path("out")
        self.export(self.image, path)
        self.assert_same(data, contents(path))
        self.rbd_luks("remove", self.target, "--force")

    @ddt.data((), ("--encrypted",))
    def test_stdout(self, options):
        data = copies.content(20 * units.MIB)
        name = self.volume(data)
        done = base.run(*self.command(
            "export", f"volumes/{name}", "-", "--passphrase-file", self.key,
            *options), env=self.environment())
        expected = data if not options else self.rbd(
            "export", f"volumes/{name}", "-")
        self.assert_same(expected, done.stdout)

    def test_stdout_that_is_closed_early(self):
        name = self.volume(copies.content(20 * units.MIB))
        with subprocess.Popen(
                self.command("export", f"volumes/{name}", "-",
                             "--passphrase-file", self.key),
                env=self.environment(), stdout=subprocess.PIPE,
                stderr=subprocess.PIPE) as process:
            process.stdout.read(10)
            process.stdout.close()
            errors = process.stderr.read().decode()
        self.assertEqual(4, process.returncode, errors)
        self.assertEqual(1, len(errors.splitlines()), errors)

    @ddt.data("luks1", "luks2")
    def test_encrypted(self, kind):
        data = copies.content()
        name = self.volume(data, "--type", kind)
        path, theirs = self.path("out"), self.path("theirs")
        self.rbd_luks("export", f"volumes/{name}", path, "--encrypted")
        self.rbd("export", f"volumes/{name}", theirs)
        self.assert_same(contents(theirs), contents(path))
        self.assertLessEqual(allocated(path), allocated(theirs) + units.MIB)
        base.run("cryptsetup", "open", "--test-passphrase", "--type", kind,
                 "--key-file", self.key, path)

    def test_files_that_are_there(self):
        name, path = self.volume(b"n" * units.MIB), self.file(b"old", "out")
        self.assertIn("exists already", self.export(name, path, code=5))
        self.assertEqual(b"old", contents(path))
        self.file(b"half", f"out{exporting.SUFFIX}")
        os.unlink(path)
        self.assertIn("interrupted", self.export(name, path, code=5))
        self.file(b"old", "out")
        self.export(name, path, "--force")
        self.assertEqual(b"n" * units.MIB, contents(path))
        self.assertFalse(os.path.exists(path + exporting.SUFFIX))

    def test_wrong_passphrase(self):
        name, path = self.volume(b"n" * units.MIB), self.path("out")
        self.key = self.new_key
        self.export(name, path, code=2)
        self.assertFalse(os.path.lexists(path))

    def test_full_disk(self):
        """One without room for the file: an error, and no part of it."""
        name = self.volume(os.urandom(20 * units.MIB))
        folder = self.path("small")
        os.mkdir(folder)
        base.run("mount", "-t", "tmpfs", "-o", "size=8M", "none", folder)
        self.addCleanup(base.run, "umount", folder)
        for options in ((), ("--disk-format", "qcow2")):
            errors = self.export(name, f"{folder}/out", *options, code=4)
            self.assertIn("No space left", errors)
            self.assertEqual([], os.listdir(folder))


@ddt.ddt
class FilesystemTest(copies.CopyTestCase):
    """A file system goes in, through, and comes out."""

    def setUp(self):
        super().setUp()
        self.files = self.path("files")
        os.mkdir(self.files)
        for number in range(60):
            with open(f"{self.files}/{number}", "wb") as stream:
                stream.write(os.urandom(number * 1711))
        self.disk = self.path("disk.raw")
        base.run("mke2fs", "-q", "-t", "ext4", "-d", self.files, self.disk,
                 "32M")

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_there_and_back(self, kind):
        base.run("qemu-img", "convert", "-c", "-O", "qcow2", self.disk,
                 self.path("disk.qcow2"))
        self.import_(self.path("disk.qcow2"), "--type", kind)
        other, out = self.name(), self.path("out")
        self.reencrypt(self.target, other, "--type",
                       "luks2" if kind == "luks1" else "luks1")
        for name, key in ((self.image, self.key), (other, self.new_key)):
            self.key = key
            self.export(name, out, "--force")
            base.run("e2fsck", "-fn", out)
            for number in (1, 59):
                found = base.run("debugfs", "-R", f"cat /{number}",
                                 out).stdout
                self.assert_same(found, contents(f"{self.files}/{number}"))
