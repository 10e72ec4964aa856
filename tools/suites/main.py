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
"""Choose suites, run them, and say what became of them.

    tools/test [--all] [--filter REGEX] [NAME...]
    tools/test --list

Without names: the quick tier, or with --all everything, on both Debians.
Installs what is needed first. Ends with what failed, in short, and a line
"N passed, N failed, N skipped". Fails if a check or a test failed, or if a
test was skipped: all that they need is installed.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys
import time

from suites import manifest
from suites import results
from suites import run

TIMES = run.CACHE / "test-times.json"


def parser() -> argparse.ArgumentParser:
    """What the command line may have."""
    made = argparse.ArgumentParser(
        prog="tools/test", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        # tools/test looks for whole names of options.
        allow_abbrev=False)
    made.add_argument("names", nargs="*", metavar="NAME",
                      help="suites: see --list")
    made.add_argument("--all", action="store_true",
                      help="everything, not only the quick tier")
    made.add_argument("--list", action="store_true", help="the suites")
    made.add_argument("--filter", default="", metavar="REGEX",
                      help="of the names of tests")
    made.add_argument("--python", default="", metavar="PATH",
                      help="an interpreter that has all the tests need, "
                      "instead of each suite's own; installs nothing")
    made.add_argument("--stress", type=float, metavar="SECONDS",
                      help="how long each random walk goes on")
    # For the processes of this run, and for tools/test.
    made.add_argument("--setup", action="store_true", help=argparse.SUPPRESS)
    for name in ("--inside", "--tier", "--there"):
        made.add_argument(name, help=argparse.SUPPRESS)
    return made


def on_debian13() -> bool:
    """Whether this machine is what others have a root folder of."""
    lines = Path("/etc/os-release").read_text().splitlines()
    return {"ID=debian", 'VERSION_ID="13"'} <= set(lines)


def show(suites: list[manifest.Suite]) -> None:
    """Print the list."""
    # As other commands do when "head" has seen enough.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    rows = [("name", "tier", "needs", "minutes", "subject")]
    for suite in suites:
        seconds = times.get(suite.name)
        rows.append((suite.name, suite.tier, suite.needs,
                     f"{seconds / 60:.1f}" if seconds else "-",
                     suite.subject))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width
                        in zip(row, widths)).rstrip())


def setup(suites: list[manifest.Suite]) -> None:
    """Print what tools/setup is to be asked for."""
    wanted = {suite.setup for suite in suites} - {""}
    print(*sorted(wanted))


def note_times(done: list[results.Result]) -> None:
    """Keep how long each suite that ran took, for the list."""
    times = json.loads(TIMES.read_text()) if TIMES.exists() else {}
    times.update({result.name: result.seconds for result in done
                  if result.seconds})
    TIMES.write_text(json.dumps(times, indent=1))


def report(done: list[results.Result], seconds: float) -> int:
    """Print the table, what failed, and the counts; the exit status."""
    total = results.Result("all", seconds=seconds)
    print("== suites")
    width = max(len(result.name) for result in done)
    for result in done:
        print(f"{result.name:{width}}  {result.seconds:6.0f} s  "
              f"{result.counts}")
        total.passed += result.passed
        total.failed += result.failed
        total.skipped += result.skipped
    print(f"{'':{width}}  {seconds:6.0f} s in all")
    problems = [(result.name, problem) for result in done
                for problem in result.problems]
    if problems:
        print("== failures")
    for name, problem in problems:
        print(f"-- {name}: {problem}")
    print(total.counts)
    return 1 if total.failed or total.skipped else 0


def main() -> int:
    """Do what the command line says; the exit status."""
    args = parser().parse_args()
    os.chdir(manifest.ROOT)
    try:
        suites = manifest.load()
        if args.list:
            show(suites)
            return 0
        chosen = manifest.choose(suites, args.names, args.all,
                                 on_debian13() and not args.inside)
        if args.filter and not args.names:
            # All other suites would have no test, and that is a failure.
            raise manifest.Wrong("--filter needs names of suites")
    except manifest.Wrong as error:
        print(f"test: {error}", file=sys.stderr)
        return 2
    if args.setup:
        setup(chosen)
        return 0
    if args.stress:
        os.environ["RBD_LUKS_TEST_STRESS"] = str(args.stress)
    tier = args.tier or ("full" if args.all else "quick")
    # tox comes here without tools/setup.
    run.CACHE.mkdir(exist_ok=True)
    running = run.Run(tier, args.filter, args.python,
                      filter(None, (args.there or "").split(",")))
    if args.inside:
        run.inside(running, chosen, Path(args.inside))
        return 0
    begin = time.monotonic()
    beside = None
    if any(suite.system for suite in chosen) and shutil.which("unshare"):
        # Made while other suites run; what it says is said again when it is
        # needed.
        beside = subprocess.Popen(
            ["tools/debian13", "true"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        done = running.all(chosen)
    finally:
        if beside:
            beside.terminate()
            beside.wait()
    status = report(done, time.monotonic() - begin)
    if not args.filter:
        note_times(done)
    return status
