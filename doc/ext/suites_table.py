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

"""Directive ``suites``: the table of suites of tests, from their manifest."""

from __future__ import annotations

from pathlib import Path
import sys

from docutils import nodes
from sphinx.util import docutils

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))

from suites import manifest  # noqa: E402

COLUMNS = ("Name", "Tier", "Needs", "Subject")


def row(cells):
    """A row of a table: one paragraph for each cell."""
    made = nodes.row()
    for cell in cells:
        made += nodes.entry("", nodes.paragraph(text=cell))
    return made


class Suites(docutils.SphinxDirective):
    """One row a suite, in the order in which they run."""

    def run(self):
        """See docutils."""
        self.env.note_dependency(str(manifest.FILE))
        group = nodes.tgroup(cols=len(COLUMNS))
        for width in (30, 8, 30, 50):
            group += nodes.colspec(colwidth=width)
        group += nodes.thead("", row(COLUMNS))
        group += nodes.tbody("", *(
            row((suite.name, suite.tier, suite.needs, suite.subject))
            for suite in manifest.load()))
        return [nodes.table("", group)]


def setup(app):
    """See Sphinx."""
    app.add_directive("suites", Suites)
    return {"parallel_read_safe": True}
