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
import time

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
            env={**environment, "TMPDIR": str(self.folder),
                 "PYTHONPATH": f"{TOOLS}{os.pathsep}{REPOSITORY}"})
        self.assertEqual(0, done.returncode, done.stdout + done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def assert_ends(self, pid):
        """A process ends: one that is killed needs a moment for that."""
        deadline = time.monotonic() + PATIENCE
        stat = pathlib.Path(f"/proc/{pid}/stat")
        while time.monotonic() < deadline:
            try:
                # Nobody may be there to collect it.
                if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    return
            except (FileNotFoundError, ProcessLookupError):
                return
            time.sleep(0.05)
        self.fail(f"process {pid} goes on")

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
        result = self.run_suite(pattern="test_ends")
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
        result = self.run_suite(tier="quick", pattern="PlainTest.test_passes")
        self.assertEqual((1, 0, []), (result["passed"], result["failed"],
                                      result["problems"]))

    def test_no_test_is_a_failure(self):
        result = self.run_suite(pattern="no such test")
        self.assertEqual((0, 1), (result["passed"], result["failed"]))
        self.assertIn("0 tests ran", result["problems"][0])

    def test_a_process_that_dies_behind_its_last_test(self):
        result = self.run_suite(pattern="test_passes_before")
        self.assertEqual((1, 1), (result["passed"], result["failed"]))
        self.assertIn("status of all that died: 7", result["problems"][0])

    def test_a_process_that_dies_between_two_tests(self):
        result = self.run_suite(pattern="test_passes", serial=True)
        self.assertEqual((3, 1), (result["passed"], result["failed"]))
        self.assertIn("status of all that died: 7", result["problems"][0])

    def test_a_class_that_cannot_begin(self):
        result = self.run_suite(pattern="NeverTest")
        self.assertEqual((0, 2), (result["passed"], result["failed"]))
        self.assertIn("setUpClass", result["problems"][0])
        self.assertIn("1 tests never began", result["problems"][1])

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
                def __init__(self, command, grace):
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


class SignalsTest(SuitesTestCase):

    def test_what_is_ignored_here_is_not_in_tests(self):
        self.assertEqual([True, False], self.python("""
            import json, re, signal, subprocess

            def ignored():
                status = subprocess.run(
                    ["cat", "/proc/self/status"], capture_output=True,
                    text=True).stdout
                mask = int(re.search(r"SigIgn:\\s*(\\w+)", status)[1], 16)
                return bool(mask >> (signal.SIGINT - 1) & 1)

            from suites import signals
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            told = [ignored()]
            signals.catch()
            print(json.dumps([*told, ignored()]))
            """))


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

    def test_a_failure_without_status(self):
        result = self.run_command("echo", "FAILED: a")
        self.assertEqual((0, 1), (result["passed"], result["failed"]))

    def test_leaves_no_process(self):
        result = self.run_command("sh", "-c", "sleep 1000 & echo -- $!")
        self.assertEqual((1, 0), (result["passed"], result["failed"]))
        pid = (self.folder / ".cache/test-samples.log").read_text().split()[1]
        self.assert_ends(int(pid))

    def test_limit(self):
        result = self.run_command("sleep", "60", minutes=0.02)
        self.assertEqual(0, result["passed"])
        self.assertIn("not done within 0.02 minutes", result["problems"][-1])


class ManyTest(SuitesTestCase):

    def run_all(self, *suites):
        return self.python(f"""
            import dataclasses
            import json
            from suites import manifest, run
            suites = [manifest.Suite(subject="s", tier="quick", minutes=1,
                                     **members) for members in {suites!r}]
            print(json.dumps([dataclasses.asdict(result) for result in
                              run.Run("quick").all(suites)]))
            """)

    def tool(self, name, text):
        """A script in the place of one that starts servers."""
        path = self.folder / "tools" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    def test_beside_each_other(self):
        """The first waits for what the second does."""
        os.mkfifo(self.folder / "fifo")
        first, second = self.run_all(
            {"name": "a", "beside": True, "command": ["cat", "fifo"]},
            {"name": "b", "command": ["sh", "-c", "echo done > fifo"]})
        self.assertEqual((1, 0), (first["passed"], first["failed"]))
        self.assertEqual((1, 0), (second["passed"], second["failed"]))

    def test_servers_that_do_not_start(self):
        (self.folder / ".cache/results-servers-a").write_text(
            '{"name": "a", "passed": 1}\n')
        self.tool("with", "exit 3")
        result, = self.run_all({"name": "a", "servers": ["keys"],
                                "command": ["true"]})
        self.assertEqual((0, 1), (result["passed"], result["failed"]))
        self.assertIn("it was not run: tools/with: exit status 3",
                      result["problems"][0])

    def test_a_group_that_is_killed(self):
        """What it had found counts; half a line is none."""
        self.tool("with", """printf '%s\\n%s' '{"name": "a", "passed": 1}' \\
            '{"name": "b", "pas' >.cache/results-servers-a; kill -9 $$""")
        done, not_done = self.run_all(
            *({"name": name, "servers": ["keys"], "command": ["true"]}
              for name in "ab"))
        self.assertEqual((1, 0), (done["passed"], done["failed"]))
        self.assertEqual((0, 1), (not_done["passed"], not_done["failed"]))
        self.assertIn("exit status -9", not_done["problems"][0])

    def test_servers_that_do_not_stop(self):
        self.tool("with", """echo '{"name": "a", "passed": 1}' \\
            >.cache/results-servers-a; exit 1""")
        result, = self.run_all({"name": "a", "servers": ["keys"],
                                "command": ["true"]})
        self.assertEqual((1, 1), (result["passed"], result["failed"]))

    def test_coverage_of_an_earlier_run(self):
        old = self.folder / ".cache/coverage/part.core.1"
        old.parent.mkdir()
        old.write_text("")
        self.run_all({"name": "a", "command": ["true"]})
        self.assertFalse(old.exists())

    def test_signal(self):
        """It ends all processes, those beside the main thread as well."""
        pids = self.python("""
            import json, os, pathlib, signal, sys, threading, time
            from suites import manifest, run
            files = [pathlib.Path(name) for name in ("a", "b")]
            suites = [manifest.Suite(
                name=file.name, subject="s", tier="quick", minutes=60,
                beside=file.name == "a", command=("sh", "-c",
                f"echo $$ > {file}.new; mv {file}.new {file}; "
                "exec sleep 1000")) for file in files]

            def send():
                deadline = time.monotonic() + 60
                while (not all(file.exists() for file in files)
                       and time.monotonic() < deadline):
                    time.sleep(0.05)
                os.kill(os.getpid(), signal.SIGTERM)

            signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
            threading.Thread(target=send).start()
            try:
                run.Run("quick").all(suites)
            except SystemExit:
                print(json.dumps([int(file.read_text()) for file in files]))
            """)
        for pid in pids:
            self.assert_ends(pid)


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
              {"path": "unit/core", "tier": "other"},
              {"path": "unit/core", "tests": "full"},
              {"path": "unit/core", "system": "debian12"})
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

    @ddt.data("core-python3.9", "distribution-nova")
    def test_setup_of_one_suite(self, name):
        """What tools/setup is asked for is what that suite needs."""
        done = subprocess.run(
            [sys.executable, TOOLS / "run-suites", "--setup", name],
            text=True, capture_output=True, timeout=PATIENCE, check=True)
        self.assertEqual({"core-python3.9": "python3.9\n",
                          "distribution-nova": "distribution\n"}[name],
                         done.stdout)

    def test_nothing_is_left_on_debian13(self):
        self.assertIn("another system", self.python("""
            import json
            from suites import manifest
            try:
                manifest.choose(manifest.load(), ["debian13-nova"], False,
                                True)
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
