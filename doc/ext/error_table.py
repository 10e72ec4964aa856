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

"""What ``troubleshooting.toml`` says of the errors, held against the package.

The table has an entry for each class of ``exception.py``, and one for each
text that the edges give to an error of others (Cinder's, Nova's, os-brick's)
or to one of ours that has no text of its own. A class without an entry, an
entry without a class, a text without an entry and an entry whose text nobody
says are faults.

Nothing but the package and the standard library: a test reads it as well.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path
import re

try:
    import tomllib
except ModuleNotFoundError:  # before Python 3.11
    import tomli as tomllib

from os_brick_rbd_luks import exception

FILE = Path(__file__).with_name("troubleshooting.toml")
PACKAGE = Path(exception.__file__).resolve().parent

#: What stands for a value that is not known before the error.
VALUE = "\N{HORIZONTAL ELLIPSIS}"

#: Ours whose text comes from whoever raises them.
WORDLESS = ("OperationRefused", "NotRotated")

#: Modules of other families, as the edges import them.
OTHERS = {"cinder_exception": "Cinder", "nova_exception": "Nova",
          "brick_exception": "os-brick"}

#: What an entry has to say, in this order.
TELLS = ("cause", "look", "remedy")


class Wrong(Exception):
    """The table and the package differ, in one sentence."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """One error, as a reader meets it.

    :ivar names: classes that have the text, as ``Cinder's InvalidVolume``
        where they are not ours
    :ivar text: a template, with :data:`VALUE` for what differs
    :ivar title: as much of its beginning as tells it from others, or what
        the entry says
    """

    names: tuple
    text: str
    tells: dict
    title: str = ""

    @property
    def key(self):
        """By what it is sorted: its first words that are always the same."""
        return re.sub(r"^[\W\d_]+", "", self.text).casefold()

    def beginnings(self):
        """Shorter to longer ones, each the end of a clause; then all."""
        for end in re.finditer(r"[;:,]? \(|[;:,] |\. (?=[A-Z])", self.text):
            found = self.text[:end.start()]
            if len(re.findall(r"\w+", found)) > 3:
                yield found
        yield self.text.rstrip(".")


def classes(module=exception):
    """All errors of *module*: name -> class."""
    return {name: found for name, found in inspect.getmembers(
        module, inspect.isclass) if issubclass(found, exception.RBDLuksError)}


def template(kind):
    """The text of a class, with :data:`VALUE` for its values."""
    return re.sub(r"'?%\(\w+\)[sdr]'?", VALUE, kind.message)


def is_family(kind):
    """Whether a class is but the base of others, and has no text."""
    return (template(kind) == VALUE and kind.__name__ not in WORDLESS)


def _plain(text):
    text = re.sub(rf"(?:{VALUE})+", VALUE, " ".join(text.split()))
    return text.strip()


def texts(node):
    """Each text that an expression may be."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant)
                        else VALUE for part in node.values)]
    if isinstance(node, ast.IfExp):
        return [*texts(node.body), *texts(node.orelse)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in texts(node.left) or [VALUE]
                for right in texts(node.right) or [VALUE]]
    return []


def _raised(call, aliases):
    """The names of the class that is called, if it is one to be told of."""
    function = call.func
    if not (isinstance(function, ast.Attribute)
            and isinstance(function.value, ast.Name)):
        return None
    module, name = function.value.id, function.attr
    if module in OTHERS:
        return f"{OTHERS[module]}'s {name}"
    return name if module == "exception" and name in aliases else None


def said(folder=PACKAGE):
    """What is said without a template: text -> names of classes.

    What is made of one of our errors (``str(error)``) has that one's text.
    """
    found = {}
    for path in sorted(folder.rglob("*.py")):
        if "tests" in path.relative_to(folder).parts:
            continue
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = isinstance(call, ast.Call) and _raised(call, WORDLESS)
            if not name:
                continue
            given = [*call.args, *(keyword.value for keyword in call.keywords
                                   if keyword.arg in (
                                       "reason", "message", "data"))]
            for text in (text for value in given for text in texts(value)):
                if len(_plain(text).strip(VALUE)) > 3:
                    found.setdefault(_plain(text), set()).add(name)
    return found


def load(file=FILE):
    """The table as it is: its two halves, by class and by text."""
    table = tomllib.loads(file.read_text("utf-8"))
    return table.get("class", {}), {
        _plain(text): tells for text, tells in table.get("text", {}).items()}


def _differ(what, there, wanted):
    for names, fault in ((wanted - there, "is missing"),
                         (there - wanted, "is of nothing")):
        for name in sorted(names):
            raise Wrong(f"{FILE.name}: the entry of {what} {name!r} {fault}")


def entries(by_class, by_text, kinds, texts_said):
    """The entries in the order in which a reader looks.

    :raises Wrong: an error has no entry, an entry no error, or one of them
        does not tell everything
    """
    _differ("class", set(by_class), set(kinds))
    _differ("the text", set(by_text), set(texts_said))
    for name, tells in {**by_class, **by_text}.items():
        wanted = (("means",) if name in kinds and (
            is_family(kinds[name]) or name in WORDLESS) else TELLS)
        if set(tells) - {"says", "title"} != set(wanted) or not all(
                isinstance(text, str) and text.strip()
                for text in tells.values()):
            raise Wrong(f"{FILE.name}: the entry of {name!r} has to have "
                        f"{', '.join(wanted)}, and nothing else")
    found = [Entry((name,), _seen(kinds[name], tells), tells)
             for name, tells in by_class.items() if "means" not in tells]
    found += [Entry(tuple(sorted(texts_said[text])), text, tells)
              for text, tells in by_text.items()]
    found.sort(key=lambda entry: (entry.key, entry.names))
    return [dataclasses.replace(entry, title=_title(entry, [
        other.text for other in found if other is not entry]))
        for entry in found]


def _seen(kind, tells):
    """The text of a class, or what it always is where it is less general."""
    general = template(kind)
    text = _plain(tells.get("says", general))
    pattern = ".+".join(map(re.escape, general.split(VALUE)))
    if not re.fullmatch(pattern, text):
        raise Wrong(f"{FILE.name}: {kind.__name__} does not say {text!r}, "
                    f"but {general!r}")
    return text


def _title(entry, others):
    if "title" in entry.tells:
        return entry.tells["title"]
    for found in entry.beginnings():
        if not any(other.startswith(found) for other in others):
            return found
    return f"{entry.text.rstrip('.')} ({', '.join(entry.names)})"


def is_of_nova(name):
    """Whether only Nova's side raises a class of ours."""
    rooms = {path.relative_to(PACKAGE).parts[0]
             for path in PACKAGE.rglob("*.py")
             if re.search(rf"\bexception\.{name}\b", path.read_text("utf-8"))}
    return rooms - {"tests", "exception.py"} == {"nova"}


def families(by_class):
    """Names of classes that are no error of their own -> what they mean."""
    return {name: tells["means"] for name, tells in by_class.items()
            if "means" in tells}


def told(path=PACKAGE / "nova/nova_errors.py"):
    """What the owner of a server reads in Nova: names of errors of ours.

    :returns: those whose text he reads; and name -> another sentence
    :raises Wrong: that module does not say it any more
    """
    values = {}
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            target = getattr(node, "target", None) or node.targets[0]
            values[target.id] = node.value
    if not {"SHOWN", "TOLD"} <= set(values):
        raise Wrong(f"{path.name} has no SHOWN and TOLD")
    shown = tuple(item.attr for item in values["SHOWN"].elts)
    return shown, {
        key.attr: re.sub(r"%\(\w+\)s", VALUE, ast.literal_eval(value))
        for key, value in zip(values["TOLD"].keys, values["TOLD"].values)}
