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

"""Padded bases: parents with room for the header of their clones.

librbd counts what a clone shares with its parent in bytes of the images, so
an encrypted clone of a plain parent loses the parent's last bytes: as many as
its header has more than the parent's. A padded base is a clone of the
parent's snapshot that is larger by these bytes, with a snapshot of its own.
Clones made from that lose nothing. It has no data, there is one for each
snapshot and padding, and it goes with its last clone.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import re
from typing import Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: Metadata on a base: its own id.
NOTE = "rbd_luks.base"
SNAPSHOT = "base"

#: Of their names.
PREFIX = "rbd-luks-base."

_MIB = 1024 * 1024

#: What :func:`name_of` gives, with the padding in MiB.
_NAME = re.compile(re.escape(PREFIX) + r".+\.([0-9]+)M\.[0-9a-f]{12}",
                   re.DOTALL)

#: How many clients in a row may remove a base just before it is cloned.
_OTHERS = 16


def name_of(parent: base.Parent, identity: str, padding: int) -> str:
    """The name of the base of a snapshot.

    Names can be used again, and may have dots: the digest is what matters.

    :param identity: of the snapshot, as its image says it
    :param padding: bytes
    """
    place = "/".join((parent.pool, parent.namespace, identity))
    digest = hashlib.sha256(place.encode()).hexdigest()[:12]
    return (f"{PREFIX}{parent.image}.{parent.snapshot}."
            f"{padding // _MIB}M.{digest}")


def is_named_like_one(name: str) -> bool:
    """Whether an image may be a base, by its name alone.

    Whose it is says the image, see :func:`remove_unused`.
    """
    return _NAME.fullmatch(name) is not None


def of(store: base.Pool, parent: base.Parent, padding: int) -> base.Parent:
    """The snapshot that the base of a snapshot has, if it is there.

    :raises ImageNotFound: there is no snapshot *parent*
    """
    return _look(store, parent, padding)[0]


def _look(store: base.Pool, parent: base.Parent, padding: int
          ) -> Tuple[base.Parent, int]:
    """The snapshot of a base, and its size in bytes."""
    with store.open_snapshot(parent) as image:
        name = name_of(parent, image.identity(), padding)
        return store.parent(name, SNAPSHOT), image.size() + padding


def clone(store: base.Pool, parent: base.Parent, padding: int, name: str
          ) -> base.RBDImage:
    """Clone the base of a snapshot, which is made if it is not there.

    :param padding: bytes
    :raises ImageExists: there is an image *name*
    :raises ImageNotFound: there is no snapshot *parent*
    """
    others = 0
    while True:
        try:
            return store.clone(provide(store, parent, padding), name)
        except exception.ImageNotFound as error:
            # Another client has removed the base, with its last clone.
            LOG.debug("%s: %s", parent, error)
            others += 1
            if others > _OTHERS:
                raise


def provide(store: base.Pool, parent: base.Parent,
            padding: int) -> base.Parent:
    """The snapshot of a base, made if it is not there.

    One that a killed run left half-made is completed.

    :param store: where the base is made: that of the clones
    :param padding: bytes
    """
    base_of, size = _look(store, parent, padding)
    name = base_of.image
    store.made.pop(name, None)
    try:
        try:
            image = store.clone(parent, name)
            LOG.info("%s: padded base made of %s", image.name, parent)
        except exception.ImageExists:
            image = store.open(name)
        with image:
            _complete(image, size)
    except BaseException:
        if name in store.made and not _quietly_released(store, base_of):
            # Not by partial.discard: another client may be completing it.
            base.remove_quietly(store, name)
        raise
    return base_of


def _complete(image: base.RBDImage, size: int) -> None:
    if SNAPSHOT in image.snapshots():
        return
    if image.size() != size:
        image.resize(size)
    image.set_note(NOTE, image.identity())
    # Another client may have been quicker.
    with contextlib.suppress(exception.ImageExists):
        image.create_snapshot(SNAPSHOT)


def _quietly_released(store: base.Pool, base_of: base.Parent) -> bool:
    with contextlib.suppress(exception.RBDLuksError):
        return release(store, base_of)
    return False


def below(store: base.Pool, parent: Optional[base.Parent]
          ) -> Optional[base.Parent]:
    """What a clone's *parent* is a base of; *parent* itself if it is none."""
    if parent is None or not _may_be(store, parent):
        return parent
    with store.open(parent.image, read_only=True) as image:
        return image.parent() if _is_noted(image) else parent


def _may_be(store: base.Pool, parent: base.Parent) -> bool:
    return parent == store.parent(parent.image, SNAPSHOT)


def _is_noted(image: base.RBDImage) -> bool:
    # A clone of a base has a copy of its note.
    return image.note(NOTE) == image.identity()


def release_unused(store: base.Pool, image: base.RBDImage, snapshot: str
                   ) -> None:
    """Remove the bases of a snapshot that have no clone.

    Also such as a killed run left half-made.

    :param store: where they are
    :param image: that the snapshot is of
    """
    for found in image.clones(snapshot):
        if (found[:2] == store.parent(found.image, SNAPSHOT)[:2]
                and found.image.startswith(PREFIX)):
            remove_unused(store, found.image)


def remove_unused(store: base.Pool, name: str) -> None:
    """Remove a base that has no clone, however far it was made.

    An image that is no base, whatever it is called, stays.
    """
    # Removing is refused if it has snapshots, so that it is of use.
    with contextlib.suppress(exception.ImageNotFound, exception.ImageLocked):
        if not (store.makers(name)
                or release(store, store.parent(name, SNAPSHOT))
                or not is_one(store, name)):
            store.remove(name)


def is_one(store: base.Pool, name: str) -> bool:
    """Whether an image is a base, also a half-made one without its note.

    That is a clone of the snapshot which its name is made of.

    :raises ImageNotFound: it, or what it is a clone of, is not there
    """
    named = _NAME.fullmatch(name)
    if named is None:
        return False
    with store.open(name, read_only=True) as image:
        if _is_noted(image):
            return True
        parent = image.parent()
    if parent is None:
        return False
    with store.open_snapshot(parent) as snapshot:
        return name == name_of(parent, snapshot.identity(),
                               int(named.group(1)) * _MIB)


def release(store: base.Pool, parent: Optional[base.Parent]) -> bool:
    """Remove a base that has no clone any more.

    :param parent: of a clone that was removed or flattened
    :returns: whether it was one, and had none
    """
    if parent is None or not _may_be(store, parent):
        return False
    try:
        with store.open(parent.image) as image:
            if (not _is_noted(image) or SNAPSHOT not in image.snapshots()
                    or image.children(SNAPSHOT)):
                return False
            image.remove_snapshot(SNAPSHOT)
        store.remove(parent.image)
    except (exception.ImageNotFound, exception.ImageLocked) as error:
        # Somebody else removes it, or has just made a clone of it.
        LOG.debug("%s stays: %s", parent, error)
        return False
    LOG.info("%s: padded base removed", parent.image)
    return True
