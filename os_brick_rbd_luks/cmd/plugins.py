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
"""Commands and output formats, found without a search of all packages.

cliff asks stevedore, which reads the metadata of everything that is installed
(and keeps what it found in the user's home), loads every format, looks for
hooks of every command and asks which package a command is from. All of ours
are in this package, and all formats in cliff or here.

Source: ``cliff.commandmanager``, ``cliff.display``, ``cliff.command``, 3.8 to
4.17.
"""

from __future__ import annotations

import functools
from importlib import metadata
from typing import Any, Callable, Dict, Iterator, List, NamedTuple

from cliff import command
from cliff import commandmanager

PACKAGE = "os-brick-rbd-luks"


@functools.cache
def _entry_points(package: str, group: str) -> Dict[str, Any]:
    return {point.name: point
            for point in metadata.distribution(package).entry_points
            if point.group == group}


class Commands(commandmanager.CommandManager):  # type: ignore[misc]
    """The commands of this package; each is loaded when it is run."""

    def load_commands(self, namespace: str) -> None:
        """Read the table of commands; see cliff's."""
        self.group_list.append(namespace)
        for name, point in _entry_points(PACKAGE, namespace).items():
            self.commands[name.replace("_", " ")] = point
        # The table from modules to packages, for what is not the package of
        # the application: with nothing in it, nothing is searched.
        command._dists_by_mods = {}


class Format(NamedTuple):
    """A loaded one, as stevedore gives it."""

    name: str
    obj: Any


class Formats:
    """The output formats of one kind of command, in place of stevedore's."""

    def __init__(self, namespace: str, own: str = "",
                 **ours: Callable[[], Any]) -> None:
        """Take a namespace of cliff's.

        :param own: a namespace of this package's with more formats
        :param ours: in place of formats of those names: give them, loaded
        """
        self._points = {**_entry_points("cliff", namespace),
                        **_entry_points(PACKAGE, own)}
        self._ours = ours
        self._formats: Dict[str, Format] = {}

    def names(self) -> List[str]:
        """Of all of them, none of which need be loaded for that."""
        return list(self._points)

    def __getitem__(self, name: str) -> Format:
        if name not in self._formats:
            self._formats[name] = Format(name, (
                self._ours.get(name) or self._points[name].load())())
        return self._formats[name]

    def __iter__(self) -> Iterator[Format]:
        return map(self.__getitem__, self._points)
