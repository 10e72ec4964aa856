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

"""How many images of an audit are alike: what monitoring and reports show.

What is counted comes from headers, and who may write to an image may write
any header. So there is a bound to how many kinds of images are told apart,
and to how many images are named.
"""

from __future__ import annotations

import argparse
import collections
from typing import Any, Counter, Iterable, List, NamedTuple, Optional, Tuple

from cliff import columns

from os_brick_rbd_luks.headers import problem_kinds

#: Kinds of images that are told apart in all.
MAX_KINDS = 200

#: Characters of a cipher's name that are shown.
_MAX_CIPHER = 80

#: What a row of an audit has to have.
NEEDED = ("image", "type", "encrypted", "image_size", "keyslots", "problems")


class Place(NamedTuple):
    """Where images are."""

    pool: str
    namespace: str


class Kind(NamedTuple):
    """What is alike of some images; an empty text for what they have not."""

    place: Place
    format: str
    encrypted: str
    cipher: str
    key_bits: str
    sector_size: str


class Named(NamedTuple):
    """An image with problems."""

    place: Place
    image: str
    problems: List[str]


class Counts:
    """The numbers of an audit, row by row.

    :ivar images: how many there are of each kind
    :ivar sizes: their bytes, by place and format
    :ivar keyslots: volumes, by place and how many keyslots they have
    :ivar problems: images, by place and kind of problem
    :ivar named: images that have problems, the first ones
    :ivar unnamed: how many others have problems
    """

    def __init__(self, args: argparse.Namespace,
                 most_named: Optional[int] = None) -> None:
        """Begin with nothing.

        :param args: of the audit
        :param most_named: images with problems to be named; all by default
        """
        self._pool, self._namespace = args.pool
        self._all_namespaces = args.all_namespaces
        self._most_named = most_named
        self.places = {Place(self._pool, self._namespace): None}
        self.images: Counter[Kind] = collections.Counter()
        self.sizes: Counter[Tuple[Place, str]] = collections.Counter()
        self.keyslots: Counter[Tuple[Place, int]] = collections.Counter()
        self.problems: Counter[Tuple[Place, str]] = collections.Counter()
        self.named: List[Named] = []
        self.unnamed = 0

    def add(self, names: Iterable[str], row: Iterable[Any]) -> None:
        """Count a row.

        :param names: of its columns, :data:`NEEDED` and others
        """
        values = dict(zip(names, map(_plain, row)))
        place, image = self._place(values["image"])
        self.places[place] = None
        self.images[self._kind(place, values)] += 1
        self.sizes[place, values["type"]] += values["image_size"]
        if values["keyslots"]:
            self.keyslots[place, len(values["keyslots"])] += 1
        for kind in {problem_kinds.of(problem)
                     for problem in values["problems"]}:
            self.problems[place, kind] += 1
        if values["problems"]:
            if self._most_named is None or (
                    len(self.named) < self._most_named):
                self.named.append(Named(place, image, values["problems"]))
            else:
                self.unnamed += 1

    def _kind(self, place: Place, values: Any) -> Kind:
        encrypted = values["encrypted"]
        kind = Kind(
            place, values["type"],
            {True: "yes", False: "no", None: "unknown"}[
                encrypted["encrypted"]],
            (encrypted["cipher"] or "")[:_MAX_CIPHER],
            str(encrypted["key_bits"] or ""),
            str(encrypted["sector_size"] or ""))
        if kind in self.images or len(self.images) < MAX_KINDS:
            return kind
        return kind._replace(cipher="other", key_bits="", sector_size="")

    def _place(self, name: str) -> Tuple[Place, str]:
        """Where the image of that full name is, and its own name."""
        rest, namespace = name[len(self._pool) + 1:], self._namespace
        if namespace:
            rest = rest[len(namespace) + 1:]
        elif self._all_namespaces and "/" in rest:
            namespace, _slash, rest = rest.partition("/")
        return Place(self._pool, namespace), rest


def _plain(value: Any) -> Any:
    return (value.machine_readable()
            if isinstance(value, columns.FormattableColumn) else value)
