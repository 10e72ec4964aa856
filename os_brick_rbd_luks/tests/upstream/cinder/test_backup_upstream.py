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

"""Upstream's own tests of the Ceph backup driver, run on ours in its place."""

from __future__ import annotations

import gc
import sys
import unittest
from unittest import mock

from cinder.backup.drivers import ceph as upstream
from cinder.tests.unit.backup.drivers import test_backup_ceph
from cinder import version
import fixtures
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks.backup.drivers import ceph
from os_brick_rbd_luks.tests.upstream import differences

#: At least so many tests are in each of Cinder's releases: 21 to 29.
LEAST = 40

DIFFERENCES: dict = {}
if (int(version.version_string().partition(".")[0]) < 22
        and sys.version_info >= (3, 11)):
    DIFFERENCES = {f"BackupCephTest.{name}": differences.Difference(
        "the tests mock a mock, which Python 3.11 refuses; they fail with "
        "upstream's driver as well", mock.InvalidSpecError, "Cannot spec")
        for name in (
            "test_backup_volume_from_rbd", "test_backup_volume_from_rbd_fail",
            "test_backup_volume_from_rbd_fail2", "test_piped_execute")}


class BackupCephTest(test_backup_ceph.BackupCephTestCase):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The tests leave handles open. One that is collected closes itself,
        # which waits for a thread of eventlet: for ever, if it is collected
        # while such a thread is about to start, or when there are no more.
        no_close = mock.patch.object(linuxrbd.RBDVolumeIOWrapper, "__del__",
                                     lambda self: None)
        no_close.start()
        cls.addClassCleanup(no_close.stop)
        cls.addClassCleanup(gc.collect)

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            f"{upstream.__name__}.CephBackupDriver",
            ceph.RBDLuksBackupDriver))
        # It cannot be loaded before Cinder's tests are.
        from cinder.backup import manager
        self.useFixture(fixtures.MonkeyPatch(
            "cinder.backup.manager.MAPPING", dict(manager.MAPPING)))
        super().setUp()
        assert type(self.service) is ceph.RBDLuksBackupDriver


def ours():
    """The tests of this module that are upstream's."""
    return differences.of([BackupCephTest])


def load_tests(_loader, _standard_tests, _pattern):
    """Apply the table."""
    return differences.loaded(ours(), DIFFERENCES, SetupTest)


class SetupTest(unittest.TestCase):

    def test_all_are_there(self):
        self.assertGreater(len([*differences.tests(ours())]), LEAST)

    def test_every_entry_is_about_a_test(self):
        self.assertEqual([], differences.stray(ours(), DIFFERENCES))
