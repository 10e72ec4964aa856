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

"""JSON of a table whose rows come one by one.

cliff's own format makes a list of all of them first. This one writes the same
text.

Source: ``cliff.formatters.json_format``, 3.8 to 4.17.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any, Iterable, IO, Sequence

from cliff import columns
from cliff.formatters import json_format


class JSONRows(json_format.JSONFormatter):  # type: ignore[misc]
    """Shows a table as an array of objects."""

    def emit_list(self, column_names: Sequence[str],
                  data: Iterable[Sequence[Any]], stdout: IO[str],
                  parsed_args: argparse.Namespace) -> None:
        """Write each row when it is there, and nothing before the first."""
        indent = None if parsed_args.noindent else 2
        between = ", " if parsed_args.noindent else ",\n"
        before = "[" if parsed_args.noindent else "[\n"
        end = "[]"
        for row in data:
            text = json.dumps({
                name: (value.machine_readable()
                       if isinstance(value, columns.FormattableColumn)
                       else value)
                for name, value in zip(column_names, row)}, indent=indent)
            stdout.write(before + (textwrap.indent(text, "  ") if indent
                                   else text))
            before, end = between, "]" if parsed_args.noindent else "\n]"
        stdout.write(end + "\n")
