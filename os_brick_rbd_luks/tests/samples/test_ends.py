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

"""One test for each way in which a test can end."""

from __future__ import annotations

import ctypes
import os

import testtools

from os_brick_rbd_luks.tests import selection


class PlainTest(testtools.TestCase):

    def test_fails(self):
        self.fail("as it should")

    def test_is_skipped(self):
        self.skipTest("as it should")

    def test_passes(self):
        self.assertTrue(True)

    @selection.full
    def test_passes_in_the_full_tier(self):
        self.assertTrue(True)


class HangingTest(testtools.TestCase):

    def test_before(self):
        self.assertTrue(True)

    def test_hangs(self):
        """In C, and with Python's lock: no signal handler gets to run."""
        ctypes.PyDLL(None).pause()

    def test_later(self):
        self.assertTrue(True)


class CrashingTest(testtools.TestCase):

    def test_crashes(self):
        os.abort()

    def test_later(self):
        self.assertTrue(True)
