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

"""``tools/test``: no test is lost, none is tried twice, nothing hangs."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import textwrap

import ddt
import fixtures
import testtools

import os_brick_rbd_luks

REPOSITORY = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
TOOLS = REPOSITORY / "tools"
SAMPLES = "os_brick_rbd_luks.tests.samples.test_ends."

#: Seconds for a run of a few tests on a busy machine.
PATIENCE = 100


class SuitesTestCase(testtools.TestCase):
    """Has the package ``suites`` of the tools, in a process of its own."""

    def setUp(self):
        super().setUp()
        self.folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        # What a run leaves, it leaves in the folder that it is started in.
        (self.folder / "os_brick_rbd_luks").symlink_to(
            REPOSITORY / "os_brick_rbd_luks")
        (self.folder / ".stestr.conf").symlink_to(REPOSITORY / ".stestr.conf")
        (self.folder / ".cache").mkdir()

    def python(self, code):
        """What *code* prints as JSON, in such a process."""
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith("RBD_LUKS_TEST_")}
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(code)], text=True,
            capture_output=True, timeout=PATIENCE, cwd=self.folder,
            env={**environment,
                 "PYTHONPATH": f"{TOOLS}{os.pathsep}{REPOSITORY}"})
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def run_suite(self, tier="full", pattern="", **members):
        members = {"name": "samples", "subject": "samples",
                   "path": "samples", "tier": "quick", "limit": 3,
                   "minutes": 1, **members}
        return self.python(f"""
            import sys
            from suites import manifest, run
            run = run.Run({tier!r}, {pattern!r}, sys.executable)
            print(run.suite(manifest.Suite(**{members!r})).to_json())
            """)


class RunTest(SuitesTestCase):

    def test_every_end(self):
        result = self.run_suite()
        self.assertEqual((5, 3, 1), (result["passed"], result["failed"],
                                     result["skipped"]))
        self.assertEqual(
            [f"{SAMPLES}{name}" for name in (
                "CrashingTest.test_crashes: the process ended while it ran",
                "HangingTest.test_hangs: the process ended while it ran",
                "PlainTest.test_fails",
                "PlainTest.test_is_skipped: skipped")],
            [problem.splitlines()[0] for problem in result["problems"][:4]])
        self.assertIn("as it should", result["problems"][2])
        traces = "\n".join(result["problems"][4:])
        self.assertIn("Timeout (0:00:03)!", traces)
        self.assertIn("in test_hangs", traces)
        self.assertIn("Fatal Python error: Aborted", traces)
        self.assertIn("in test_crashes", traces)

    def test_quick_tier(self):
        result = self.run_suite(tier="quick", pattern="test_passes")
        self.assertEqual((1, 0, []), (result["passed"], result["failed"],
                                      result["problems"]))

    def test_no_test_is_a_failure(self):
        result = self.run_suite(pattern="no such test")
        self.assertEqual((0, 1), (result["passed"], result["failed"]))
        self.assertIn("0 tests ran", result["problems"][0])

    def test_limit_of_a_suite(self):
        result = self.run_suite(pattern="test_hangs", limit=60,
                                minutes=0.15)
        self.assertEqual(0, result["passed"])
        self.assertGreaterEqual(result["failed"], 1)
        self.assertIn("not done within 0.15 minutes", result["problems"][-1])


class GroupTest(SuitesTestCase):
    """What is around a process is not put around it once more."""

    def wrapped(self, there, **members):
        """The suites that run here, and how others would be wrapped."""
        members = {"name": "samples", "subject": "samples",
                   "path": "samples", "tier": "quick", "limit": 3,
                   "minutes": 1, **members}
        return self.python(f"""
            import json, pathlib
            from suites import manifest, results, run

            class Run(run.Run):
                def suite(self, suite):
                    told.append("here")
                    return results.Result(suite.name)

            class Child:
                def __init__(self, command):
                    told.append(command)

                def __enter__(self):
                    return self

                def __exit__(self, *exc_info):
                    pass

                def wait(self, seconds):
                    return 1

            told = []
            run.child = Child
            run.inside(Run("quick", there={there!r}),
                       [manifest.Suite(**{members!r})],
                       pathlib.Path("results"))
            print(json.dumps(told))
            """)

    def test_on_its_system(self):
        command, = self.wrapped(["system"], system="debian13",
                                servers=("ceph", "keys"))
        self.assertEqual(["tools/with", "ceph,keys"], command[:2])
        self.assertEqual("servers,system",
                         command[command.index("--there") + 1])

    def test_with_its_servers(self):
        self.assertEqual(["here"], self.wrapped(
            ["servers"], servers=("ceph", "keys")))

    def test_with_both(self):
        self.assertEqual(["here"], self.wrapped(
            ["servers", "system"], system="debian13", servers=("ceph",)))


class CommandTest(SuitesTestCase):

    def run_command(self, *command, minutes=1):
        return self.run_suite(path="", command=command, minutes=minutes)

    def test_passes(self):
        result = self.run_command("sh", "-c", "echo '-- a'; echo '-- b'")
        self.assertEqual((2, 0, []), (result["passed"], result["failed"],
                                      result["problems"]))

    def test_one_check_fails(self):
        result = self.run_command(
            "sh", "-c", "echo '-- a'; echo why; echo 'FAILED: a'; "
            "echo '-- b'; exit 1")
        self.assertEqual((1, 1), (result["passed"], result["failed"]))
        self.assertIn("why", result["problems"][0])

    def test_limit(self):
        result = self.run_command("sleep", "60", minutes=0.02)
        self.assertEqual(0, result["passed"])
        self.assertIn("not done within 0.02 minutes", result["problems"][-1])


@ddt.ddt
class ManifestTest(SuitesTestCase):

    def manifest(self, expression):
        return self.python(f"""
            import json
            from suites import manifest
            suites = manifest.load()
            print(json.dumps({expression}))
            """)

    def test_every_folder_of_tests_is_run(self):
        tests = REPOSITORY / "os_brick_rbd_luks/tests"
        folders = {path.parent.relative_to(tests).as_posix()
                   for path in tests.rglob("__init__.py")
                   if "selection.of_package" in path.read_text()}
        self.assertEqual(folders - {"samples"}, set(self.manifest(
            "[suite.path for suite in suites if suite.path]")))

    def test_every_module_of_tests_is_in_such_a_folder(self):
        tests = REPOSITORY / "os_brick_rbd_luks/tests"
        folders = [path.parent for path in tests.rglob("__init__.py")
                   if "selection.of_package" in path.read_text()]
        self.assertEqual([], [
            path.name for path in tests.rglob("test*.py")
            if not set(path.parents) & set(folders)])

    def test_the_quick_tier_needs_no_other_system(self):
        self.assertEqual([], self.manifest(
            "[suite.name for suite in manifest.choose(suites, [], False, "
            "False) if suite.system]"))

    def test_debian13_does_not_run_itself(self):
        self.assertEqual([], self.manifest(
            "[suite.name for suite in manifest.choose(suites, [], True, "
            "True) if suite.system]"))

    def test_servers_are_shared(self):
        groups = self.manifest(
            "[[suite.name for suite in group] for group in "
            "manifest.groups(suites)]")
        self.assertIn(["ceph-core", "ceph-attach", "ceph-cinder",
                       "ceph-nova"], groups)
        self.assertEqual(1, len([group for group in groups if any(
            name.startswith("debian13") for name in group)]))

    @ddt.data({"path": "unit/core", "command": ["true"]}, {},
              {"path": "no/such"}, {"path": "unit/core", "limit": 0},
              {"path": "unit/core", "tier": "other"})
    def test_rows_without_sense(self, members):
        members = {"name": "n", "subject": "s", "tier": "quick",
                   "minutes": 1, "limit": 1, **members}
        self.assertTrue(self.python(f"""
            import json
            from suites import manifest
            try:
                manifest.Suite(**{members!r})
            except manifest.Wrong as error:
                print(json.dumps(str(error)))
            """))

    def test_unknown_name(self):
        self.assertIn("see tools/test --list", self.python("""
            import json
            from suites import manifest
            try:
                manifest.choose(manifest.load(), ["nothing"], False, False)
            except manifest.Wrong as error:
                print(json.dumps(str(error)))
            """))
