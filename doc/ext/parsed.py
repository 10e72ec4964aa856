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

"""Directives that write reStructuredText, and what they write it with."""

from __future__ import annotations

from docutils import nodes
from docutils import statemachine
from sphinx.util import docutils
from sphinx.util import nodes as sphinx_nodes


class Parsed(docutils.SphinxDirective):
    """A directive that writes reStructuredText."""

    def lines(self):
        """Pairs of lines and where they come from."""
        raise NotImplementedError

    def run(self):
        """See docutils."""
        text = statemachine.StringList()
        for number, (line, source) in enumerate(self.lines()):
            self.env.note_dependency(str(source))
            text.append(line, str(source), number)
        holder = nodes.section()
        holder.document = self.state.document
        sphinx_nodes.nested_parse_with_titles(self.state, text, holder)
        return holder.children


def table(header, rows, widths):
    """The lines of a ``list-table``."""
    yield from (".. list-table::", "   :header-rows: 1",
                f"   :widths: {widths}", "")
    for row in (header, *rows):
        for number, cell in enumerate(row):
            yield f"   {' ' if number else '*'} - {cell}"
    yield ""
