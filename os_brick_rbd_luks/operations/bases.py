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
import logging
from typing import Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: Metadata on a base: what it is a clone of.
NOTE = "rbd_luks.base_of"
SNAPSHOT = "base"

_MIB = 1024 * 1024


def name_of(parent: base.Parent, padding: int) -> str:
    """The name of the base of a snapshot.

    :param padding: bytes
    """
    where = [part for part in (parent.pool, parent.namespace) if part]
    return ".".join(["rbd-luks-base", *where, parent.image, parent.snapshot,
                     f"{padding // _MIB}M"])


def provide(store: base.CloneStore, parent: base.Parent,
            padding: int) -> base.Parent:
    """The snapshot of a base, made if it is not there.

    One that a killed run left half-made is completed.

    :param store: where the base is made: that of the clones
    :param padding: bytes
    """
    name = name_of(parent, padding)
    with store.open_snapshot(parent) as image:
        size = image.size() + padding
    try:
        image = store.clone(parent, name)
    except exception.ImageExists:
        image = store.open_layered(name)
    else:
        LOG.info("%s: padded base made of %s", image.name, parent)
    with image:
        if SNAPSHOT not in image.snapshots():
            if image.size() != size:
                image.resize(size)
            image.set_note(NOTE, str(parent))
            # Another client may have been quicker.
            with contextlib.suppress(exception.ImageExists):
                image.create_snapshot(SNAPSHOT)
    return store.parent(name, SNAPSHOT)


def release(store: base.CloneStore, parent: Optional[base.Parent]) -> bool:
    """Remove a base that has no clone any more.

    :param parent: of a clone that was removed or flattened
    :returns: whether it was one, and had none
    """
    if parent is None or parent.snapshot != SNAPSHOT or store.parent(
            parent.image, parent.snapshot) != parent:
        return False
    try:
        with store.open_layered(parent.image) as image:
            if image.note(NOTE) is None or image.children(SNAPSHOT):
                return False
            image.remove_snapshot(SNAPSHOT)
        store.remove(parent.image)
    except (exception.ImageNotFound, exception.ImageLocked) as error:
        # Somebody else removes it, or has just made a clone of it.
        LOG.debug("%s stays: %s", parent, error)
        return False
    LOG.info("%s: padded base removed", parent.image)
    return True
