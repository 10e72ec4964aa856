# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Running suites: one by stestr or as a command, many in groups.

A group shares servers, or a root folder of Debian 13: it is a process of its
own, which runs this package again and leaves its results in a file. What
fails, hangs or crashes is a result; the run goes on, and nothing is tried
twice. Only tests that never began, for the process that was to run them had
died with another, are run by a second process.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, Iterable, Iterator

from suites import manifest
from suites import results

CACHE = Path(".cache")
#: Folder that the root folder of Debian 13 has as its ``.cache``.
DEBIAN13_CACHE = CACHE / "debian13/srv/.cache"
COVERAGE = CACHE / "coverage"
#: Seconds that a group may take beside its suites: servers start and stop.
AROUND = 1800.0
#: Seconds that a process of tests has to end by itself.
GRACE = 120.0
#: Seconds that a group has: it ends such processes itself, then its servers.
GROUP_GRACE = 3 * GRACE + 300.0
#: Wraps each process of tests.
WORKER = Path(__file__).resolve().parent / "worker"


class Ended(Exception):
    """This run is being ended by a signal, or by an error elsewhere."""


@contextlib.contextmanager
def child(command: list[str], grace: float = GRACE,
          **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a group of its own, which ends with the block.

    What is left of the group ends as well, also if the process has ended by
    itself. Servers are meant to go on: they have left the group.

    :param grace: seconds that the process has to end by itself
    """
    process = subprocess.Popen(command, start_new_session=True,
                               stdin=subprocess.DEVNULL, **options)
    try:
        yield process
    finally:
        for number, seconds in ((signal.SIGTERM, grace),
                                (signal.SIGKILL, GRACE)):
            if process.poll() is None or number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(seconds)


class Run:
    """What all suites of a run have in common.

    :ivar tier: quick or full
    :ivar pattern: a regular expression of names of tests, or ""
    :ivar python: the interpreter to use instead of each suite's own, or ""
    :ivar there: what is around this process already: ``system`` if it is
        on the one that its suites are for, ``servers`` if theirs run
    """

    def __init__(self, tier: str, pattern: str = "", python: str = "",
                 there: Iterable[str] = ()) -> None:
        self.tier = tier
        self.pattern = pattern
        self.python = python
        self.there = {*there}
        self._print = threading.Lock()
        self._ended = threading.Event()

    def say(self, text: str) -> None:
        """Print lines at once, from any thread."""
        with self._print:
            print(text, flush=True)

    def _wait(self, process: subprocess.Popen[bytes], seconds: float) -> int:
        """Wait for a process as long as this run goes on.

        :returns: its exit status
        :raises subprocess.TimeoutExpired: it has not ended by then
        :raises Ended: this run is being ended
        """
        deadline = time.monotonic() + seconds
        while not self._ended.is_set():
            left = deadline - time.monotonic()
            try:
                return process.wait(max(0.0, min(1.0, left)))
            except subprocess.TimeoutExpired:
                if left <= 0:
                    raise
        raise Ended

    # one suite

    def suite(self, suite: manifest.Suite) -> results.Result:
        """Run one here."""
        self.say(f"== {suite.name}: {suite.subject}")
        log = CACHE / f"test-{suite.name}.log"
        log.write_text("")
        begin = time.monotonic()
        result = results.Result(suite.name)
        limit = threading.Event()
        if suite.command:
            self._command(suite, result, log, limit)
        else:
            self._tests(suite, result, log, limit)
        if limit.is_set():
            result.fail(f"not done within {suite.minutes:g} minutes")
        result.problems += results.traces(log.read_text(errors="replace"))
        result.seconds = round(time.monotonic() - begin, 1)
        self.say(f"== {suite.name}: {result.counts} in "
                 f"{result.seconds:.0f} s")
        return result

    def _execute(self, suite: manifest.Suite, command: list[str], output: Path,
                 errors: Path, limit: threading.Event,
                 environment: dict[str, str], begin: float) -> int:
        """Run a process of a suite until it ends, or the suite's time.

        :param output: is appended to, as is *errors*; they may be one file
        :returns: the exit status
        """
        left = max(1.0, begin + suite.minutes * 60 - time.monotonic())
        with output.open("ab") as out, errors.open("ab") as err, child(
                command, stdout=out, stderr=err, env=environment) as process:
            try:
                return self._wait(process, left)
            except subprocess.TimeoutExpired:
                limit.set()
                return -signal.SIGTERM

    def _command(self, suite: manifest.Suite, result: results.Result,
                 log: Path, limit: threading.Event) -> None:
        code = self._execute(suite, [*suite.command], log, log, limit,
                             {**os.environ}, time.monotonic())
        text = log.read_text(errors="replace")
        failed = [line for line in text.splitlines()
                  if line.startswith("FAILED: ")]
        if code and not failed:
            failed = [f"exit status {code}"]
        for line in failed:
            result.fail(f"{line}\n{results.last_lines(text)}")
        # Each of its checks is a test.
        checks = text.count("\n-- ") + text.startswith("-- ")
        result.passed = max(0, max(1, checks) - len(failed))

    def _tests(self, suite: manifest.Suite, result: results.Result,
               log: Path, limit: threading.Event) -> None:
        begin = time.monotonic()
        environment = self._environment(suite)
        # A history of its own: suites run beside each other.
        kept = CACHE / "stestr" / suite.name
        stream = CACHE / f"test-{suite.name}.subunit"
        listed = CACHE / f"test-{suite.name}.list"
        listed.unlink(missing_ok=True)
        environment["RBD_LUKS_TEST_LIST"] = str(listed.resolve())
        ends = CACHE / f"test-{suite.name}.ends"
        environment["RBD_LUKS_TEST_ENDS"] = str(ends.resolve())
        stestr = [sys.executable, "-m", "stestr", "--repo-url", str(kept),
                  "--test-path", f"./os_brick_rbd_luks/tests/{suite.path}"]
        if suite.group:
            stestr += ["--group-regex", suite.group]
        if not (kept / ".stestr").exists():
            kept.mkdir(parents=True, exist_ok=True)
            subprocess.run([*stestr, "init"], check=True, env=environment)
        names = list(filter(None, [self.pattern or suite.filter]))
        run = [*stestr, "run", "--subunit",
               *(["--serial"] if suite.serial else [])]
        ran: dict[str, tuple[str, str]] = {}
        never: set[str] = set()
        with tempfile.NamedTemporaryFile("w+") as left:
            more: list[str] = []
            while True:
                stream.write_bytes(b"")
                ends.write_text("")
                code = self._execute(suite, [*run, *more, *names], stream, log,
                                     limit, environment, begin)
                new = results.of_stream(stream)
                ran.update(new)
                before = never
                never = self._found(listed, names) - set(ran)
                if new and not limit.is_set():
                    results.add_ends(result, new, ends.read_text().split())
                # The second process has to come further than the first.
                if limit.is_set() or not new or never in (set(), before):
                    break
                self.say(f"[{suite.name}] a process died; {len(never)} tests "
                         "had not begun and are run by another one")
                left.seek(0)
                left.truncate()
                left.write("".join(f"{name}\n" for name in sorted(never)))
                left.flush()
                more = ["--load-list", left.name]
        results.add(result, ran)
        if never and ran:
            result.fail(f"{len(never)} tests never began, the first of them "
                        f"is {min(never)}")
        if not limit.is_set() and (code or not ran) and not result.failed:
            # What stestr finds wrong with the tests, it prints on its stdout.
            said = "".join(path.read_text(errors="replace")
                           for path in (log, *([] if ran else [stream])))
            result.fail(f"{len(ran)} tests ran, exit status {code}\n"
                        + results.last_lines(said))
        if not listed.exists() and ran:
            result.fail("it did not say which tests it has: see "
                        "tests/selection.py")

    def _found(self, listed: Path, names: list[str]) -> set[str]:
        """The tests that were to run."""
        if not listed.exists():
            return set()
        return {name for name in listed.read_text().splitlines()
                if all(re.search(pattern, name) for pattern in names)}

    def _environment(self, suite: manifest.Suite) -> dict[str, str]:
        python = self.python or f"{Path.cwd()}/{suite.venv}/bin/python"
        environment = {
            **os.environ, "PYTHON": f"{WORKER} {python}",
            "PYTHONFAULTHANDLER": "1",
            # Tests are guests, too, and librbd of Ceph 16 writes to freed
            # memory when a guest closes a clone; what is freed is kept aside,
            # so that it damages nothing (doc/source/operations.rst).
            "GLIBC_TUNABLES": "glibc.malloc.tcache_count=1000",
            "RBD_LUKS_TEST_TIER": suite.tests or self.tier,
            "RBD_LUKS_TEST_ONLY": ",".join(suite.only),
            "RBD_LUKS_TEST_LIMIT": f"{suite.limit:g}",
            "PATH": f"{Path(python).parent}:{os.environ['PATH']}"}
        if suite.coverage:
            COVERAGE.mkdir(parents=True, exist_ok=True)
            environment["RBD_LUKS_TEST_COVERAGE"] = str(
                COVERAGE.resolve() / suite.name)
        return environment

    # many

    def all(self, suites: list[manifest.Suite]) -> list[results.Result]:
        """Run suites, those marked so beside the others."""
        # The gate is for what this run has run.
        for old in COVERAGE.glob("*"):
            old.unlink()
        done: dict[str, results.Result] = {}

        def group(members: list[manifest.Suite]) -> None:
            for result in self.group(members):
                done[result.name] = result

        parts = list(manifest.groups(suites))

        def those_beside() -> None:
            with contextlib.suppress(Ended):
                for part in parts:
                    if part[0].beside:
                        group(part)

        beside = threading.Thread(target=those_beside)
        beside.start()
        try:
            for part in parts:
                if not part[0].beside:
                    group(part)
            beside.join()
        except BaseException:
            # Also on a signal: they leave no process either.
            self._ended.set()
            beside.join()
            raise
        for suite in suites:
            if suite.name not in done:
                done[suite.name] = results.Result(suite.name)
                done[suite.name].fail("it was not run")
        return [done[suite.name] for suite in suites]

    def group(self, members: list[manifest.Suite]) -> Iterator[
            results.Result]:
        """Run suites that share a system and servers.

        :returns: each result as soon as it is known here
        """
        servers, system = members[0].servers, members[0].system
        if not servers and not system:
            yield from map(self.suite, members)
            return
        wrapped = "system" if system else "servers"
        # A group with servers may be in one of a system, which has others.
        name = f"results-{wrapped}-{members[0].name}"
        if system:
            wrapper, file = ["tools/debian13"], DEBIAN13_CACHE / name
        else:
            wrapper = ["tools/with", ",".join(servers)]
            file = CACHE / name
        there = self.there | {wrapped}
        file.unlink(missing_ok=True)
        command = [*wrapper, ".venv/bin/python", "tools/run-suites",
                   "--inside", str(CACHE / name),
                   "--there", ",".join(sorted(there)), "--tier", self.tier,
                   *(["--filter", self.pattern] if self.pattern else []),
                   *(["--python", self.python] if self.python else []),
                   *(suite.name for suite in members)]
        limit = AROUND + 60 * sum(suite.minutes for suite in members)
        problem = ""
        with child(command, GROUP_GRACE) as process:
            try:
                code = self._wait(process, limit)
            except subprocess.TimeoutExpired:
                problem = f"not done within {limit / 60:.0f} minutes"
            else:
                # Its suites' failures are in their results.
                problem = f"exit status {code}" if code else ""
        found = results.read(file)
        for suite in members:
            result = found.pop(suite.name, None)
            if not result:
                result = results.Result(suite.name)
                result.fail(f"it was not run: {wrapper[0]}: "
                            f"{problem or 'it has left no result'}")
            elif problem and suite is members[-1]:
                result.fail(f"{wrapper[0]}: {problem}")
            yield result


def inside(run: Run, suites: list[manifest.Suite], file: Path) -> None:
    """Run suites in what a group has around them; leave results in *file*."""
    file.unlink(missing_ok=True)
    without: dict[str, Any] = {name: {"servers": (), "system": ""}[name]
                               for name in run.there}
    for part in manifest.groups([dataclasses.replace(suite, **without)
                                 for suite in suites]):
        for result in run.group(part):
            with file.open("a") as stream:
                stream.write(result.to_json() + "\n")
