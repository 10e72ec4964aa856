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

"""Upstream's own tests of the RBD driver, run on ours in its place.

A volume that is not encrypted is treated as by upstream's driver.
"""

from __future__ import annotations

import unittest

from cinder.volume.drivers import rbd
import fixtures
import testtools

from os_brick_rbd_luks.tests.upstream.cinder import upstream
from os_brick_rbd_luks.tests.upstream import differences
from os_brick_rbd_luks.volume import driver

#: Class and method of a test of an encrypted volume -> why and how it fails.
DIFFERENCES = {
    "RBDTest.test_copy_image_volume_tmp_encrypted": differences.Difference(
        "upstream encrypts the image in a file; ours writes it encrypted to "
        "the volume, for which it looks at that first",
        upstream.NoMock, ""),
    "RBDTest.test_create_encrypted_vol_from_snap": differences.Difference(
        "upstream adds GiB to the size of the snapshot's image; ours gives "
        "the image what the header and the whole size need",
        upstream.NoMock, ""),
    "RBDTest.test_create_encrypted_vol_from_snap_same_size":
        differences.Difference(
            "likewise: an image of upstream's is too small for its size",
            upstream.NoMock, ""),
}

#: At least so many tests are in each of Cinder's releases: 21 to 29.
LEAST = 180


class RBDTest(upstream.tests.RBDTestCase):

    def setUp(self):
        self.useFixture(upstream.OursInstead())
        super().setUp()
        # What ours tells the scheduler besides is unit.cinder's matter.
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.volume.scheduling.capabilities", dict))
        # So is what ours puts right in upstream's lists.
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.volume.manageable._decrypted",
            lambda *_image: None))
        # Which librbd is here is no matter of a test that has none.
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.volume.own_headers.may_exist", lambda: False))
        self.cfg.rbd_luks_concurrent_image_copies = 1
        self.cfg.rbd_luks_leftovers_interval = 0
        self.cfg.rbd_luks_flatten_transferred = False
        self.cfg.rbd_luks_keys_by_key_manager = False
        self.cfg.rbd_luks_key_readers = []
        # In Cinder 21 it is left out of the settings that there are.
        self.cfg.rados_connect_timeout = -1


class ManagedRBDTest(upstream.tests.ManagedRBDTestCase):

    #: What an operator's ``volume_driver`` says.
    driver_name = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"

    def setUp(self):
        self.useFixture(upstream.OursInstead())
        super().setUp()


OURS = (RBDTest, ManagedRBDTest)


def ours():
    """The tests of this module that are upstream's."""
    return differences.of(OURS)


def load_tests(_loader, _standard_tests, _pattern):
    """Apply the table."""
    return differences.loaded(ours(), DIFFERENCES, SetupTest)


def patched(test):
    """What the decorators of a test patch, but for a name in a module."""
    for patch in getattr(test, "patchings", ()):
        yield patch.getter()


class SetupTest(testtools.TestCase):
    """The tests are all there, and about our driver."""

    def test_all_are_there(self):
        self.assertGreater(len([*differences.tests(ours())]), LEAST)
        classes = {item for item in vars(upstream.tests).values()
                   if isinstance(item, type)
                   and issubclass(item, unittest.TestCase)}
        self.assertEqual(classes, {cls.__base__ for cls in OURS})

    def test_every_entry_is_about_a_test(self):
        self.assertEqual([], differences.stray(ours(), DIFFERENCES))

    def test_ours_is_what_is_tested(self):
        seen = []

        class Test(RBDTest):
            def test_it(self):
                seen.extend([type(self.driver),
                             upstream.tests.driver.RBDDriver])

        class ManagedTest(ManagedRBDTest):
            def test_it(self):
                seen.append(type(self.volume.driver))

        result = unittest.TestResult()
        Test("test_it").run(result)
        ManagedTest("test_it").run(result)
        self.assertTrue(result.wasSuccessful(), result.errors)
        self.assertEqual([driver.RBDLuksDriver] * 3, seen)

    def test_ours_is_what_decorators_patch(self):
        with upstream.ours():
            classes = [target for cls in OURS for name in dir(cls)
                       for target in patched(getattr(cls, name))
                       if isinstance(target, type)]
        self.assertIn(driver.RBDLuksDriver, classes)
        self.assertNotIn(rbd.RBDDriver, classes)

    def test_upstream_is_as_it_was_outside(self):
        with upstream.ours():
            self.assertIs(driver.RBDLuksDriver, rbd.RBDDriver)
        self.assertIsNot(driver.RBDLuksDriver, rbd.RBDDriver)
        self.assertTrue(issubclass(driver.RBDLuksDriver, rbd.RBDDriver))
