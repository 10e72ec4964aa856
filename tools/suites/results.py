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
"""What became of the tests of a suite, from what stestr writes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
import re
from typing import Any

#: Lines of a traceback that are shown: the last have the reason.
LINES = 15
#: Lines of what all threads were doing when a limit was reached.
THREADS = 60


@dataclasses.dataclass
class Result:
    """Of one suite.

    :ivar problems: what failed, in a few lines each
    """

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    problems: list[str] = dataclasses.field(default_factory=list)

    def fail(self, problem: str) -> None:
        """Count one more failure."""
        self.failed += 1
        self.problems.append(problem)

    @property
    def counts(self) -> str:
        """As the last line of a run has them."""
        return (f"{self.passed} passed, {self.failed} failed, "
                f"{self.skipped} skipped")

    def to_json(self) -> str:
        """One line; :func:`read` reads it."""
        return json.dumps(dataclasses.asdict(self))


def read(path: Path) -> dict[str, Result]:
    """Results by the name of their suite, from a file of such lines."""
    if not path.exists():
        return {}
    results = (Result(**json.loads(line))
               for line in path.read_text().splitlines(keepends=True)
               # The process may have been killed while it wrote.
               if line.endswith("\n"))
    return {result.name: result for result in results}


def last_lines(text: str, count: int = LINES) -> str:
    """The last lines that are not blank."""
    return "\n".join([line for line in text.splitlines()
                      if line.strip()][-count:])


def _traceback(details: dict[str, Any]) -> str:
    texts = [(name, content.as_text()) for name, content in details.items()
             if content.content_type.type == "text"]
    for name, text in texts:
        if "traceback" in name:
            return text
    return "\n".join(text for _name, text in texts)


def of_stream(path: Path) -> dict[str, tuple[str, str]]:
    """Each test of one run: its state, and the end of its traceback.

    States are those of subunit: success, fail, skip, xfail, uxsuccess; and
    inprogress for a test whose process ended before it.
    """
    import subunit
    import testtools
    tests: dict[str, tuple[str, str]] = {}

    def note(test: dict[str, Any]) -> None:
        # If two tests have one name, a failure counts.
        if test["status"] != "exists" and tests.get(
                test["id"], ("success",))[0] == "success":
            tests[test["id"]] = (test["status"],
                                 last_lines(_traceback(test["details"])))

    collect = testtools.StreamToDict(note)
    collect.startTestRun()
    with path.open("rb") as stream:
        subunit.ByteStreamToStreamResult(
            stream, non_subunit_name="stdout").run(collect)
    collect.stopTestRun()
    # What is no part of a test was printed beside the stream.
    tests.pop("stdout", None)
    return tests


def add(result: Result, tests: dict[str, tuple[str, str]]) -> None:
    """Count the tests of a suite."""
    for name, (state, text) in sorted(tests.items()):
        if state in ("success", "xfail"):
            result.passed += 1
        elif state == "skip":
            result.skipped += 1
            result.problems.append(f"{name}: skipped\n{text}")
        elif state in ("inprogress", "unknown"):
            result.fail(f"{name}: the process ended while it ran")
        else:
            result.fail(f"{name}\n{text}")


def add_ends(result: Result, tests: dict[str, tuple[str, str]],
             statuses: list[str]) -> None:
    """Count the processes that died while none of their tests ran.

    :param tests: of one run
    :param statuses: those other than 0 with which its processes ended
    """
    others = len(statuses) - sum(state in ("inprogress", "unknown")
                                 for state, _text in tests.values())
    if others > 0:
        result.fail(f"{others} processes died while none of their tests ran; "
                    f"exit status of all that died: {', '.join(statuses)}")


def traces(log: str) -> list[str]:
    """What all threads were doing when a test reached its limit, or when
    the process crashed.
    """
    return [match.group(0) for match in re.finditer(
        rf"^(?:Timeout \(\d.*\)!|Fatal Python error: .*)\n"
        rf"(?:.*\n){{0,{THREADS}}}", log, re.M)]
