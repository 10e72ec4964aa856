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

"""Where one of os-brick's tests has to fail, and how it fails.

A test in such a table is run as any other; that it fails as the table says
is what is asserted. One that passes is a failure: the entry is to go.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from typing import Any, Iterable, Iterator, List, Mapping, Tuple, Type
import unittest


@dataclasses.dataclass(frozen=True)
class Difference:
    """An expected failure.

    :ivar reason: why it has to be
    :ivar error: what the test raises
    :ivar pattern: regular expression that its text matches
    """

    reason: str
    error: Type[Exception]
    pattern: str


def tests(suite: Any) -> Iterator[Any]:
    """The test cases within a suite."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from tests(item)
        else:
            yield item


def expect(test: Any, difference: Difference) -> None:
    """Let *test* pass if it fails as said, and only then."""
    name = test._testMethodName
    method = getattr(test, name)

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        try:
            method(*args, **kwargs)
        except difference.error as error:
            if not re.search(difference.pattern, str(error)):
                raise
        else:
            raise AssertionError(
                f"{test.id()} passes, though the table says: "
                f"{difference.reason}; take the entry out")

    setattr(test, name, wrapper)


def apply(suite: Any, table: Mapping[str, Difference]
          ) -> Tuple[Any, Mapping[str, int]]:
    """Apply a table to all tests of *suite*.

    :param table: class and method names (``LuksTestCase.test_x``) of the
        tests that fail
    :returns: the suite, and how many tests each entry is about
    """
    found = dict.fromkeys(table, 0)
    for test in tests(suite):
        entry = ".".join(test.id().split(".")[-2:])
        if entry in table:
            found[entry] += 1
            expect(test, table[entry])
    return suite, found


def of(classes: Iterable[Type[unittest.TestCase]]) -> unittest.TestSuite:
    """All tests of *classes*."""
    loader = unittest.TestLoader()
    return unittest.TestSuite(map(loader.loadTestsFromTestCase, classes))


def loaded(suite: Any, table: Mapping[str, Difference],
           *own: Type[unittest.TestCase]) -> Any:
    """What a module's ``load_tests`` gives.

    :param suite: upstream's tests, to which the table is applied
    :param own: those of the module's classes that are about them
    """
    applied, _found = apply(suite, table)
    applied.addTests(of(own))
    return applied


def stray(suite: Any, table: Mapping[str, Difference]) -> List[str]:
    """Entries that are not about exactly one test."""
    _suite, found = apply(suite, table)
    return [name for name, count in found.items() if count != 1]
