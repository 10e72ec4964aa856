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

"""JSON text of a LUKS2 header to values and back, strictly.

What two readers could understand differently is refused: duplicate names,
anything around the object. What json-c, which cryptsetup uses, accepts beyond
JSON's grammar is refused, too, but for numbers that are too large or none:
cryptsetup opens volumes with these, so they are read, and not written again.

Source: ECMA-404; LUKS2 On-Disk Format Specification 1.1.4, "JSON Area".
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Dict, List, Optional, Tuple, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits

# One without an end takes all the rest: no second look at any byte.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = re.compile(rb"[\[\]{}]")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)

_MAX_DIGITS = 100

Tree = Dict[str, Any]


def decode(text: bytes) -> Tree:
    """The object that *text* is.

    :raises ValueError: it is none, with a reason to follow "the JSON area"
    :raises HeaderLimitExceeded: it is too long or nested too deeply
    """
    if len(text) > limits.MAX_JSON_BYTES:
        raise exception.HeaderLimitExceeded(
            field="JSON text", value=len(text), limit=limits.MAX_JSON_BYTES)
    depth = _depth(text)
    if depth > limits.MAX_JSON_DEPTH:
        raise exception.HeaderLimitExceeded(
            field="JSON depth", value=depth, limit=limits.MAX_JSON_DEPTH)
    if not text.startswith(b"{") or not text.endswith(b"}"):
        raise ValueError("is not one JSON object")
    try:
        tree: Tree = json.loads(
            str(text, "utf-8"), object_pairs_hook=_unique,
            parse_int=_short)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON at its byte {error.pos}") from None
    return tree


def encode(tree: Tree) -> bytes:
    """The text of an object, without spaces, as cryptsetup writes it.

    :raises UnsupportedHeader: it has a number that JSON does not have; other
        programs' tokens may, and nobody knows how those read it
    """
    try:
        text = json.dumps(tree, separators=(",", ":"), allow_nan=False)
    except ValueError as error:
        raise exception.UnsupportedHeader(
            what="changing a header that has a number beyond JSON's (NaN, "
                 "Infinity, or too large), as a token of another program may,",
            supported="finite numbers; cryptsetup changes it") from error
    return text.encode("ascii")


def _depth(text: bytes) -> int:
    """How deep brackets are nested; a parser should not find out itself."""
    depth = deepest = 0
    for bracket in _BRACKETS.finditer(_STRING.sub(b"", text)):
        depth += 1 if bracket.group() in b"[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: List[Tuple[str, Any]]) -> Tree:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        raise ValueError("has a name twice in one object")
    return tree


def _short(text: str) -> Union[int, float]:
    # Longer ones take time that grows with the square of their length.
    return float("inf") if len(text) > _MAX_DIGITS else int(text)


class Node:
    """An object in the tree, which knows its place for messages."""

    def __init__(self, tree: Tree, path: str, offset: int) -> None:
        """Wrap *tree*.

        :param path: member names that lead here, joined by dots
        :param offset: of the JSON area, in bytes
        """
        self.tree = tree
        self.path = path
        self._offset = offset

    def corrupt(self, name: str, reason: str) -> exception.CorruptHeader:
        """The error about member *name*."""
        # A name may be anything; messages are for terminals.
        field = self._join(name).encode("ascii", "backslashreplace").decode()
        return exception.CorruptHeader(
            field="".join(char if char.isprintable() else "?"
                          for char in field[:100]),
            offset=self._offset, reason=reason)

    def _join(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _member(self, name: str, kind: type, article: str) -> Any:
        if name not in self.tree:
            raise self.corrupt(name, "is missing")
        value = self.tree[name]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.corrupt(name, f"is no {article}")
        return value

    def node(self, name: str) -> Node:
        """An object."""
        return Node(self._member(name, dict, "object"), self._join(name),
                    self._offset)

    def numbered(self, name: str) -> Dict[int, Node]:
        """The objects in an object whose names are numbers.

        :raises HeaderLimitExceeded: there are too many, or too high ones
        """
        parent = self.node(name)
        found = {}
        for key in parent.tree:
            if not _NUMBER.fullmatch(key):
                raise parent.corrupt(key, "is not named by a number")
            if int(key) >= limits.MAX_OBJECTS:
                raise exception.HeaderLimitExceeded(
                    field=f"number in {parent.path}", value=int(key),
                    limit=limits.MAX_OBJECTS - 1)
            found[int(key)] = parent.node(key)
        return dict(sorted(found.items()))

    def string(self, name: str) -> str:
        """A string that is not empty, of any characters."""
        value = self._member(name, str, "string")
        if not value:
            raise self.corrupt(name, "is empty")
        return str(value)

    def text(self, name: str) -> str:
        """A string that is not empty and printable."""
        value = self.string(name)
        if not (value.isascii() and value.isprintable()):
            raise self.corrupt(name, "is not printable text")
        return value

    def uint32(self, name: str, least: int = 0) -> int:
        """An integer of 32 bits."""
        value = self._member(name, int, "integer")
        if not least <= value < 2 ** 32:
            raise self.corrupt(name, f"is not an integer from {least} to "
                               f"{2 ** 32 - 1}")
        return int(value)

    def uint64(self, name: str) -> int:
        """An integer of 64 bits, which is a string of decimal digits."""
        value = self._member(name, str, "string")
        if not _NUMBER.fullmatch(value) or int(value) >= 2 ** 64:
            raise self.corrupt(
                name, "is not a string of a decimal integer of 64 bits")
        return int(value)

    def binary(self, name: str, least: int = 1) -> bytes:
        """Bytes, which are a string in Base64."""
        value = self._member(name, str, "string")
        try:
            data = base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError):
            raise self.corrupt(name, "is not Base64") from None
        if len(data) < least:
            raise self.corrupt(name, f"has {len(data)} bytes, fewer than "
                               f"{least}")
        return data

    def texts(self, name: str, optional: bool = False) -> Tuple[str, ...]:
        """An array of strings."""
        if optional and name not in self.tree:
            return ()
        value = self._member(name, list, "array")
        if not all(isinstance(item, str) for item in value):
            raise self.corrupt(name, "is no array of strings")
        return tuple(value)

    def numbers(self, name: str, known: Dict[int, Any],
                what: str) -> Tuple[int, ...]:
        """An array of names of *known* objects, each once at most."""
        found = []
        for item in self.texts(name):
            if not _NUMBER.fullmatch(item) or int(item) not in known:
                raise self.corrupt(name, f"names a {what} that is not there")
            found.append(int(item))
        if len(found) != len(set(found)):
            raise self.corrupt(name, f"names a {what} twice")
        return tuple(found)

    def optional_uint32(self, name: str) -> Optional[int]:
        """An integer of 32 bits, None when it is not there."""
        return self.uint32(name) if name in self.tree else None
