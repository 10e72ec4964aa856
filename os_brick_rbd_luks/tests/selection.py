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

"""Which tests of a folder run, and for how long each may.

The folders say what is tested. What a test needs of the machine, and whether
it is of the quick tier, are attributes of the test; the package of each suite
has ``load_tests = selection.of_package(__file__)``, which reads them.

From the environment, which ``tools/test`` sets by ``tests/suites.toml``:

``RBD_LUKS_TEST_TIER``
    ``quick`` leaves out what is marked by :func:`full`; anything else runs
    all.
``RBD_LUKS_TEST_ONLY``
    Needs, separated by commas: only tests that have one of them run.
``RBD_LUKS_TEST_LIMIT``
    Seconds that a test may take that does not say so itself.
``RBD_LUKS_TEST_LIST``
    A file to which the names of all that are to run are written, so that
    those can be missed that a process never came to.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import pathlib
import sys
from typing import Any, Callable, Iterable, Iterator, TypeVar
import unittest

#: Whether everything runs. The tier is read once: tables of cases depend on
#: it when their module is loaded.
QUICK = os.environ.get("RBD_LUKS_TEST_TIER") == "quick"

#: Seconds that a test may take, if neither it nor the suite says otherwise.
LIMIT = 300.0

Marked = TypeVar("Marked")


def full(test: Marked) -> Marked:
    """Mark a test method or class that the quick tier leaves out."""
    test.full_tier_only = True  # type: ignore[attr-defined]
    return test


def cases(*quick: Any, full: Any = ()) -> tuple[Any, ...]:
    """Values for ``ddt.data``: *quick*, and *full* as well if all runs."""
    return quick if QUICK else (*quick, *full)


def some(found: Iterable[Any], step: int) -> tuple[Any, ...]:
    """Values for ``ddt.data``: every *step*-th; all of them if all runs.

    Of a product, with a *step* that no factor's length has a divisor of, each
    value of each factor is among them.
    """
    return tuple(found)[::step if QUICK else 1]


def needs(*names: str) -> Callable[[Marked], Marked]:
    """Mark a test method or class by what it needs of the world.

    :param names: of :data:`WORLDS`
    """
    unknown = set(names) - set(WORLDS)
    if unknown:
        raise ValueError(f"no such need: {', '.join(sorted(unknown))}")

    def mark(test: Marked) -> Marked:
        test.needs = frozenset(names)  # type: ignore[attr-defined]
        return test

    return mark


def limit(seconds: float) -> Callable[[Marked], Marked]:
    """Mark a test method or class that may take another time."""
    def mark(test: Marked) -> Marked:
        test.limit = seconds  # type: ignore[attr-defined]
        return test

    return mark


def _librbd(layers: bool) -> bool:
    try:
        import rbd
    except ImportError:
        return False
    return hasattr(rbd.Image, "encryption_load2") == layers


def _consumers() -> bool:
    from castellan.key_manager import key_manager
    return hasattr(key_manager.KeyManager, "add_consumer")


#: What a test may need -> whether it is there. What is not there is not a
#: skip: each suite of the matrix names the world that it is run in.
WORLDS: dict[str, Callable[[], bool]] = {
    # librbd of Ceph 18 and newer loads the encryption of each layer.
    "layers": lambda: _librbd(True),
    "no-layers": lambda: _librbd(False),
    # OSDs that tell holes from zeros.
    "bluestore": lambda: os.environ.get(
        "RBD_LUKS_TEST_OBJECTSTORE") == "bluestore",
    # A castellan that knows who uses a secret; 4.0 of Debian 12 does not.
    "consumers": _consumers,
}


def _attribute(test: unittest.TestCase, name: str, default: Any) -> Any:
    method = getattr(test, test._testMethodName, None)
    return getattr(method, name, getattr(test, name, default))


def _needed(test: unittest.TestCase) -> frozenset[str]:
    method = getattr(test, test._testMethodName, None)
    return (getattr(method, "needs", frozenset())
            | getattr(type(test), "needs", frozenset()))


def is_wanted(test: unittest.TestCase) -> bool:
    """Tell whether a test is to run here and now."""
    if QUICK and _attribute(test, "full_tier_only", False):
        return False
    needed = _needed(test)
    only = set(filter(None, os.environ.get(
        "RBD_LUKS_TEST_ONLY", "").split(",")))
    if only and not needed & only:
        return False
    return all(WORLDS[name]() for name in needed)


def _each(tests: Any) -> Iterator[Any]:
    try:
        members = iter(tests)
    except TypeError:
        yield tests
    else:
        for member in members:
            yield from _each(member)


def limited(test: unittest.TestCase) -> unittest.TestCase:
    """Let a test end this process if it takes too long.

    A test that waits for ever inside librbd holds Python's lock or waits
    for threads that do: no exception and no signal reaches it. The watchdog
    of faulthandler is a thread in C. It writes what all threads were doing.
    """
    seconds = float(_attribute(test, "limit", None) or os.environ.get(
        "RBD_LUKS_TEST_LIMIT") or LIMIT)
    run = test.run

    @functools.wraps(run)
    def run_limited(*args: Any, **kwargs: Any) -> Any:
        faulthandler.dump_traceback_later(
            seconds, exit=True, file=sys.__stderr__ or 2)
        try:
            return run(*args, **kwargs)
        finally:
            faulthandler.cancel_dump_traceback_later()

    test.run = run_limited  # type: ignore[method-assign]
    return test


def _list(tests: list[unittest.TestCase]) -> None:
    """Write the list that is asked for; each process finds the same."""
    path = os.environ.get("RBD_LUKS_TEST_LIST")
    if path and not os.path.exists(path):
        with open(f"{path}.{os.getpid()}", "w") as file:
            file.writelines(f"{test.id()}\n" for test in tests)
        os.replace(file.name, path)


def of_package(file: str) -> Callable[..., unittest.TestSuite]:
    """``load_tests`` of the package whose ``__init__`` is *file*.

    See "load_tests Protocol" in the documentation of unittest.
    """
    folder = str(pathlib.Path(file).parent)

    def load_tests(loader: unittest.TestLoader, found: Any,
                   pattern: str | None) -> unittest.TestSuite:
        tests = loader.discover(folder, pattern or "test*.py")
        wanted = [limited(test) for test in _each([found, tests])
                  if is_wanted(test)]
        _list(wanted)
        return unittest.TestSuite(wanted)

    return load_tests
