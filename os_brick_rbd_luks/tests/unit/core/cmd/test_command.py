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

"""Targets, sizes and exit codes."""

from __future__ import annotations

import argparse

import ddt
import hypothesis
from hypothesis import strategies
import testtools

from os_brick_rbd_luks.cmd import command
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests import properties
from os_brick_rbd_luks.tests.unit.core import exceptions
from os_brick_rbd_luks.tests import units


@ddt.ddt
class TargetTest(testtools.TestCase):

    @ddt.data(("volumes/v", ("volumes", "", "v")),
              ("volumes/space/v", ("volumes", "space", "v")),
              ("a pool/an image", ("a pool", "", "an image")),
              ("file:/a/b/c/d", (None, "", "/a/b/c/d")),
              ("file:relative", (None, "", "relative")),
              ("file:file:x", (None, "", "file:x")),
              ("FILE:a/v", ("FILE:a", "", "v")))
    @ddt.unpack
    def test_good(self, text, expected):
        self.assertEqual(expected, command.target(text))

    @ddt.data("", "v", "/", "/v", "volumes/", "volumes//v", "a/b/c/d",
              "/a/b", "file:", "a/b/")
    def test_bad(self, text):
        error = self.assertRaises(argparse.ArgumentTypeError, command.target,
                                  text)
        self.assertIn(repr(text), str(error))

    @ddt.data(("volumes", ("volumes", "")),
              ("volumes/space", ("volumes", "space")))
    @ddt.unpack
    def test_good_pool(self, text, expected):
        self.assertEqual(expected, command.pool(text))

    @ddt.data("", "/", "volumes/", "/space", "a/b/c")
    def test_bad_pool(self, text):
        self.assertRaises(argparse.ArgumentTypeError, command.pool, text)


@ddt.ddt
class SizeTest(testtools.TestCase):

    @ddt.data(("10G", 10 * units.GIB), ("512M", units.GIB // 2),
              ("1.5T", 1536 * units.GIB), ("10GiB", 10 * units.GIB),
              ("10GB", 10 * units.GIB), ("10Gi", 10 * units.GIB),
              ("4K", 4096), ("2P", 2 ** 51), ("512", 512), ("512B", 512),
              ("1099511627776", 2 ** 40), ("0", 0), ("-1G", -units.GIB),
              (".5G", units.GIB // 2))
    @ddt.unpack
    def test_good(self, text, expected):
        self.assertEqual(expected, command.size(text))
        self.assertIs(int, type(command.size(text)))

    @ddt.data("", " ", "G", "ten", "10X", "10GG", "1e3", "nan", "inf",
              "0x10", "1,5G", "10 G", "--1G", "10G5M", "10%")
    def test_nonsense(self, text):
        error = self.assertRaises(argparse.ArgumentTypeError, command.size,
                                  text)
        self.assertIn(repr(text), str(error))

    @ddt.data("10Gb", "10Gib", "8b")
    def test_bits_are_no_size(self, text):
        """An eighth of what was meant would be made without a word."""
        self.assertRaises(argparse.ArgumentTypeError, command.size, text)

    @hypothesis.given(strategies.integers(0, 2 ** 52))
    @properties.examples(50)
    def test_bytes_are_exact(self, number):
        self.assertEqual(number, command.size(str(number)))
        self.assertEqual(number, command.size(f"{number}B"))

    @hypothesis.given(strategies.text(max_size=12))
    @properties.examples(50)
    def test_any_text_is_a_size_or_refused(self, text):
        try:
            self.assertIsInstance(command.size(text), int)
        except argparse.ArgumentTypeError as error:
            self.assertIn(repr(text), str(error))

#: cryptsetup(8), "RETURN CODES".
CODES = {
    1: ("RBDLuksError", "KeyslotError", "WrongVolumeKey", "KeyslotNotFound",
        "KeyslotInUse", "NoFreeKeyslot", "NoRoomForKeyslot",
        "TooManyLayers",
        "InvalidParameter",
        "LibvirtError", "MissingDependency", "UnsupportedCeph",
        # The command raises none of these.
        "MissingSecret", "NotMarked", "UnknownMark", "UnsupportedHypervisor",
        "UnsupportedNova", "WrongComputeDriver",
        "NoHotplug"),
    2: ("WrongPassphrase", "WrongKeyslot", "KeyslotsNotTried",
        "IgnoredKeyslots",
        "WrongBackupPassphrase",
        "PassphraseUnavailable", "KeyNotFound", "KeyForbidden",
        "MoveForbidden", "KeyManagerUnreachable"),
    4: ("HeaderError", "NotLuks", "OnlySecondCopy", "NothingToErase",
        "NoPayload",
        "UnsupportedHeader", "UnboundKeyslots", "CorruptHeader",
        "UnexpectedMetadata",
        "LayersNotReadable", "HeaderLimitExceeded", "ImageError",
        "ImageNotFound", "BackupNotReadable",
        "ImageInTrash", "ImageMigratedAway", "ImageNotPrimary", "UnfitPool",
        "ImageTooSmall", "ImageReadOnly", "ImageAccessDenied", "ImageFull",
        "FileAccessDenied", "FileSystemFull",
        "ImageIOError", "ImageTimedOut", "ImageBlocklisted",
        "ClusterUnreachable", "NoKeyring", "BackendUnavailable",
        "CopyFailed", "SourceChanged"),
    5: ("OperationRefused", "AlreadyFormatted", "ImageNotEmpty",
        "NotRotated", "LastKeyslot", "HeaderChanged", "SnapshotsKeepHeader",
        "SnapshotsKeepVolumeKey",
        "DamagedHeaderCopy", "FlattenUnderway", "ChangedWhileFlattened",
        "WouldShrink", "UnsafeImage", "VolumeTooSmall",
        "EmptySource", "HalfMade", "ImageExists", "ImageLocked",
        "ImageMigrating",
        "JournaledImage"),
}


@ddt.ddt
class ExitCodeTest(testtools.TestCase):

    def test_every_error_has_one(self):
        self.assertEqual(sorted(exceptions.VALUES),
                         sorted(name for names in CODES.values()
                                for name in names))

    @ddt.data(*[(name, code) for code, names in CODES.items()
                for name in names])
    @ddt.unpack
    def test_codes(self, name, code):
        error = getattr(exception, name)(**exceptions.VALUES[name])
        self.assertEqual(code, command.exit_code(error))
