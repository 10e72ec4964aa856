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

"""A table has a word at the head of each column.

Where the first of them is blank, HTML loses the header row of a simple table,
and a reader does not hear what a row is about: a warning ends the build.
"""

from __future__ import annotations

from docutils import nodes
from sphinx.util import logging

LOG = logging.getLogger(__name__)


def check(_app, doctree):
    """Warn of blank cells in header rows, and of cells that became lists."""
    for head in doctree.findall(nodes.thead):
        if not all(entry.astext().strip()
                   for entry in head.findall(nodes.entry)):
            LOG.warning("a cell of this table's header row is blank",
                        location=head.parent)
    for entry in doctree.findall(nodes.entry):
        if any(not item.astext() for item in entry.findall(nodes.list_item)):
            LOG.warning("a cell of this table is an empty list; write \\-",
                        location=entry)


def setup(app):
    """See Sphinx."""
    app.connect("doctree-read", check)
    return {"parallel_read_safe": True}
