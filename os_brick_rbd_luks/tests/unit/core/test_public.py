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

"""What users of the library were promised is there, as it was promised.

``tests/public-api.txt`` is the promise: a line for each name. Who changes a
line says so in a release note; see the page "Public API".
"""

from __future__ import annotations

import importlib
import inspect
import pathlib

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks import tests

FILE = pathlib.Path(tests.__file__).parent / "public-api.txt"


def _arguments(found):
    """Names and kinds of arguments; neither types nor values."""
    parts, keyword_only = [], False
    for name, parameter in inspect.signature(found).parameters.items():
        if parameter.kind is parameter.VAR_POSITIONAL:
            keyword_only = True
            name = f"*{name}"
        elif parameter.kind is parameter.VAR_KEYWORD:
            name = f"**{name}"
        elif parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            parts.append("*")
        parts.append(name if parameter.default is parameter.empty
                     else f"{name}=...")
    return ", ".join(parts)


def _describe(name):
    """The line of a name as the package has it."""
    module, _dot, own = name.rpartition(".")
    found = getattr(importlib.import_module(f"os_brick_rbd_luks.{module}"),
                    own)
    if inspect.isclass(found) and issubclass(found, Exception):
        base = found.__bases__[0]
        ours = base.__module__ == exception.__name__
        return f"{name}({base.__name__ if ours else ''})"
    if inspect.isclass(found) and getattr(found, "_is_protocol", False):
        return name
    return f"{name}({_arguments(found)})" if callable(found) else name


class PublicTest(testtools.TestCase):

    def lines(self):
        return [line for line in FILE.read_text().splitlines()
                if line and not line.startswith("#")]

    def test_as_promised(self):
        lines = self.lines()
        self.assertEqual(lines, [_describe(line.partition("(")[0])
                                 for line in lines])

    def test_all_errors(self):
        self.assertEqual(
            {name for name, found in vars(exception).items()
             if inspect.isclass(found)
             and issubclass(found, exception.RBDLuksError)},
            {line.partition("(")[0].partition(".")[2]
             for line in self.lines() if line.startswith("exception.")})

    def test_nothing_private(self):
        self.assertEqual([], [line for line in self.lines() if any(
            part.startswith("_")
            for part in line.partition("(")[0].split("."))])
