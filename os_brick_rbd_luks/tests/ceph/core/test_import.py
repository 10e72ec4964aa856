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

"""Images that become encrypted volumes, as QEMU and librbd read them."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import subprocess

import ddt

from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: One that is copied as it is, one with tables, and one that is a stream.
QUICK_FORMATS = ("raw", "qcow2", "vmdk-stream")


@ddt.ddt
class FormatTest(copies.CopyTestCase):
    """Every format, byte for byte."""

    @ddt.data(*selection.cases(*QUICK_FORMATS, full=[
        kind for kind in copies.FORMATS if kind not in QUICK_FORMATS]))
    def test_luks1(self, kind):
        data = copies.content()
        path = self.image_file(data, kind)
        size = json.loads(base.run("qemu-img", "info", "--output=json",
                                   path).stdout)["virtual-size"]
        shown = self.import_(path)
        self.assertEqual(("luks1", size),
                         (shown["type"], shown["decrypted_size"]))
        self.assertEqual(size, self.guest_size(self.image, base.KEY))
        self.assert_same_in_qemu(data, self.image)
        self.assert_same_in_librbd(data, self.image)

    @ddt.data(*selection.cases("qcow2", full=("raw", "vmdk-stream")))
    def test_luks2(self, kind):
        data = copies.content()
        shown = self.import_(self.image_file(data, kind), "--type", "luks2")
        self.assertEqual(len(data), shown["decrypted_size"])
        self.assert_same_in_librbd(data, self.image, kind="luks2")
        self.assert_same_in_librbd(data, self.image, kind="luks2",
                                   piece=4096)

    def test_as_said(self):
        self.import_(self.image_file(copies.content(), "vpc"),
                     "--disk-format", "vhd")
        self.assertTrue(self.opens_in_qemu(self.image, base.KEY))

    @ddt.data(*selection.cases("aes-cbc-essiv:sha256",
                               full=("aes-xts-plain64",)))
    def test_ciphers(self, cipher):
        data = copies.content()
        path = self.image_file(data, "qcow2")
        self.import_(path, "--cipher", cipher, "--key-size", "128")
        self.assert_same_in_qemu(data, self.image)


class HoleTest(copies.CopyTestCase):
    """Zeros stay zeros, also once there is something beside them."""

    SIZE = 32 * units.MIB

    def test_luks1_in_qemu(self):
        self.import_(self.image_file(bytes(self.SIZE), "qcow2"))
        self.qemu_io(self.image, base.KEY, f"read -P 0 0 {self.SIZE}",
                     "write -P 0x61 9M 4k",
                     f"read -P 0 {9 * units.MIB + 4096} 4k",
                     f"read -P 0 {9 * units.MIB - 4096} 4k",
                     "read -P 0 10M 22M")

    def test_luks2_in_librbd(self):
        data = bytearray(self.SIZE)
        data[5 * units.MIB:5 * units.MIB + 9] = b"something"
        for thick in ((), ("--thick",)):
            name = self.volume(bytes(data), "--type", "luks2", *thick)
            with self.pool.open(name) as image:
                image.load_encryption("luks2", base.KEY)
                for offset in (4096, 13 * units.MIB, self.SIZE - 8192):
                    image.write(offset, b"a" * 4096)
            written = bytearray(data)
            for offset in (4096, 13 * units.MIB, self.SIZE - 8192):
                written[offset:offset + 4096] = b"a" * 4096
            self.assert_same_in_librbd(bytes(written), name, kind="luks2",
                                       piece=4096)


@ddt.ddt
class SizeTest(copies.CopyTestCase):
    """Nothing is cut off, and the guest gets the size that was asked for."""

    @ddt.data(*selection.cases(
        (1000, "luks1"), (4 * units.MIB + 4096 + 512, "luks2"),
        full=((4 * units.MIB + 512, "luks1"), (5 * units.MIB + 1000, "luks1"),
              (1000, "luks2"))))
    @ddt.unpack
    def test_odd(self, size, kind):
        data = copies.content(size)
        shown = self.import_(self.image_file(data), "--type", kind)
        sector = 512 if kind == "luks1" else 4096
        self.assertEqual(-(-size // sector) * sector,
                         shown["decrypted_size"])
        self.assert_same_in_librbd(data, self.image, kind=kind)
        if kind == "luks1":
            self.assert_same_in_qemu(data, self.image)

    @ddt.data(*selection.cases(9 * units.MIB + 4096 + 77,
                               full=(4 * units.MIB + 512,)))
    def test_odd_into_an_even_one(self, size):
        data = copies.content(size)
        for kind in ("luks1", "luks2"):
            name = self.volume(data, "--size", "20M", "--type", kind)
            found = self.read(name, kind=kind)
            self.assertEqual(20 * units.MIB, len(found))
            self.assert_same_in_librbd(data, name, kind=kind)

    def test_empty(self):
        path = self.file(b"", "empty.raw")
        self.import_(path, code=1)
        self.assert_nothing_made()
        self.import_(path, "--size", "8M")
        self.assertEqual(8 * units.MIB, self.guest_size(self.image, base.KEY))
        self.assert_same_in_librbd(b"", self.image)

    @selection.full
    def test_full(self):
        data = copies.content(8 * units.MIB)
        for target, kind in ((self.image, "luks1"), (self.name(), "luks2")):
            self.import_(self.image_file(data), "--size", "8M", "--type",
                         kind, target=f"volumes/{target}")
            self.assert_same_in_librbd(data, target, kind=kind)

    def test_too_large(self):
        data = b"x" * (8 * units.MIB + 1)
        errors = self.import_(self.image_file(data), "--size", "8M", code=5)
        self.assertIn("the volume is to have 8388608", errors)
        self.assert_nothing_made()
        errors = self.import_("-", "--size", "8M", code=5, stdin=data)
        self.assertIn("the stream", errors)
        self.assert_nothing_made()


@ddt.ddt
class SourceTest(copies.CopyTestCase):
    """Other sources than files."""

    @ddt.data("luks1", "luks2")
    def test_stream(self, kind):
        data = copies.content(20 * units.MIB + 700)
        self.import_("-", "--size", "24M", "--type", kind, stdin=data)
        self.assert_same_in_librbd(data, self.image, kind=kind)
        if kind == "luks1":
            self.assert_same_in_qemu(data, self.image)

    def test_stream_that_python_encrypts(self):
        data = copies.content(10 * units.MIB + 700)
        self.import_("-", "--size", "12M", "--cipher",
                     "aes-cbc-essiv:sha256", stdin=data)
        self.assert_same_in_qemu(data, self.image)

    def test_stream_needs_a_size(self):
        self.assertIn("size", self.import_("-", code=1, stdin=b"x"))
        self.assert_nothing_made()

    def test_slow_pipe(self):
        """One that gives a little at a time."""
        data = copies.content(2 * units.MIB + 3)
        with self.piped(("sh", "-c", "dd bs=1000 <$0 2>/dev/null",
                         self.file(data, "slow"))) as pipe:
            done = subprocess.run(
                self.command("import", "-", self.target, "--size", "4M",
                             "--passphrase-file", self.key, "--iterations",
                             "1000"),
                stdin=pipe, env=self.environment(), capture_output=True,
                timeout=copies.PATIENCE)
        self.assertEqual(0, done.returncode, done.stderr)
        self.assert_same_in_qemu(data, self.image)

    @contextlib.contextmanager
    def piped(self, command):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            yield process.stdout

    def test_plain_image_and_its_snapshot(self):
        data = copies.content()
        plain = self.plain_image(data)
        with self.pool.open(plain) as image:
            image.create_snapshot("s")
            image.write(7, b"later")
        later = bytearray(data)
        later[7:12] = b"later"
        for source, kind, expected in (
                (f"{plain}@s", "luks1", data),
                (f"{plain}@s", "luks2", data),
                (plain, "luks1", bytes(later))):
            name = self.name()
            self.import_(f"rbd:volumes/{source}", "--type", kind,
                         target=f"volumes/{name}")
            self.assert_same_in_librbd(expected, name, kind=kind)
            if kind == "luks1":
                self.assert_same_in_qemu(expected, name)

    @selection.full
    def test_clone_of_an_image(self):
        """What its parent has is a part of it."""
        data = copies.content()
        plain, child = self.plain_image(data), self.name()
        with self.pool.open(plain) as image:
            image.create_snapshot("s")
        self.clone(plain, "s", child)
        self.import_(f"rbd:volumes/{child}")
        self.assert_same_in_qemu(data, self.image)

    def test_encrypted_image_is_refused(self):
        source = self.volume(copies.content(units.MIB))
        self.assertIn("reencrypt", self.import_(
            f"rbd:volumes/{source}", code=1))
        self.assert_nothing_made()


class ExistingTest(copies.CopyTestCase):
    """Into a volume that is there."""

    def test_into_an_empty_one_and_again(self):
        self.rbd_luks("create", self.target, "--size", "24M",
                      "--passphrase-file", self.key, "--iterations", "1000")
        with self.pool.open(self.image) as image:
            header = image.read(0, units.MIB)
        data = copies.content()
        self.import_(self.image_file(data), "--existing")
        self.assert_same_in_qemu(data, self.image)
        other = b"other" * (2 * units.MIB // 5)
        path = self.image_file(other)
        self.assertIn("--force", self.import_(path, "--existing", code=5))
        self.assert_same_in_qemu(data, self.image)
        self.import_(path, "--existing", "--force")
        self.assert_same_in_qemu(other, self.image)
        with self.pool.open(self.image) as image:
            self.assertEqual(header, image.read(0, units.MIB))

    def test_luks2_keeps_no_old_data(self):
        data = copies.content()
        self.import_(self.image_file(data), "--type", "luks2")
        other = copies.content(3 * units.MIB)
        self.import_(self.image_file(other), "--existing", "--force")
        self.assert_same_in_librbd(other, self.image, kind="luks2",
                                   piece=4096)

    @selection.full
    def test_upstream_s_layout(self):
        self.qemu_create(self.image, 24 * units.MIB)
        data = copies.content()
        self.import_(self.image_file(data, "qcow2"), "--existing")
        self.assert_same_in_qemu(data, self.image)
        self.import_("-", "--existing", "--force", stdin=data[:5 * units.MIB])
        self.assert_same_in_qemu(data[:5 * units.MIB], self.image)

    def test_refusals(self):
        self.import_(self.image_file(copies.content(units.MIB)),
                     "--size", "8M")
        path = self.image_file(b"x" * (8 * units.MIB + 1))
        self.import_(path, "--existing", "--force", code=5)
        self.import_(path, "--existing", "--size", "8M", code=1)
        self.assert_same_in_qemu(copies.content(units.MIB), self.image)
        with self.open_pool().open(self.image):
            self.import_(self.image_file(b"x"), "--existing", "--force",
                         code=5)
        # A longer stream is noticed too late: the volume is empty then.
        self.import_("-", "--existing", "--force", code=5,
                     stdin=b"x" * (8 * units.MIB + 1))
        self.import_(self.image_file(copies.content(units.MIB)), "--existing")
        self.assert_same_in_qemu(copies.content(units.MIB), self.image)


class PlaceTest(copies.CopyTestCase):
    """Other pools, namespaces and users."""

    def test_namespace(self):
        space, pool = self.namespace()
        data = copies.content()
        path = self.image_file(data, "qcow2")
        for name, kind in (("one", "luks1"), ("two", "luks2")):
            self.import_(path, "--type", kind,
                         target=f"volumes/{space}/{name}")
            self.assert_same_in_librbd(data, name, kind=kind, pool=pool)
        self.assert_same_in_qemu(data, "one", pool=f"volumes/{space}")
        self.assertEqual(["one", "two"], pool.images())

    @selection.full
    def test_another_pool(self):
        self.user = "admin"
        pool = self.open_pool("images", "admin")
        self.addCleanup(lambda: self.image in pool.images()
                        and pool.remove(self.image))
        data = copies.content()
        self.import_(self.image_file(data), target=f"images/{self.image}")
        self.assert_same_in_qemu(data, self.image, pool="images")

    def test_name_that_is_taken(self):
        self.plain_image(b"precious", self.image)
        self.assertIn("exists already", self.import_(
            self.image_file(b"x"), "--force", code=5))
        self.assertEqual(b"precious", self.read(self.image, kind=None))


class ProgressTest(copies.CopyTestCase):
    """What a program, and a person, sees of it."""

    def command_line(self, *options):
        return self.command(
            "import", self.image_file(copies.content()), self.target,
            "--passphrase-file", self.key, "--iterations", "1000", *options)

    def test_lines_of_json(self):
        done = base.run(*self.command_line("-f", "json"),
                        env=self.environment())
        self.assertEqual("luks1", json.loads(done.stdout)["type"])
        lines = [json.loads(line)["progress"]
                 for line in done.stderr.splitlines()
                 # Not what is logged.
                 if line.startswith(b"{")]
        self.assertEqual({"bytes", "total", "bytes_per_second",
                          "seconds_left"}, set(lines[-1]))
        self.assertEqual((copies.SIZE,) * 2,
                         (lines[-1]["bytes"], lines[-1]["total"]))
        done = [line["bytes"] for line in lines]
        self.assertEqual(sorted(done), done)

    @selection.full
    def test_nothing_without_a_terminal(self):
        done = base.run(*self.command_line(), env=self.environment())
        for text in (b"progress", b"\r", b"MiB", b"\033"):
            self.assertNotIn(text, done.stderr)
        self.assertNotIn(b"\r", done.stdout)

    def on_a_terminal(self, command, answer=b""):
        """Run it on a terminal; its exit code, and all that is there."""
        ours, theirs = pty.openpty()
        with subprocess.Popen(command, stdin=theirs, stdout=theirs,
                              stderr=theirs, env=self.environment(),
                              start_new_session=True) as process:
            os.close(theirs)
            os.write(ours, answer)
            shown = b""
            # The other end is closed: EIO.
            with contextlib.suppress(OSError):
                while data := os.read(ours, 4096):
                    shown += data
            os.close(ours)
        return process.returncode, shown.decode()

    def test_a_line_on_a_terminal(self):
        code, shown = self.on_a_terminal(self.command_line())
        self.assertEqual(0, code, shown)
        self.assertIn("\r100 %  24 MiB of 24 MiB", shown)

    def test_the_offer_on_a_terminal(self):
        half = partial.PREFIX + self.image
        self.pool.create(half, 8 * units.MIB).__exit__()
        code, shown = self.on_a_terminal(self.command_line(), b"n\n")
        self.assertEqual(5, code, shown)
        self.assertIn(f"{half} is what an interrupted run left", shown)
        self.assertIn(half, self.pool.images())
        code, shown = self.on_a_terminal(self.command_line(), b"y\n")
        self.assertEqual(0, code, shown)
        self.assert_same_in_qemu(copies.content(), self.image)
        self.assertNotIn(half, self.pool.images())
