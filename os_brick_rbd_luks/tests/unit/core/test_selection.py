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

"""Which tests run; and a test that waits for ever ends its process."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import unittest

import ddt
import fixtures
import testtools

from os_brick_rbd_luks.tests import selection

ROOT = pathlib.Path(selection.__file__).parents[2]

#: Seconds after which a test gives up whose suite did not end by itself.
PATIENCE = 120

SUITE = """
from os_brick_rbd_luks.tests import selection
load_tests = selection.of_package(__file__)
"""

TESTS = """
import ctypes
import time
import unittest

from os_brick_rbd_luks.tests import selection


class OneTest(unittest.TestCase):

    def test_1_ends(self):
        pass

    @selection.limit(1)
    def test_2_hangs(self):
        {statements}

    def test_3_is_not_reached(self):
        print("reached")
"""

# PyDLL keeps Python's lock during a call, CDLL gives it back.
LOCKED_TWICE = """
        lock = ctypes.{library}(None).pthread_mutex_lock
        mutex = ctypes.create_string_buffer(64)
        lock(mutex)
        lock(mutex)"""

HANGS = {
    "a mutex, with Python's lock": LOCKED_TWICE.format(library="PyDLL"),
    "a mutex, without it": LOCKED_TWICE.format(library="CDLL"),
    "a call that lasts, with Python's lock":
        "ctypes.PyDLL(None).sleep(3600)",
    "Python that catches all": """
        while True:
            try:
                time.sleep(3600)
            except BaseException:
                continue""",
}


@ddt.ddt
class HangTest(testtools.TestCase):
    """A suite in a process of its own."""

    def run_suite(self, statements):
        folder = self.useFixture(fixtures.TempDir()).path
        package = pathlib.Path(folder, "suite")
        package.mkdir()
        package.joinpath("__init__.py").write_text(SUITE)
        package.joinpath("test_one.py").write_text(
            TESTS.format(statements=statements.strip()))
        inherited = {name: value for name, value in os.environ.items()
                     if not name.startswith("RBD_LUKS_TEST_")}
        return subprocess.run(
            [sys.executable, "-m", "unittest", "-v", "suite"], cwd=folder,
            env={**inherited, "PYTHONPATH": str(ROOT)},
            capture_output=True, text=True, timeout=PATIENCE)

    @ddt.data(*HANGS)
    def test_ended(self, how):
        done = self.run_suite(HANGS[how])
        # Also the status of a run with failures: so no runner misses it.
        self.assertEqual(1, done.returncode, done.stderr)
        self.assertIn("Timeout (0:00:01)!", done.stderr)
        # What it was doing, and so which test it was.
        self.assertIn(" in test_2_hangs", done.stderr)
        self.assertRegex(done.stderr, r"test_1_ends .* ok\n")
        self.assertNotIn("reached", done.stdout)

    def test_none(self):
        done = self.run_suite("pass")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertIn("reached", done.stdout)


@ddt.ddt
class LimitTest(testtools.TestCase):
    """How the watchdog is set, and taken back."""

    class Case(unittest.TestCase):
        def test_passes(self):
            pass

        def test_fails(self):
            self.fail("as it should")

        @selection.limit(7)
        def test_has_its_own(self):
            pass

    @selection.limit(9)
    class SlowCase(Case):
        pass

    def setUp(self):
        super().setUp()
        self.calls = []
        self.useFixture(fixtures.EnvironmentVariable("RBD_LUKS_TEST_LIMIT"))
        self.useFixture(fixtures.MonkeyPatch(
            "faulthandler.dump_traceback_later",
            lambda seconds, **how: self.calls.append((seconds, how["exit"]))))
        self.useFixture(fixtures.MonkeyPatch(
            "faulthandler.cancel_dump_traceback_later",
            lambda: self.calls.append("cancelled")))

    def limits(self, test):
        result = unittest.TestResult()
        selection.limited(test).run(result)
        self.assertEqual(1, result.testsRun)
        return self.calls

    @ddt.data("test_passes", "test_fails")
    def test_for_one_test_only(self, name):
        self.assertEqual([(selection.LIMIT, True), "cancelled"],
                         self.limits(self.Case(name)))

    @ddt.data((Case, "test_passes", 5), (Case, "test_has_its_own", 7),
              (SlowCase, "test_passes", 9), (SlowCase, "test_has_its_own", 7))
    @ddt.unpack
    def test_whose_counts(self, case, name, expected):
        self.useFixture(fixtures.EnvironmentVariable(
            "RBD_LUKS_TEST_LIMIT", "5"))
        self.assertEqual([(expected, True), "cancelled"],
                         self.limits(case(name)))


@ddt.ddt
class WantedTest(testtools.TestCase):

    class Case(unittest.TestCase):
        def test_quick(self):
            pass

        @selection.full
        def test_full(self):
            pass

        @selection.needs("layers")
        def test_layers(self):
            pass

        @selection.needs("layers", "bluestore")
        def test_both(self):
            pass

    @selection.full
    class Full(Case):
        pass

    @selection.needs("bluestore")
    class OnBlueStore(Case):
        pass

    def wanted(self, case, *, quick=False, only=None, here=()):
        """Names of the tests that run, where *here* is what is there."""
        self.useFixture(fixtures.MonkeyPatch(
            f"{selection.__name__}.QUICK", quick))
        self.useFixture(fixtures.EnvironmentVariable(
            "RBD_LUKS_TEST_ONLY", only))
        self.useFixture(fixtures.MonkeyPatch(
            f"{selection.__name__}.WORLDS",
            {name: (lambda name=name: name in here)
             for name in selection.WORLDS}))
        return {name.partition("_")[2]
                for name in unittest.TestLoader().getTestCaseNames(case)
                if selection.is_wanted(case(name))}

    def test_quick_tier(self):
        self.assertEqual({"quick"}, self.wanted(self.Case, quick=True))
        self.assertEqual(set(), self.wanted(self.Full, quick=True))

    def test_all(self):
        self.assertEqual({"quick", "full"}, self.wanted(self.Case))
        self.assertEqual({"quick", "full"}, self.wanted(self.Full))

    @ddt.data(
        ((), {"quick", "full"}),
        (("layers",), {"quick", "full", "layers"}),
        (("bluestore",), {"quick", "full"}),
        (("layers", "bluestore"), {"quick", "full", "layers", "both"}))
    @ddt.unpack
    def test_needs(self, here, expected):
        self.assertEqual(expected, self.wanted(self.Case, here=here))

    def test_needs_of_the_class_add_up(self):
        self.assertEqual(set(), self.wanted(self.OnBlueStore,
                                            here=("layers",)))
        self.assertEqual({"quick", "full"}, self.wanted(
            self.OnBlueStore, here=("bluestore",)))

    @ddt.data(("layers", {"layers", "both"}), ("bluestore", {"both"}),
              ("no-layers,bluestore", {"both"}), ("no-layers", set()))
    @ddt.unpack
    def test_only(self, only, expected):
        here = ("layers", "bluestore")
        self.assertEqual(expected, self.wanted(self.Case, only=only,
                                               here=here))

    def test_unknown_need(self):
        self.assertRaises(ValueError, selection.needs, "layers", "layer")

    @ddt.data((True, (1, 2)), (False, (1, 2, 3)))
    @ddt.unpack
    def test_cases(self, quick, expected):
        self.useFixture(fixtures.MonkeyPatch(
            f"{selection.__name__}.QUICK", quick))
        self.assertEqual(expected, selection.cases(1, 2, full=(3,)))
