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

"""Templates fit their values; an image is named once."""

from __future__ import annotations

import inspect
import re

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.core import exceptions

VALUES = exceptions.VALUES


def classes():
    return {name: found for name, found in inspect.getmembers(
        exception, inspect.isclass)
        if issubclass(found, exception.RBDLuksError)}


@ddt.ddt
class TemplateTest(testtools.TestCase):

    def test_every_class_is_in_the_table(self):
        self.assertEqual(set(classes()), set(VALUES))

    @ddt.data(*VALUES)
    def test_values_fit(self, name):
        error = classes()[name](**VALUES[name])
        for key, value in VALUES[name].items():
            self.assertEqual(value, getattr(error, key))
            self.assertIn(str(value), str(error))
        self.assertNotIn("%", str(error))
        self.assertEqual(str(error), error.msg)

    @ddt.data(*VALUES)
    def test_no_value_is_left_over(self, name):
        used = set(re.findall(r"%\((\w+)\)", classes()[name].message))
        self.assertEqual(set(VALUES[name]), used)

    @ddt.data(*[name for name in VALUES if VALUES[name]])
    def test_wrong_name_fails_loudly(self, name):
        values = {f"wrong_{key}": value
                  for key, value in VALUES[name].items()}
        self.assertRaises(KeyError, classes()[name], **values)
        self.assertRaises(KeyError, classes()[name])

    def test_wrong_type_fails_loudly(self):
        self.assertRaises(TypeError, exception.LastKeyslot, keyslot="none")

    @ddt.data(*VALUES)
    def test_is_nobody_elses(self, name):
        """The edges make of it what their callers know."""
        self.assertEqual(
            {"os_brick_rbd_luks.exception", "builtins"},
            {kind.__module__ for kind in classes()[name].__mro__})

    @ddt.data(*VALUES)
    def test_values_are_kept(self, name):
        self.assertEqual(VALUES[name], classes()[name](**VALUES[name]).values)

    @ddt.data(*VALUES)
    def test_message_is_one_short_sentence(self, name):
        message = str(classes()[name](**VALUES[name]))
        self.assertNotIn("\n", message)
        self.assertNotIn(message[-1], ".:;, ")


@ddt.ddt
class FamilyTest(testtools.TestCase):
    """Damage, wrong passphrase and I/O failure are never the same class."""

    @ddt.data(("HeaderError", ["NotLuks", "OnlySecondCopy", "NoPayload",
                               "NothingToErase",
                               "UnsupportedHeader", "UnboundKeyslots",
                               "CorruptHeader", "UnexpectedMetadata",
                               "LayersNotReadable", "BackupNotReadable",
                               "HeaderLimitExceeded"]),
              ("KeyslotError", ["WrongPassphrase", "WrongKeyslot",
                                "IgnoredKeyslots",
                                "WrongBackupPassphrase",
                                "KeyslotsNotTried",
                                "WrongVolumeKey",
                                "KeyslotNotFound", "KeyslotInUse",
                                "NoFreeKeyslot", "NoRoomForKeyslot",
                                "TooManyLayers"]),
              ("OperationRefused", ["AlreadyFormatted", "ImageNotEmpty",
                                    "LastKeyslot", "HeaderChanged",
                                    "DamagedHeaderCopy",
                                    "FlattenUnderway",
                                    "ChangedWhileFlattened",
                                    "SnapshotsKeepHeader",
                                    "SnapshotsKeepVolumeKey", "UnsafeImage",
                                    "VolumeTooSmall", "HalfMade",
                                    "EmptySource",
                                    "WouldShrink", "JournaledImage",
                                    "NotRotated"]),
              ("ImageError", ["ImageNotFound", "ImageExists",
                              "ImageTooSmall", "ImageLocked",
                              "ImageReadOnly", "ImageAccessDenied",
                              "FileAccessDenied", "FileSystemFull",
                              "ImageInTrash", "ImageMigratedAway",
                              "ImageNotPrimary", "ImageMigrating",
                              "UnfitPool", "ImageFull", "ImageIOError",
                              "ImageTimedOut", "ImageBlocklisted",
                              "CopyFailed",
                              "SourceChanged",
                              "ClusterUnreachable", "NoKeyring",
                              "BackendUnavailable"]))
    @ddt.unpack
    def test_members(self, family, members):
        found = classes()
        self.assertEqual(set(members), {
            name for name, kind in found.items()
            if name != family and issubclass(kind, found[family])})


class AboutTest(testtools.TestCase):

    def raised(self, *names, error=None):
        error = error or exception.WrongPassphrase()

        def nest(rest):
            if not rest:
                raise error
            with exception.about(rest[0]):
                nest(rest[1:])

        return self.assertRaises(type(error), nest, names)

    def test_image_is_named(self):
        error = self.raised("pool/image")
        self.assertEqual("pool/image", error.image)
        self.assertEqual("pool/image: the passphrase opens no keyslot; check "
                         "the passphrase or key id", str(error))
        self.assertEqual("the passphrase opens no keyslot; check "
                         "the passphrase or key id", error.msg)

    def test_innermost_name_stays(self):
        error = self.raised("outer", "inner")
        self.assertEqual("inner", error.image)
        self.assertEqual(0, str(error).count("outer"))
        self.assertEqual(1, str(error).count("inner"))

    def test_same_error_is_raised(self):
        error = exception.NotLuks()
        self.assertIs(error, self.raised("x", error=error))

    def test_without_image(self):
        self.assertIsNone(exception.NotLuks().image)
        self.assertIsNone(exception.RBDLuksError.image)

    def test_errors_of_others_pass(self):
        error = self.raised("x", error=KeyError("y"))
        self.assertFalse(hasattr(error, "image"))

    def test_no_error(self):
        with exception.about("x"):
            pass
        self.assertIsNone(exception.RBDLuksError.image)
