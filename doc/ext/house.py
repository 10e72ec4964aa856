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

"""What the documentation says of the package, taken from the package.

``house-picture``
    The rooms on their floors, as an SVG image.
``house-rooms``
    A section for each room, with a line for each of its modules.
``house-imports``
    Which room imports which, as the unit test has it.
``house-reference ROOM``
    The documentation of all modules of a room, or of one module.
``house-promises``
    The names that are promised to users, as the unit test has them.

A module whose docstring has no first line, a room without a page in
``reference/``, and a floor that disagrees with the unit test end the build.
So does a published function whose whole documentation is that of another one
that cannot be found: see :mod:`see_others`.
"""

from __future__ import annotations

import ast
import html
import importlib
import inspect
from pathlib import Path
import re
import textwrap

from docutils import nodes
from sphinx import errors
from sphinx.util import docutils

import parsed
import see_others

PACKAGE = "os_brick_rbd_luks"
ROOT = Path(__file__).resolve().parents[2] / PACKAGE

#: The table of imports, which a test compares with the source.
TABLE = ROOT / "tests/unit/core/test_imports.py"

#: The names that are promised, which a test compares with the package.
PROMISES = ROOT / "tests/public-api.txt"

#: Floors from the top: what they have in common, and their rooms.
FLOORS = (
    ("On the edges", "programs", ("cinder_cmd",)),
    ("The edges", "each knows one who asks",
     ("cmd", "encryptors", "connectors", "volume", "backup", "nova")),
    ("Shared", "by the edges",
     ("plugin", "services", "libvirt")),
    ("The steps", "in which order things are done",
     ("copies", "clones")),
    ("", "", ("layers",)),
    ("", "", ("headers",)),
    ("The ground", "none knows another", ("luks", "image", "attachment")),
    ("Below all", "", ("exception",)),
)

#: Who asks an edge.
ASKING = {"cinder_cmd": "an operator", "cmd": "an operator",
          "encryptors": "os-brick", "connectors": "os-brick",
          "volume": "Cinder", "backup": "Cinder", "nova": "Nova"}


def path_of(name):
    """The file of a module of ours; of a package, its ``__init__``."""
    path = ROOT.joinpath(*name.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def docstring(name):
    """The docstring of a module, read and not imported."""
    found = ast.get_docstring(ast.parse(path_of(name).read_text("utf-8")))
    if not found:
        raise errors.ExtensionError(f"{PACKAGE}.{name} has no docstring")
    return found


def first_line(name):
    """The first paragraph of a module's docstring, on one line."""
    return " ".join(docstring(name).split("\n\n")[0].split())


def modules(room):
    """Names of the modules of a room, packages before what is in them."""
    path = ROOT / room
    if not path.is_dir():
        return [room]
    found = []
    for file in path.rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__"
                              else parts))
    return sorted(found)


def rooms():
    """All rooms, and the modules that stand alone, as the tree has them."""
    return {path.stem for path in ROOT.iterdir()
            if path.name not in ("tests", "__pycache__", "__init__.py")
            and (path.is_dir() or path.suffix == ".py")}


def allowed():
    """The table of imports: part of the package -> what it may import."""
    # The test itself needs libraries that documentation does not.
    wanted = [node for node in ast.parse(TABLE.read_text("utf-8")).body
              if isinstance(node, ast.Assign)
              and node.targets[0].id in ("STEPS", "ALLOWED")]
    found = {}
    exec(compile(ast.Module(wanted, []), str(TABLE), "exec"),  # noqa: S102
         found)
    return found["ALLOWED"]


def check():
    """Compare the floors with the tree, and with the table of imports.

    :raises ExtensionError: they differ
    """
    floor = {room: number for number, (*_label, names) in enumerate(FLOORS)
             for room in names}
    table = allowed()
    for what, found in (("the package", rooms()),
                        ("the table of imports",
                         {part.partition(".")[0] for part in table})):
        if found != set(floor):
            raise errors.ExtensionError(
                f"{what} and the floors differ in "
                f"{sorted(found ^ set(floor))}")
    for part, others in table.items():
        for other in others:
            room, above = part.partition(".")[0], other.partition(".")[0]
            if floor[above] < floor[room]:
                raise errors.ExtensionError(
                    f"{room} may import {above}, which is drawn above it")


# The picture

WIDTH, LABEL, GAP, LINE = 940, 150, 10, 15
COLOURS = ("#f7dede", "#f6e7cf", "#efe9f7", "#dcebf7", "#dcebf7", "#dcebf7",
           "#ddf0e0", "#eeeeee")


def _text(x, y, text, **style):
    style = {"font-size": "12px", **style}
    attributes = "".join(f' {name.replace("_", "-")}="{value}"'
                         for name, value in style.items())
    return f'<text x="{x}" y="{y}"{attributes}>{html.escape(text)}</text>'


def _summary(room):
    line = first_line(room).partition(";")[0].rstrip(".")
    return re.sub(r":\w+:`\W*(\w+)`|``([^`]*)``", r"\1\2", line)


def picture():
    """The floors as SVG; each room links to its section."""
    parts, top = [], 34
    for (label, detail, names), colour in zip(FLOORS, COLOURS):
        inner = (WIDTH - LABEL - GAP * (len(names) - 1)) / len(names)
        texts = [textwrap.wrap(_summary(name), int((inner - 16) / 6.2))
                 for name in names]
        height = 32 + LINE * max(map(len, texts))
        if label:
            parts.append(_text(0, top + 20, label, font_weight="bold",
                               font_size="14px"))
            for number, line in enumerate(textwrap.wrap(detail, 20)):
                parts.append(_text(0, top + 38 + LINE * number, line,
                                   fill="#555"))
        for number, (name, lines) in enumerate(zip(names, texts)):
            left = LABEL + number * (inner + GAP)
            if name in ASKING:
                parts.append(_text(left + inner / 2, top - 20, ASKING[name],
                                   text_anchor="middle", fill="#555"))
                parts.append(_text(left + inner / 2, top - 6, "\u2193",
                                   text_anchor="middle", fill="#555"))
            parts.append(
                f'<a href="#room-{name}" style="text-decoration: none">'
                f'<rect x="{left:.1f}" y="{top}" width="{inner:.1f}" '
                f'height="{height}" rx="5" fill="{colour}" stroke="#888"/>')
            parts.append(_text(
                f"{left + 8:.1f}", top + 20,
                name + ("/" if (ROOT / name).is_dir() else ""),
                font_weight="bold", font_family="monospace",
                font_size="13px"))
            parts.extend(_text(f"{left + 8:.1f}", top + 38 + LINE * row, line)
                         for row, line in enumerate(lines))
            parts.append("</a>")
        top += height + GAP
    title = "The rooms of the package on their floors; imports go down only"
    return (f'<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'viewBox="0 0 {WIDTH + 1} {top}" font-family="sans-serif" '
            f'style="width: 100%; max-width: {WIDTH}px; height: auto">'
            f"<title>{title}</title>{''.join(parts)}</svg>")


class Picture(docutils.SphinxDirective):
    """The floors, where HTML is made."""

    def run(self):
        """See docutils."""
        check()
        self.env.note_dependency(str(TABLE))
        return [nodes.raw("", picture(), format="html")]


class Rooms(parsed.Parsed):
    """A section for each room, from the ground up."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        for *_label, names in reversed(FLOORS):
            for room in names:
                inner = [name for name in modules(room) if name != room]
                text = [f".. _room-{room}:", "",
                        room, "~" * len(room), "", first_line(room), ""]
                if inner:
                    text += parsed.table(("Module", "What it knows"), (
                        (f":mod:`{name.partition('.')[2]} <{PACKAGE}.{name}>`",
                         first_line(name)) for name in inner), "30 70")
                for line in text:
                    yield line, path_of(room)


class Imports(parsed.Parsed):
    """The table of imports, as the test has it."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        for line in parsed.table(("Part", "May import, beside exception"), (
                (f"``{part}``", ", ".join(f"``{other}``" for other in sorted(
                    set(others) - {part})) or "nothing of ours")
                for part, others in allowed().items()), "25 75"):
            yield line, TABLE


def _from_source(name):
    """The documentation of a module that cannot be imported here.

    Its public classes and functions, with their own docstrings.
    """
    tree = ast.parse(path_of(name).read_text("utf-8"))
    yield from (f".. py:module:: {PACKAGE}.{name}", "",
                *docstring(name).splitlines(), "")
    yield from _members(tree, "")


def _members(tree, indent):
    for node in tree.body:
        found = (isinstance(node, (ast.ClassDef, ast.FunctionDef))
                 and not node.name.startswith("_") and ast.get_docstring(node))
        if not found:
            continue
        if isinstance(node, ast.ClassDef):
            what = "class"
            inside = ", ".join(map(ast.unparse, node.bases))
        else:
            what = "method" if indent else "function"
            arguments = node.args
            for argument in ast.walk(arguments):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            inside = re.sub(r"^self(, )?", "", ast.unparse(arguments))
        yield from (f"{indent}.. py:{what}:: {node.name}({inside})", "",
                    *(f"{indent}   {line}".rstrip()
                      for line in found.splitlines()), "")
        if isinstance(node, ast.ClassDef):
            yield from _members(node, f"{indent}   ")


def _is_importable(name):
    """Whether to import a module neither runs it nor meets a mock.

    Classes that Cinder's decorators return are mocks where documentation is
    built.
    """
    return not name.endswith("__main__") and (
        "\n@interface." not in path_of(name).read_text("utf-8"))


class Reference(parsed.Parsed):
    """All modules of a room, each with its section."""

    required_arguments = 1

    def lines(self):
        """See :class:`parsed.Parsed`."""
        for name in modules(self.arguments[0]):
            text = [name, "-" * len(name), ""]
            if not _is_importable(name):
                text += _from_source(name)
            else:
                text += [f".. automodule:: {PACKAGE}.{name}",
                         "   :members:", *(
                             ["   :undoc-members:",
                              "   :exclude-members: message"]
                             if name == "exception" else []), ""]
            for line in text:
                yield line, path_of(name)


def _promise(name):
    """What is promised of a name: the first paragraph of its docstring."""
    module, _dot, own = name.rpartition(".")
    found = getattr(importlib.import_module(f"{PACKAGE}.{module}"), own)
    if isinstance(found, str):
        return f"``{found!r}``"
    if inspect.isclass(found) and issubclass(found, Exception):
        return (vars(found).get("__doc__") or "").split("\n\n")[0] or (
            see_others.of_error(found))
    line = " ".join(inspect.getdoc(found).split("\n\n")[0].split())
    # Names of the same module, which this is not the page of.
    return re.sub(r":\w+:`(\w+)`", r"``\1``", line)


class Promises(parsed.Parsed):
    """A table for each group of the names that are promised."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        groups = PROMISES.read_text("utf-8").split("\n\n# ")[1:]
        for group in groups:
            title, *lines = group.strip().split("\n")
            text = [title, "~" * len(title), ""]
            rows = []
            for line in lines:
                name, bracket, rest = line.partition("(")
                role = f":py:obj:`{name} <{PACKAGE}.{name}>`"
                if bracket and rest != ")":
                    role += f" ``({rest}``"
                rows.append((role, _promise(name)))
            text += parsed.table(("Name", "What it is"), rows, "50 50")
            for line in text:
                yield line, PROMISES


def check_pages(_app, config):
    """Let each room have its page of the reference.

    :raises ExtensionError: one has none
    """
    folder = Path(__file__).resolve().parents[1] / "source/reference"
    text = "".join(page.read_text("utf-8") for page in folder.glob("*.rst"))
    found = re.findall(r"^\.\. house-reference:: (\w+)$", text, re.M)
    if sorted(found) != sorted(rooms()):
        raise errors.ExtensionError(
            f"reference/ and the package differ in "
            f"{sorted(set(found) ^ rooms())}")


def setup(app):
    """See Sphinx."""
    app.add_directive("house-picture", Picture)
    app.add_directive("house-rooms", Rooms)
    app.add_directive("house-imports", Imports)
    app.add_directive("house-reference", Reference)
    app.add_directive("house-promises", Promises)
    app.connect("config-inited", check_pages)
    return {"parallel_read_safe": True}
