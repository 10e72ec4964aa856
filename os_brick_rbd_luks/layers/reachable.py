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

"""Where the volume key of an image can still be had from, in the cluster.

Whoever has a header with a keyslot and its passphrase has the volume key, and
with it each copy of the data: the image's own header, that of a snapshot, of
a clone, of what it is a clone of, of a copy, in the trash or not. An erasure
destroys the image's own only. :mod:`~os_brick_rbd_luks.headers.same_key` says
how a header is known to have the same volume key.

What is not in the cluster is not found: see "What an erasure does not reach"
in the operator's guide. Edges know of more places; they add theirs.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from typing import (Callable, Dict, Iterable, Iterator, List, NamedTuple,
                    Optional, Sequence, Set, Tuple)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import same_key
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import census

#: Why a place counts.
SAME_KEY = "same volume key"
FORMER = "opens with a former passphrase"
NOT_VISIBLE = "not visible from here"
PERHAPS = "perhaps"

#: What a place is to the volume.
IMAGE = "image"
SNAPSHOT = "snapshot"
PARENT = "parent"
CLONE = "clone"
COPY = "copy"
POOL = "pool"
TRASH = "trash"

_Key = Tuple[str, str, str]

#: A pool and a namespace of it; that of the pool itself is empty, and None
#: stands for all of them.
Where = Tuple[str, Optional[str]]


@dataclasses.dataclass(frozen=True)
class Place:
    """Somewhere that a volume key can be had from, or may."""

    #: what it is to the volume, as ``snapshot``; edges have words of theirs
    place: str
    name: str
    #: one of the reasons above, and what else there is to be said of it
    why: str


class Looked(NamedTuple):
    """What there is at one image."""

    entry: census.Entry
    #: a snapshot's name, None for the image itself, and what was found there
    found: List[Tuple[Optional[str], same_key.Finding]]
    #: see :meth:`~os_brick_rbd_luks.image.census.Image.hidden`
    hidden: List[Tuple[str, str]]
    parents: Set[census.Entry]
    clones: List[census.Entry]
    #: why some of it could not be looked at
    problems: List[str]

    @property
    def is_of_interest(self) -> bool:
        """Whether there is a place, or somebody may ask for it by a link."""
        return bool(self.found or self.problems or self.parents
                    or self.clones)


_Jobs = Sequence[Callable[[], Looked]]

#: Does jobs, and gives their results in any order.
Run = Callable[[_Jobs], Iterable[Looked]]


def one_by_one(jobs: _Jobs) -> Iterator[Looked]:
    """Do jobs one after the other."""
    return (job() for job in jobs)


def everywhere(pool: census.Pool, name: str, sought: same_key.Sought, *,
               pools: Sequence[Where] = (), run: Run = one_by_one
               ) -> List[Place]:
    """Look at all images and snapshots there are, those in the trash as well.

    What cannot be looked at is a place, too. One image after the other is
    opened for reading; nothing is written.

    :param name: of the volume's image
    :param pools: where copies are looked for; in all of the cluster if empty.
        The relatives of the image are found wherever they are.
    :param run: see :data:`Run`
    :raises ImageNotFound: there is no such image, or none of *pools*
    :raises ImageError: it cannot be opened
    """
    start = _entry(pool, name)
    entries, unseen = _listed(pool, start, pools)
    looked = {found.entry.key: found for found in run([
        functools.partial(_look, pool, entry, sought)
        for entry in entries.values()])
        # Of a large pool, most have nothing to do with it.
        if found.entry.key == start.key or found.is_of_interest}
    return [*_unrecognised(sought, start), *_told(
        _related(pool, start, sought, looked, entries)), *unseen]


def nearby(pool: census.Pool, name: str, sought: same_key.Sought
           ) -> List[Place]:
    """Look at what the image itself tells of, which takes no list of images.

    Its snapshots, their clones, and so on; the snapshot that it is a clone
    of, the image of that, and so on. Not at other clones of these.

    :raises ImageNotFound: there is no such image
    :raises ImageError: it cannot be opened
    """
    start = _entry(pool, name)
    looked = [_look(pool, start, sought)]
    seen = {start.key}
    for found in looked:
        for clone in found.clones:
            if clone.key not in seen:
                seen.add(clone.key)
                looked.append(_look(pool, clone, sought))
    above = [*_above(pool, looked[0], sought)]
    return [*_unrecognised(sought, start), *_told((
        (IMAGE, looked[0]), *((CLONE, found) for found in looked[1:]),
        *((PARENT, found) for found in above)))]


def require_pools(pool: census.Pool, pools: Iterable[Where]) -> None:
    """Refuse the names of pools and namespaces that are not there.

    :raises ImageNotFound: one of them
    """
    for name, namespace in pools:
        with pool.elsewhere(name) as there:
            if namespace and namespace not in there.namespaces():
                raise exception.ImageNotFound(
                    what=f"namespace {name}/{namespace}")


def _entry(pool: census.Pool, name: str) -> census.Entry:
    place = pool.parent(name, "")
    with pool.open(name, read_only=True) as image:
        return census.Entry(*place[:3], base.image_id(image))


def _unrecognised(sought: same_key.Sought, start: census.Entry
                  ) -> List[Place]:
    if sought.recognisable:
        return []
    return [Place(IMAGE, start.named(), f"{NOT_VISIBLE}: nothing is left of "
                  "its header that a copy would be known by")]


# The images there are


def _listed(pool: census.Pool, start: census.Entry, pools: Sequence[Where]
            ) -> Tuple[Dict[_Key, census.Entry], List[Place]]:
    """All images by their keys, and where they cannot be listed."""
    found = {start.key: start}
    unseen: List[Place] = []
    require_pools(pool, pools)
    if not pools:
        pools = [(start.pool, None)]
        with _seen(unseen, POOL, f"all others than {start.pool}"):
            pools = [(name, None) for name in pool.cluster_pools()]
    for name, namespace in _spaces(pool, pools, unseen):
        place = f"{name}/{namespace}" if namespace else name
        with _seen(unseen, POOL, place), \
                pool.elsewhere(name, namespace) as there:
            # In this order, what comes into the trash meanwhile is seen.
            names, trash = there.entries(), there.trashed()
            for entry in (*names, *trash.entries):
                found[entry.key] = entry
            if not trash.complete:
                unseen.append(Place(
                    TRASH, place, f"{NOT_VISIBLE}: python-rbd of this release "
                    "cannot list all of it; see 'rbd trash ls --all'"))
    return found, unseen


def _spaces(pool: census.Pool, pools: Iterable[Where], unseen: List[Place]
            ) -> Iterator[Tuple[str, str]]:
    """The pools, and where that was asked for their namespaces."""
    for name, namespace in pools:
        spaces = [namespace or ""]
        if namespace is None:
            with _seen(unseen, POOL, f"namespaces of {name}"), \
                    pool.elsewhere(name) as there:
                spaces += there.namespaces()
        for space in spaces:
            yield name, space


@contextlib.contextmanager
def _seen(unseen: List[Place], place: str, name: str) -> Iterator[None]:
    """Let what cannot be asked for be a place."""
    try:
        yield
    except exception.ImageNotFound:
        # It was removed meanwhile.
        pass
    except exception.ImageError as error:
        unseen.append(Place(place, name, f"{NOT_VISIBLE}: {error.msg}"))


# One image


def _look(pool: census.Pool, entry: census.Entry, sought: same_key.Sought
          ) -> Looked:
    """Open an image by its id, and look at all that it is and was."""
    looked = Looked(entry, [], [], set(), [], [])
    with _noted(looked), \
            pool.elsewhere(entry.pool, entry.namespace) as there, \
            there.open_entry(entry) as image:
        _look_at(image, sought, None, looked)
        with _noted(looked):
            for snapshot in image.all_snapshots():
                with _noted(looked), image.at(snapshot.id):
                    _look_at(image, sought, snapshot.name, looked)
                    with _noted(looked):
                        looked.clones.extend(image.all_clones())
        with _noted(looked):
            looked.hidden.extend(image.hidden())
    return looked


@contextlib.contextmanager
def _noted(looked: Looked) -> Iterator[None]:
    """Let what cannot be looked at keep nobody from the rest."""
    try:
        yield
    except exception.ImageNotFound:
        # It was removed meanwhile.
        pass
    except exception.ImageError as error:
        if error.msg not in looked.problems:
            looked.problems.append(error.msg)


def _look_at(image: census.Image, sought: same_key.Sought,
             snapshot: Optional[str], looked: Looked) -> None:
    _find(image, sought, snapshot, looked)
    with _noted(looked):
        parent, below = image.parent(), image.open_parent()
        if parent is not None and below is not None:
            with below:
                looked.parents.add(census.Entry(
                    *parent[:3], base.image_id(below)))


def _find(image: base.RBDImage, sought: same_key.Sought,
          snapshot: Optional[str], looked: Looked) -> None:
    with _noted(looked):
        finding = sought.find(image)
        if finding is not None:
            looked.found.append((snapshot, finding))


def _above(pool: census.Pool, start: Looked, sought: same_key.Sought
           ) -> Iterator[Looked]:
    """What the image is a clone of: each time a snapshot and its image."""
    with _noted(start), contextlib.ExitStack() as stack:
        there = stack.enter_context(pool.elsewhere(*start.entry[:2]))
        image: base.RBDImage = stack.enter_context(
            there.open_entry(start.entry))
        while True:
            parent, below = image.parent(), image.open_parent()
            if parent is None or below is None:
                break
            stack.enter_context(below)
            yield _look_above(pool, parent, below, sought)
            image = below


def _look_above(pool: census.Pool, parent: base.Parent, below: base.RBDImage,
                sought: same_key.Sought) -> Looked:
    """Look at one snapshot that is open already, and at its image."""
    number, _at, snapshot = below.identity().partition("@")
    entry = census.Entry(*parent[:3], number)
    looked = Looked(entry, [], [], set(), [], [])
    with _noted(looked), pool.elsewhere(*parent[:2]) as there, \
            there.open_entry(entry) as head:
        if entry.id in {found.id for found in there.trashed().entries}:
            looked = looked._replace(entry=entry._replace(in_trash=True))
        name = next((found.name for found in head.all_snapshots()
                     if str(found.id) == snapshot), parent.snapshot)
        _find(head, sought, None, looked)
        _find(below, sought, name, looked)
        looked.hidden.extend(head.hidden())
    return looked


# How they belong together


def _related(pool: census.Pool, start: census.Entry, sought: same_key.Sought,
             looked: Dict[_Key, Looked], entries: Dict[_Key, census.Entry]
             ) -> Iterator[Tuple[str, Looked]]:
    """Each image, with what it is to *start*.

    :param looked: those that were looked at; relatives that were not are now
    """
    def at(entry: census.Entry) -> Looked:
        # A parent's name does not tell that it is in the trash.
        entry = entries.get(entry.key, entry)
        if entry.key not in looked:
            looked[entry.key] = _look(pool, entry, sought)
        return looked[entry.key]

    roles = {start.key: IMAGE}
    # Parents first: what is one is no clone of them, whatever else it is.
    above = [at(start)]
    for found in above:
        for entry in sorted(found.parents):
            if entry.key not in roles:
                roles[entry.key] = PARENT
                above.append(at(entry))
    near = collections.deque(above)
    while near:
        found = near.popleft()
        for entry in (*sorted(found.parents), *found.clones):
            if entry.key not in roles:
                roles[entry.key] = CLONE
                near.append(at(entry))
    for key, role in roles.items():
        yield role, looked[key]
    for key, found in looked.items():
        if key not in roles:
            yield COPY, found


def _told(related: Iterable[Tuple[str, Looked]]) -> Iterator[Place]:
    """What there is to be said of each."""
    for role, looked in related:
        entry = looked.entry
        for snapshot, finding in looked.found:
            yield _place(SNAPSHOT if role == IMAGE and snapshot else role,
                         entry.named(snapshot), finding)
        for problem in looked.problems:
            yield Place(role, entry.named(), f"{NOT_VISIBLE}: {problem}")
        if looked.found or role == IMAGE:
            for kind, what in looked.hidden:
                yield Place(kind, entry.named(), f"{NOT_VISIBLE}: {what}")


def _place(place: str, name: str, finding: same_key.Finding) -> Place:
    """A place that was looked at.

    Former passphrases are the image's own only: that of a clone is another
    one, not a former one.
    """
    why = SAME_KEY
    if not finding.certain:
        why = PERHAPS
    elif finding.former and place == SNAPSHOT:
        why = FORMER
    return Place(place, name,
                 f"{why} ({finding.note})" if finding.note else why)
