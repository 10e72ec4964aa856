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

"""Copies that are killed, and sources that are not what they seem."""

from __future__ import annotations

import os
import shutil
import signal
import struct

import ddt

from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting


@ddt.ddt
class KilledTest(copies.SlowCopyTestCase):

    def assert_gone(self, pid):
        waiting.until(lambda: copies.program(pid), "the end of qemu-img",
                      lambda program: program != "qemu-img")

    def test_qemu_img(self):
        process, child = self.start_import()
        os.kill(child, signal.SIGKILL)
        self.assertIn("signal 9", self.end(process, 4))
        self.assert_nothing_made()

    @selection.full
    def test_qemu_img_into_an_existing_volume(self):
        self.rbd_luks("create", self.target, "--size", "64M",
                      "--passphrase-file", self.key, "--iterations", "1000")
        process, child = self.start_import("--existing")
        os.kill(child, signal.SIGKILL)
        self.assertNotIn("a part of the data", self.end(process, 4))
        self.assertFalse(self.has_payload(self.image))
        data = copies.content(5 * units.MIB)
        self.import_(self.image_file(data), "--existing")
        self.assert_same_in_qemu(data, self.image)

    @ddt.data(*selection.cases((signal.SIGTERM, 143),
                               full=((signal.SIGINT, 130),)))
    @ddt.unpack
    def test_signals(self, number, code):
        process, child = self.start_import()
        process.send_signal(number)
        self.end(process, code)
        self.assert_gone(child)
        self.assert_nothing_made()

    def test_ctrl_c(self):
        """A terminal sends it to qemu-img as well."""
        process, child = self.start_import()
        os.killpg(process.pid, signal.SIGINT)
        self.end(process, 130)
        self.assert_gone(child)
        self.assert_nothing_made()

    def test_signal_in_a_copy_by_ourselves(self):
        plain = self.plain_image(os.urandom(64 * units.MIB))
        process = self.start(
            "import", f"rbd:volumes/{plain}", self.target,
            "--passphrase-file", self.key, "--iterations", "1000", "--conf",
            self.slowed_down())
        self.wait_for_data(partial.PREFIX + self.image)
        process.send_signal(signal.SIGTERM)
        self.end(process, 143)
        self.assert_nothing_made()

    def test_signal_in_an_export(self):
        name, path = self.volume(os.urandom(units.MIB)), self.path("out")
        process = self.start(
            "export", f"volumes/{name}", path, "--passphrase-file", self.key,
            "--conf", self.conf_with(
                f"rbd_qos_read_bps_limit = {units.MIB // 2}"))
        waiting.until(lambda: os.path.exists(path + exporting.SUFFIX),
                      "a file")
        process.send_signal(signal.SIGTERM)
        self.end(process, 143)
        self.assertEqual([], [name for name in os.listdir(self.temp)
                              if name.startswith("out")])

    def test_sigkill(self):
        """What is left has a name that says what it is."""
        process, child = self.start_import()
        process.kill()
        process.wait()
        self.assert_gone(child)
        name = partial.PREFIX + self.image
        self.assertNotIn(self.image, self.pool.images())
        self.assertIn(name, self.pool.images())
        # Nobody sees whether a watch is of a living client. The dead one's
        # lasts for seconds, which a busy machine may need to get here.
        with self.pool.open(name):
            self.assertIn("in use", self.import_(self.source, code=5))
        with self.pool.open(name, read_only=True) as image:
            waiting.until(image.watchers, "the end of the watches",
                          lambda found: not found)
        errors = self.import_(self.source, code=5)
        self.assertIn(f"volumes/{name}", errors)
        self.assertIn("--force", errors)
        self.import_(self.source, "--force")
        with open(self.source, "rb") as stream:
            self.assert_same_in_qemu(stream.read(), self.image)
        self.assertNotIn(name, self.pool.images())

    @selection.full
    def test_two_at_once(self):
        process, _child = self.start_import()
        self.assertIn("in use", self.import_(self.source, "--force", code=5))
        self.end(process, 0)
        with open(self.source, "rb") as stream:
            self.assert_same_in_qemu(stream.read(), self.image)


@ddt.ddt
class ChangedSourceTest(copies.SlowCopyTestCase):
    """Somebody writes to what is being copied."""

    @ddt.data(*selection.cases("truncate", full=("append", "replace")))
    def test_file(self, how):
        os.truncate(self.source, 24 * units.MIB)
        process, _child = self.start_import()
        if how == "truncate":
            os.truncate(self.source, 16 * units.MIB)
        elif how == "append":
            with open(self.source, "ab") as stream:
                stream.write(b"more")
        else:
            os.rename(self.file(b"x", "other"), self.source)
        self.assertIn("was changed", self.end(process, 4))
        self.assert_nothing_made()

    def test_image(self):
        plain = self.plain_image(os.urandom(32 * units.MIB))
        with self.open_pool().open(plain):
            self.assertIn("in use", self.import_(
                f"rbd:volumes/{plain}", code=5))
        process = self.start(
            "import", f"rbd:volumes/{plain}", self.target,
            "--passphrase-file", self.key, "--iterations", "1000", "--conf",
            self.slowed_down())
        self.wait_for_data(partial.PREFIX + self.image)
        with self.open_pool().open(plain):
            self.assertIn("was changed", self.end(process, 4))
        self.assert_nothing_made()


@ddt.ddt
class HostileImageTest(copies.CopyTestCase):
    """Files that were made to do harm."""

    def setUp(self):
        super().setUp()
        self.other = self.file(b"nobody's business" * 4096, "unheard-of")

    def assert_never_opened(self, path, *options):
        trace, errors = self.traced(
            "import", path, self.target, "--passphrase-file", self.key,
            *options, code=5)
        opened = [line for line in trace.splitlines()
                  if "open" in line and f'"{self.other}"' in line]
        self.assertEqual([], opened)
        self.assertIn(f'"{path}"', trace)
        self.assertNotIn("qemu-img", trace)
        self.assertIn(path, errors)
        self.assert_nothing_made()

    def qcow2(self, *options):
        path = self.path("hostile.qcow2")
        base.run("qemu-img", "create", "-f", "qcow2", *options, path, "8M")
        return path

    @ddt.data(*selection.cases((), full=(("--disk-format", "qcow2"),)))
    def test_backing_file(self, options):
        self.assert_never_opened(self.qcow2("-F", "raw", "-b", self.other),
                                 *options)

    @selection.full
    def test_etc_passwd(self):
        self.import_(self.qcow2("-F", "raw", "-b", "/etc/passwd"), code=5)
        self.assert_nothing_made()

    def test_data_file(self):
        self.assert_never_opened(self.qcow2(
            "-o", f"data_file={self.other},data_file_raw=on"))

    def test_backing_file_under_another_name_of_the_format(self):
        self.assert_never_opened(self.qcow2("-F", "raw", "-b", self.other),
                                 "--disk-format", "raw")

    DESCRIPTOR = """# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="{kind}"

# Extent description
RW 2048 FLAT "{path}" 0

# The Disk Data Base
ddb.virtualHWVersion = "4"
"""

    def test_descriptor(self):
        self.assert_never_opened(self.file(self.DESCRIPTOR.format(
            kind="monolithicFlat", path=self.other).encode(), "a.vmdk"))

    @ddt.data(*selection.cases("monolithicFlat", full=(
        "monolithicSparse", "streamOptimized")))
    def test_embedded_descriptor(self, kind):
        """A sparse header without data, whose descriptor QEMU follows."""
        text = self.DESCRIPTOR.format(kind=kind, path=self.other).encode()
        header = struct.pack("<4sIIQQQQIQQQ", b"KDMV", 1, 3, 0, 128, 1, 20,
                             512, 21, 22, 128)
        path = self.file(header.ljust(512, b"\0")
                         + text.ljust(20 * 512, b"\0")
                         + bytes(128 * 1024), "a.vmdk")
        trace, _errors = self.traced(
            "import", path, self.target, "--passphrase-file", self.key,
            code=5)
        self.assertEqual([], [line for line in trace.splitlines()
                              if "open" in line
                              and f'"{self.other}"' in line])
        self.assert_nothing_made()

    # Of the other formats QEMU does not tell where they should end.
    @ddt.data(*selection.cases("qcow2", full=(
        "qcow2-compressed", "vmdk-stream", "vhdx")))
    def test_truncated(self, kind):
        # What can be compressed, so that all of it is.
        data = b"".join(number.to_bytes(512, "big")
                        for number in range(8 * units.MIB // 512))
        path = self.image_file(data, kind)
        size = os.path.getsize(path)
        for cut in (size // 2, size - 4096):
            shutil.copy(path, path + ".cut")
            os.truncate(path + ".cut", cut)
            command = self.command("import", path + ".cut", self.target,
                                   "--passphrase-file", self.key,
                                   "--iterations", "1000")
            done = base.run(*command, env=self.environment(), check=False)
            if not done.returncode and cut > size // 2:
                # What was cut off held no data.
                self.assert_same_in_qemu(data, self.image)
                continue
            self.assertIn(done.returncode, (4, 5), (kind, cut, done.stderr))
            self.assert_nothing_made()

    def test_resized_qcow2_is_complete(self):
        """Its last cluster is a table, not all of which is written."""
        data = copies.content(8 * units.MIB)
        path = self.image_file(data, "qcow2")
        base.run("qemu-img", "resize", "-q", path, "600G")
        base.run("qemu-img", "resize", "-q", "--shrink", path, "8M")
        self.import_(path)
        self.assert_same_in_qemu(data, self.image)

    def test_fifo(self):
        path = self.path("pipe")
        os.mkfifo(path)
        self.import_(path, code=1)
        self.assert_nothing_made()
