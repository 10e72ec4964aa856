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
"""What ``os_brick_rbd_luks/tests/suites.toml`` says.

Nothing but the standard library of Debian's Python: this is read before
anything is installed.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Iterable, Iterator

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11, as tox may call this
    import tomli as tomllib

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "os_brick_rbd_luks/tests"
FILE = TESTS / "suites.toml"

#: Interpreters that are no version of Python -> their virtual environment.
VENVS = {"newest": ".venv", "cinder": ".venv-cinder", "nova": ".venv-nova",
         "distribution": ".venv-distribution"}


class Wrong(Exception):
    """What the user is told, in one sentence."""


@dataclasses.dataclass(frozen=True)
class Suite:
    """One row; the file's head says what each member means."""

    name: str
    subject: str
    tier: str
    minutes: float
    path: str = ""
    command: tuple[str, ...] = ()
    python: str = "newest"
    servers: tuple[str, ...] = ()
    system: str = ""
    only: tuple[str, ...] = ()
    filter: str = ""
    tests: str = ""
    serial: bool = False
    group: str = ""
    beside: bool = False
    coverage: bool = False
    limit: float = 0

    def __post_init__(self) -> None:
        if bool(self.path) == bool(self.command):
            raise Wrong(f"{FILE.name}: {self.name} has to have either a path "
                        "or a command")
        if self.path and not (TESTS / self.path / "__init__.py").exists():
            raise Wrong(f"{FILE.name}: {self.name}: there is no folder "
                        f"{self.path}")
        if self.path and not self.limit:
            raise Wrong(f"{FILE.name}: {self.name} has no limit for a test")
        if self.tier not in ("quick", "full"):
            raise Wrong(f"{FILE.name}: {self.name}: {self.tier!r} is no tier")
        if self.tests not in ("", "quick"):
            raise Wrong(f"{FILE.name}: {self.name}: tests can be quick only")
        if self.system not in ("", "debian13"):
            raise Wrong(f"{FILE.name}: {self.name}: there is no system "
                        f"{self.system!r}")

    @property
    def venv(self) -> str:
        """The virtual environment, below the checkout."""
        return VENVS.get(self.python, f".venv-python{self.python}")

    @property
    def setup(self) -> str:
        """What ``tools/setup`` has to be asked for, if anything."""
        if self.python == "newest" or self.system:
            return ""
        return self.python if self.python in VENVS else f"python{self.python}"

    @property
    def needs(self) -> str:
        """For people: system, interpreter, servers."""
        return ", ".join(filter(None, [
            {"debian13": "Debian 13"}.get(self.system, ""),
            "" if self.python == "newest" else
            f"Python {self.python}" if self.python not in VENVS else
            f"the {self.python}" if self.python == "distribution" else
            self.python.title(), *self.servers]))


def load(path: Path = FILE) -> list[Suite]:
    """All suites, in the order in which they run.

    :raises Wrong: a row makes no sense
    """
    rows = tomllib.loads(path.read_text())["suite"]
    known = {field.name for field in dataclasses.fields(Suite)}
    suites = []
    for row in rows:
        if set(row) - known:
            raise Wrong(f"{path.name}: {row.get('name')}: unknown: "
                        f"{', '.join(sorted(set(row) - known))}")
        suites.append(Suite(**{
            name: tuple(value) if isinstance(value, list) else value
            for name, value in row.items()}))
    names = [suite.name for suite in suites]
    if len(set(names)) < len(names):
        raise Wrong(f"{path.name}: two suites have one name")
    return suites


def choose(suites: Iterable[Suite], names: Iterable[str], everything: bool,
           on_debian13: bool) -> list[Suite]:
    """The suites to run.

    :param names: those; all of the tier if there are none
    :param everything: the full tier
    :param on_debian13: this is Debian 13 itself: what Debian 12 would run
        in a root folder of it is what runs here anyway
    :raises Wrong: no suite has such a name, or none is left
    """
    suites, names = list(suites), list(names)
    unknown = set(names) - {suite.name for suite in suites}
    if unknown:
        raise Wrong(f"no suite is named {', '.join(sorted(unknown))}: see "
                    "tools/test --list")
    chosen = [suite for suite in suites
              if (suite.name in names if names else
                  everything or suite.tier == "quick")
              and not (on_debian13 and suite.system == "debian13")]
    if not chosen:
        raise Wrong("these suites are for another system: run the same ones "
                    "without debian13- in their names")
    return chosen


def groups(suites: Iterable[Suite]) -> Iterator[list[Suite]]:
    """Those that follow each other and share a system and servers."""
    group: list[Suite] = []
    for suite in suites:
        if group and (suite.beside or group[-1].beside or
                      (suite.system, suite.servers)
                      != (group[-1].system, group[-1].servers)
                      and not suite.system == group[-1].system == "debian13"):
            yield group
            group = []
        group.append(suite)
    if group:
        yield group
