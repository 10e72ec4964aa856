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

"""Directive ``tested``: which releases the suites of tests meet.

The suites are those of the manifest; the releases are in ``tested.toml``.
"""

from __future__ import annotations

from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    import tomli as tomllib

from docutils import nodes
from sphinx import errors
from sphinx.util import docutils

import suites_table
from suites import manifest

FILE = Path(__file__).with_name("tested.toml")


def _is_in(suite, column):
    return (suite.system == column["system"]
            and suite.python in column["pythons"])


def _suites(columns):
    """Names of the suites in each column.

    :raises ExtensionError: a suite has no column, or a column no suite
    """
    # Those without a path run a tool, which brings what it needs.
    suites = [suite for suite in manifest.load() if suite.path]
    lost = [suite.name for suite in suites
            if not any(_is_in(suite, column) for column in columns)]
    if lost:
        raise errors.ExtensionError(
            f"{FILE.name}: no column is for {', '.join(lost)}")
    found = [[suite.name for suite in suites if _is_in(suite, column)]
             for column in columns]
    for column, names in zip(columns, found):
        if not names:
            raise errors.ExtensionError(
                f"{FILE.name}: no suite runs in: {column['title']}")
    return found


class Tested(docutils.SphinxDirective):
    """One column for each place where suites run."""

    def run(self):
        """See docutils."""
        for file in (FILE, manifest.FILE):
            self.env.note_dependency(str(file))
        said = tomllib.loads(FILE.read_text())
        columns = said["column"]
        for column in columns:
            if set(column["found"]) != set(said["rows"]):
                raise errors.ExtensionError(
                    f"{FILE.name}: other rows in: {column['title']}")
        group = nodes.tgroup(cols=1 + len(columns))
        for width in (14, *(22 for _column in columns)):
            group += nodes.colspec(colwidth=width)
        group += nodes.thead("", suites_table.row(
            [said["as_of"], *(column["title"] for column in columns)]))
        group += nodes.tbody("", *(
            suites_table.row([name, *(column["found"][name]
                                      for column in columns)])
            for name in said["rows"]), suites_table.row(
                ["Suites", *(", ".join(names)
                             for names in _suites(columns))]))
        return [nodes.table("", group)]


def setup(app):
    """See Sphinx."""
    app.add_directive("tested", Tested)
    return {"parallel_read_safe": True}
