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

"""Image files that come from who knows where."""

from __future__ import annotations

import json
import os
import types

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.copies import image_file
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import files
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests.fakes import programs
from os_brick_rbd_luks.tests.unit.core.copies import inspector

INSPECTOR = inspector.INSPECTOR

SAFE = {"qcow2": (files.qcow2(), "qcow2"),
        "qcow2 of version 2": (files.qcow2(version=2), "qcow2"),
        "vmdk": (files.vmdk(), "vmdk"),
        "vmdk for streams": (files.vmdk(files.vmdk_descriptor(
            "streamOptimized")), "vmdk"),
        "vhd": (files.vhd(), "vpc"), "vhdx": (files.vhdx(), "vhdx"),
        "vdi": (files.vdi(), "vdi")}

_FLAT = 'RW 20480 FLAT "other.raw" 0'
#: oslo.utils reads the first, QEMU the second.
_TWO_TYPES = files.vmdk_descriptor(
    before='\ncreatetype="monolithicSparse"\n', kind="monolithicFlat",
    extent=_FLAT)

UNSAFE = {
    "backing file": (files.qcow2(backing=512), "backing_file"),
    "backing file in version 2": (files.qcow2(version=2, backing=512),
                                  "backing_file"),
    "data file": (files.qcow2(features=4), "data_file"),
    "unknown feature": (files.qcow2(features=1 << 40), "unknown_features"),
    "qcow of version 1": (files.qcow2(version=1), "unknown_features"),
    "qed": (files.qed(), "its format is qed"),
    "luks": (files.luks(), "its format is luks"),
    "vmdk descriptor": (files.vmdk_descriptor(), "VMDK descriptor"),
    "vmdk descriptor of other files": (
        files.vmdk_descriptor("monolithicFlat", _FLAT), "VMDK descriptor"),
    "vmdk descriptor with another first line": (
        _TWO_TYPES.ljust(1024, b"\n"), "VMDK descriptor"),
    "vmdk without data of its own": (
        files.vmdk(_TWO_TYPES, capacity=0), "VMDK descriptor"),
    "vmdk with other extents": (files.vmdk(files.vmdk_descriptor(
        extent='RW 1 FLAT "/etc/passwd" 0')), "descriptor"),
    "vmdk of another kind": (files.vmdk(files.vmdk_descriptor(
        "monolithicFlat")), "descriptor"),
    "vmdk with something else": (files.vmdk(files.vmdk_descriptor(
        extent="nonsense there")), "descriptor"),
}


@ddt.ddt
class ImageFileTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "image")
        self.programs = self.useFixture(programs.QemuImg())
        self.log = self.useFixture(fixtures.FakeLogger())
        self.told(**{"virtual-size": files.SIZE})

    def told(self, **facts):
        self.programs.plan("info", stdout=json.dumps(facts))

    def write(self, data):
        with open(self.path, "wb") as stream:
            stream.write(data)

    def refused(self, expected, *arguments):
        error = self.assertRaises(expected, image_file.inspect, self.path,
                                  *arguments)
        self.assertEqual(1, str(error).count(self.path), str(error))
        return error

    def without_inspector(self):
        """As if oslo.utils were old."""
        self.useFixture(modules.Module("oslo_utils.imageutils",
                                       types.ModuleType("old")))


@ddt.ddt
class AnyFileTest(ImageFileTestCase):
    """What does not need the inspector."""

    def test_unknown_format(self):
        self.write(b"x")
        for name in ("qed", "luks", "rbd", "", "QCOW2"):
            error = self.assertRaises(exception.InvalidParameter,
                                      image_file.inspect, self.path, name)
            self.assertEqual(("format", name), (error.name, error.value))

    def test_missing(self):
        error = self.refused(exception.InvalidParameter, "raw")
        self.assertIn("No such file", str(error))

    @ddt.data(os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/null", path))
    def test_no_file(self, make):
        """It is not even opened: a FIFO would keep it waiting."""
        make(self.path)
        error = self.refused(exception.InvalidParameter, "raw")
        self.assertIn("neither a plain file", str(error))

    def test_not_permitted(self):
        self.write(b"x")

        def deny(path, *arguments):
            raise PermissionError(13, "Permission denied")

        with fixtures.MonkeyPatch("builtins.open", deny):
            error = self.refused(exception.InvalidParameter, "raw")
        self.assertIn("Permission denied", str(error))

    def test_descriptor(self):
        self.write(files.vmdk_descriptor())
        for name in (None, "raw", "vmdk"):
            self.refused(exception.UnsafeImage, name)
        self.assertEqual([], self.programs.runs())

    def test_raw(self):
        self.write(bytes(1000))
        self.told(**{"virtual-size": 1024})
        found = image_file.inspect(self.path, "raw")
        self.assertEqual(("raw", 1024, f"file {self.path}"),
                         (found.driver, found.size, found.name))
        self.assertEqual(
            {"driver": "raw", "file.driver": "file",
             "file.filename": self.path}, found.block_options())
        run, = self.programs.runs()
        self.assertEqual("info", run.verb)
        self.assertEqual(found.block_options(), run.nodes()[0])

    def test_relative_path(self):
        """With a protocol's name in it, and never taken for one."""
        self.path = os.path.join(self.folder, "nbd:host")
        self.write(bytes(1000))
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.folder)
        found = image_file.inspect("nbd:host", "raw")
        self.assertEqual(self.path, found.path)

    def test_block_device(self):
        device = types.SimpleNamespace(
            st_mode=0o60660, st_dev=5, st_ino=7, st_size=0, st_mtime_ns=1,
            st_ctime_ns=1)
        self.useFixture(fixtures.MonkeyPatch("os.stat", lambda path: device))
        found = image_file.ImageFile("/dev/x", "raw", 0,
                                     image_file._identity("/dev/x"))
        self.assertEqual("host_device", found.block_options()["file.driver"])
        # Its times change with every write of anybody's.
        device.st_mtime_ns = 2
        found.verify()
        device.st_dev = 6
        self.assertRaises(exception.SourceChanged, found.verify)

    def test_changed_later(self):
        self.write(bytes(1000))
        found = image_file.inspect(self.path, "raw")
        found.verify()
        self.write(bytes(999))
        error = self.assertRaises(exception.SourceChanged, found.verify)
        self.assertIn(self.path, str(error))

    def test_another_file_of_that_name(self):
        self.write(bytes(1000))
        found = image_file.inspect(self.path, "raw")
        os.rename(self.path, self.path + "2")
        self.write(bytes(1000))
        self.assertRaises(exception.SourceChanged, found.verify)

    def test_removed_later(self):
        self.write(bytes(1000))
        found = image_file.inspect(self.path, "raw")
        os.unlink(self.path)
        self.assertRaises(exception.InvalidParameter, found.verify)

    def test_changed_while_it_is_looked_at(self):
        self.write(bytes(1000))
        self.programs.plan("info", stdout='{"virtual-size": 1}',
                           append={self.path: "x"})
        self.assertRaises(exception.SourceChanged, image_file.inspect,
                          self.path, "raw")

    def test_qemu_fails(self):
        self.write(bytes(1000))
        self.programs.plan("info", code=1, stderr="qemu-img: no\n")
        error = self.refused(exception.CopyFailed, "raw")
        self.assertEqual("no", error.reason.rpartition(" ")[2])

    def test_encrypted(self):
        self.write(bytes(1000))
        self.told(**{"virtual-size": 1, "encrypted": True})
        error = self.assertRaises(exception.UnsafeImage, image_file.inspect,
                                  self.path, "raw")
        self.assertIn("encrypted", str(error))


@ddt.ddt
class OldLibraryTest(ImageFileTestCase):
    """Without the inspector, only what is raw and is said to be is safe."""

    def test_is_told(self):
        self.assertIs(False, image_file.has_inspector())

    def setUp(self):
        super().setUp()
        self.without_inspector()

    def test_raw(self):
        for data in (bytes(1000), files.qcow2(backing=512), files.luks()):
            self.write(data)
            found = image_file.inspect(self.path, "raw")
            self.assertEqual("raw", found.driver)

    @ddt.data(None, *sorted({*image_file.DRIVERS} - {"raw"}))
    def test_others(self, name):
        for data in (bytes(1000), files.qcow2()):
            self.write(data)
            error = self.refused(exception.MissingDependency, name)
            self.assertIn("oslo.utils 7.3", str(error))
        self.assertEqual([], self.programs.runs())


@ddt.ddt
class InspectedTest(ImageFileTestCase):
    """With the inspector; without it, all of that is refused."""

    def test_is_told(self):
        self.assertIs(INSPECTOR, image_file.has_inspector())

    def inspect(self, *arguments):
        """The file that was found safe, None where nobody can tell."""
        if INSPECTOR:
            return image_file.inspect(self.path, *arguments)
        self.refused(exception.MissingDependency, *arguments)
        return None

    def accepted(self, driver):
        """Inspected without an error, by QEMU's own check as well."""
        found = self.inspect()
        if INSPECTOR:
            self.assertEqual((driver, files.SIZE), (found.driver,
                                                    found.size))
            self.assertNotEqual([], self.programs.runs("check"))

    def refused_as(self, reason, *arguments):
        """Refused for a reason, or for want of the inspector."""
        if not INSPECTOR and "VMDK descriptor" not in reason:
            return self.refused(exception.MissingDependency, *arguments)
        error = self.refused(
            exception.UnsafeImage if INSPECTOR else exception.RBDLuksError,
            *arguments)
        if INSPECTOR:
            self.assertIn(reason, str(error))
        self.assertEqual([], self.programs.runs())
        return error

    @ddt.data(*sorted(SAFE))
    def test_safe(self, name):
        data, driver = SAFE[name]
        self.write(data)
        names = [key for key, value in image_file.DRIVERS.items()
                 if value == driver]
        for file_format in (None, *names):
            found = self.inspect(file_format)
            if found is None:
                continue
            self.assertEqual((driver, files.SIZE), (found.driver,
                                                    found.size))
            options = found.block_options()
            self.assertEqual(driver, options["driver"])
            self.assertEqual("" if driver in ("qcow2", "vmdk") else None,
                             options.get("backing"))

    @ddt.data(*sorted(UNSAFE))
    def test_unsafe(self, name):
        data, reason = UNSAFE[name]
        self.write(data)
        self.refused_as(reason, None)

    @ddt.data(*sorted(UNSAFE))
    def test_unsafe_also_when_the_format_is_named(self, name):
        data, _reason = UNSAFE[name]
        self.write(data)
        for file_format in ("qcow2", "vmdk"):
            self.refused(exception.UnsafeImage if INSPECTOR
                         else exception.RBDLuksError, file_format)
        self.assertEqual([], self.programs.runs())

    @ddt.data(("qcow2", "raw"), ("qcow2", "vmdk"), ("vmdk", "raw"),
              ("vdi", "vhd"))
    @ddt.unpack
    def test_wrong_format(self, name, said):
        self.write(SAFE[name][0])
        if INSPECTOR or said != "raw":
            self.refused_as(f"its format is {name}, not {said}", said)

    def test_raw_said_to_be_another(self):
        self.write(bytes(65536))
        for said in ("qcow2", "vmdk", "vhd"):
            self.refused_as(f"its format is raw, not {said}", said)

    @ddt.data(bytes(65536), b"", b"x", b"# a script\n" * 100, files.iso(),
              files.mbr(), files.mbr(partitions=False))
    def test_raw(self, data):
        self.write(data)
        found = self.inspect()
        if found:
            self.assertEqual("raw", found.driver)
            self.assertNotIn("check", [run.verb
                                       for run in self.programs.runs()])

    def test_two_formats_at_once(self):
        self.write(files.qcow2()[:32768] + files.iso()[32768:])
        self.refused(exception.UnsafeImage if INSPECTOR
                     else exception.MissingDependency)

    def test_truncated(self):
        """QEMU would read what is not there as zeros."""
        self.write(files.qcow2())
        self.programs.plan("check", stdout=json.dumps(
            {"image-end-offset": 65537}))
        if INSPECTOR:
            error = self.refused(exception.UnsafeImage)
            self.assertIn("its end is missing", str(error))
        self.programs.plan("check", stdout=json.dumps(
            {"image-end-offset": 65536}))
        self.accepted("qcow2")

    def test_damaged(self):
        self.write(files.qcow2())
        self.programs.plan("check", code=2, stderr="ERROR cluster 1\n")
        self.refused(exception.CopyFailed if INSPECTOR
                     else exception.MissingDependency)

    def test_leaks_are_no_damage(self):
        self.write(files.qcow2())
        self.programs.plan("check", code=3, stdout='{"leaks": 5}')
        self.accepted("qcow2")

    def test_format_without_a_check(self):
        self.write(files.vhd())
        self.programs.plan("check", code=63)
        self.accepted("vpc")

    def test_changed_between_looks(self):
        self.write(files.qcow2())
        self.programs.plan("check", append={self.path: "x"},
                           stdout='{"image-end-offset": 1}')
        if INSPECTOR:
            self.assertRaises(exception.SourceChanged, image_file.inspect,
                              self.path)
