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

"""The page of errors: each message that the package has, in their order.

``errors-by-message``
    A section for each message: its class, cause, what to look at, remedy.
``errors-by-name``
    A row for each class, for those who read only its name.
``errors-shown``
    The errors whose text Nova shows to the owner of a server.

The texts are in ``troubleshooting.toml``, the messages in the package. Where
they do not belong together, the build ends: see :mod:`error_table`.
"""

from __future__ import annotations

import functools
import re

from sphinx import errors

import error_table
import parsed
from os_brick_rbd_luks.cmd import command

MODULE = "os_brick_rbd_luks.exception"

#: What a reader asks, and what of an entry answers it.
LABELS = (("Cause", "cause"), ("Look at", "look"), ("Remedy", "remedy"))


@functools.lru_cache(maxsize=1)
def _table():
    by_class, by_text = error_table.load()
    return by_class, error_table.entries(
        by_class, by_text, error_table.classes(), error_table.said())


def anchor(entry):
    """The label of an entry: by its class, or by how its text begins."""
    name = entry.names[0]
    if name in error_table.classes() and name not in error_table.WORDLESS:
        return f"error-{name.lower()}"
    return "-".join(["says", *re.findall(r"\w+", entry.title.casefold())])


def exit_code(name):
    """With which code the command ends for an error of ours."""
    kind = error_table.classes()[name]
    return command.exit_code(kind.__new__(kind))


def _class(name):
    if name not in error_table.classes():
        return f"{name.replace(' ', ' ``')}``"
    if name == "NotRotated":
        return f":class:`{name} <{MODULE}.{name}>`; the row says *skipped*"
    if error_table.is_of_nova(name):
        return f":class:`{name} <{MODULE}.{name}>`, of nova-compute"
    return (f":class:`{name} <{MODULE}.{name}>`; ``rbd-luks`` exits with "
            f"{exit_code(name)}")


def section(entry, told):
    """The lines of the section of an entry."""
    title = re.sub(r"(--[\w-]+|\w+_\w+)", r"``\1``", entry.title)
    yield from (f".. _{anchor(entry)}:", "", title, "~" * len(title), "",
                f"``{entry.text}``", "")
    yield f":Error: {', '.join(map(_class, entry.names))}"
    for name in entry.names:
        if name in told:
            yield f":In Nova: the owner of the server reads: {told[name]}"
    for label, what in LABELS:
        yield f":{label}: {' '.join(entry.tells[what].split())}"
    yield ""


class ByMessage(parsed.Parsed):
    """All messages, under their first letters."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        _by_class, entries = _table()
        _shown, told = error_table.told()
        text, letters = [], []
        for entry in entries:
            letter = entry.key[:1] or "other"
            if letter not in letters:
                letters.append(letter)
                name = letter.upper() if entry.key else "Other"
                text += [f".. _errors-{letter}:", "", name, "-" * len(name),
                         ""]
            text += section(entry, told)
        text[:0] = [" · ".join(f":ref:`errors-{letter}`"
                               for letter in letters), ""]
        for line in text:
            yield line, error_table.FILE


class ByName(parsed.Parsed):
    """All classes of ours, and where their messages are."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        by_class, entries = _table()
        there = {entry.names[0]: f":ref:`{anchor(entry)}`"
                 for entry in entries}
        there.update(error_table.families(by_class))
        for line in parsed.table(("Name", "Message, or what it means"), (
                (f"``{name}``", there[name]) for name in sorted(by_class)),
                "25 75"):
            yield line, error_table.FILE


class Shown(parsed.Parsed):
    """The names of those whose text the owner of a server reads."""

    def lines(self):
        """See :class:`parsed.Parsed`."""
        shown, _told = error_table.told()
        yield ", ".join(f"``{name}``" for name in sorted(shown)) + ".", (
            error_table.FILE)


def check(_app, _config):
    """Compare the table with the package.

    :raises ExtensionError: they differ
    """
    try:
        _table()
        error_table.told()
    except error_table.Wrong as wrong:
        raise errors.ExtensionError(str(wrong)) from wrong
    labels = [anchor(entry) for entry in _table()[1]]
    twice = {label for label in labels if labels.count(label) > 1}
    if twice:
        raise errors.ExtensionError(f"{error_table.FILE.name}: these would "
                                    f"have one anchor: {sorted(twice)}")


def setup(app):
    """See Sphinx."""
    app.add_directive("errors-by-message", ByMessage)
    app.add_directive("errors-by-name", ByName)
    app.add_directive("errors-shown", Shown)
    app.connect("config-inited", check)
    return {"parallel_read_safe": True}
