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

"""Publish what a docstring refers to, where it says no more than "See".

A class that fulfils a protocol documents its methods by
``See :class:`Proto`.`` or ``See :class:`Proto`; and what is different.``: the
reader of the source finds the one text, and the reader of the reference gets
it. An error without a docstring is documented by its text. Where there is
nothing to be found, or a docstring says just "See" in another way, a warning
ends the build.
"""

from __future__ import annotations

import importlib
import inspect
import re

from sphinx.util import logging

LOG = logging.getLogger(__name__)

_SEE = re.compile(r"See :(?:class|func|meth):`~?([\w.]+)`([.;])\s*(.*)", re.S)


def _find(path):
    """The object of a full name, None without one."""
    parts = path.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:end]))
        except ImportError:
            continue
        for part in parts[end:]:
            found = getattr(found, part, None)
        return found
    return None


def _there(name, target):
    """The docstring that that of *name* refers to by *target*."""
    method = name.rpartition(".")[2]
    found = _find(target)
    # A name alone is one of the same module, or of a class around.
    while found is None and "." in name:
        name = name.rpartition(".")[0]
        found = _find(f"{name}.{target}")
    if inspect.isclass(found):
        found = getattr(found, method, None)
    return inspect.getdoc(found) if found else None


def of_error(error):
    """What a class of errors says: mostly all there is to say of it."""
    text = re.sub(r"%\((\w+)\)[sdr]", r"*\1*", error.message)
    return '"' + re.sub(r"(--\w+)", r"``\1``", text) + '"'


def replace(_app, what, name, found, _options, lines):
    """Put the text of another docstring in the place of "See"."""
    text = "\n".join(lines).strip()
    if what == "exception" and not text:
        lines[:] = [of_error(found), ""]
        return
    if not text.startswith("See "):
        return
    match = _SEE.match(text)
    text = match and _there(name, match.group(1))
    if not text or text.startswith("See "):
        LOG.warning("%s %s: its whole documentation is %r", what, name,
                    lines[0])
        return
    rest = match.group(3).strip()
    if rest and match.group(2) == ";":
        rest = f"Here: {rest}"
    fields = re.search(r"^:\w+", text, re.M)
    end = fields.start() if fields else len(text)
    # A field list that the rest has goes on with that of the text.
    body = [text[:end].rstrip()]
    if rest:
        body.append(rest)
    if fields:
        body.append(text[end:])
    lines[:] = "\n\n".join(body).splitlines() + [""]


def setup(app):
    """See Sphinx."""
    app.connect("autodoc-process-docstring", replace)
    return {"parallel_read_safe": True}
