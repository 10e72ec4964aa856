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

"""Many images at once in a service as Cinder runs it."""

from __future__ import annotations

import importlib.util

import ddt
import testtools

from os_brick_rbd_luks.tests import child
from os_brick_rbd_luks.tests import selection

#: Cinder has native threads since 2025.1.
MODES = [mode for mode in child.SERVICE_MODES
         if mode == "green" or importlib.util.find_spec("cinder.monkey_patch")]

#: Runs test cases in the child, and says what went wrong.
RUN = """
import io, unittest
suite = unittest.defaultTestLoader.loadTestsFromNames([
    "os_brick_rbd_luks.tests.unit.cinder." + name for name in given])
ran = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
result = [ran.testsRun - len(ran.skipped),
          [text for _test, text in ran.errors + ran.failures]]
"""


@ddt.ddt
class AtOnceTest(testtools.TestCase):

    def run_in(self, mode, *names, count):
        self.assertEqual([count, []], child.run(
            RUN, names, mode=mode, deadline=1200))

    def test_child_that_hangs(self):
        """It says so here as well, where Cinder has patched this process."""
        error = self.assertRaises(
            child.ChildHung, child.run, "import time; time.sleep(3600)",
            deadline=2)
        self.assertIn("<code of the test>", str(error))

    @ddt.data(*selection.cases(MODES[0], full=MODES[1:]))
    def test_all(self, mode):
        """And a bound of how many; green threads can be killed besides."""
        self.run_in(mode, *(f"at_once.{name}" for name in (
            "AllTest", "BoundTest", "KillTest")),
            count={"green": 8, "native": 6}[mode])

    @ddt.data(*selection.cases(MODES[-1], full=MODES[:-1]))
    def test_what_is_true_of_one(self, mode):
        """Images that are streamed, and downloads that end early."""
        self.run_in(mode, "test_images.DownloadTest.test_reader_ends_first",
                    "test_images.DownloadTest.test_download_ends_early_1_"
                    "breaks_after",
                    "test_images.DownloadTest.test_download_ends_early_2_"
                    "fails_after", count=3)
