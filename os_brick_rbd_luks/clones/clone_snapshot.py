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

"""The snapshot that a clone of an image, not of a snapshot, is made of.

Named and handled as Cinder's RBD driver does it, so that either can remove
what the other made: ``CLONE.clone_snap`` on the source, protected, and gone
with the clone. The source may be in use: the snapshot is what a crash at that
moment would have left.

Clones of RBD's second format, which ours are, need no protected parent. But
Cinder's driver unprotects the snapshot when it deletes such a clone, and
fails where it is not protected, with the clone gone and the snapshot left.

Source: ``cinder/volume/drivers/rbd.py`` (``create_cloned_volume``,
``_get_clone_info``, ``_delete_clone_parent_refs``).
"""

from __future__ import annotations

import contextlib
import logging
from typing import Iterator, Optional

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: What follows the clone's name in that of the snapshot.
SUFFIX = ".clone_snap"

#: What Cinder's driver appends to the name of a volume that was deleted, and
#: whose image stays for the clones that such snapshots have.
KEPT = ".deleted"


@contextlib.contextmanager
def taken(source: base.Pool, image: str, name: str, *,
          store: Optional[base.Pool] = None, restart: bool = False
          ) -> Iterator[base.Parent]:
    """A snapshot of *image*, to make its clone *name* of.

    At the end it stays if it has a clone. It has none if that failed, or was
    flattened: then it is removed.

    :param source: where the image is
    :param store: where the clone will be, if it is elsewhere
    :param restart: remove one without a clone, as an interrupted run leaves
    :raises ImageExists: there is such a snapshot, of an earlier clone
    :raises HalfMade: there is one without a clone, and not *restart*
    :raises ImageNotFound: there is no such image
    """
    parent = source.parent(image, name + SUFFIX)
    ours = False
    try:
        with source.open_source(parent) as opened, \
                exception.about(opened.name):
            if parent.snapshot in opened.snapshots():
                _clear(opened, parent, store or source, restart)
            # As of here: a signal may come when the work is done already.
            ours = True
            try:
                opened.create_snapshot(parent.snapshot)
            except exception.ImageExists:
                ours = False
                raise
            opened.protect_snapshot(parent.snapshot)
        LOG.info("%s: snapshot taken", parent)
        yield parent
    finally:
        if ours:
            _release_quietly(source, parent, name)


def _clear(opened: base.RBDImage, parent: base.Parent, store: base.Pool,
           restart: bool) -> None:
    exists = exception.ImageExists(
        what=f"snapshot {parent}, made for a clone of that name,")
    if any(not found.image.startswith(bases.PREFIX)
           for found in opened.clones(parent.snapshot)):
        raise exists
    if not restart:
        raise exception.HalfMade(partial=f"snapshot {parent}")
    bases.release_unused(store, opened, parent.snapshot)
    if opened.children(parent.snapshot):
        raise exists
    LOG.info("%s: removing what an interrupted run left", parent)
    opened.remove_snapshot(parent.snapshot)


def release_unused(store: base.Pool, name: str) -> None:
    """Remove the snapshots that were taken for clones and have none any more.

    :param name: of the image that they are of, and that nobody is about to
        clone
    """
    with store.open(name) as image:
        for snapshot in image.snapshots():
            if snapshot.endswith(SUFFIX):
                bases.release_unused(store, image, snapshot)
                release(store, store.parent(name, snapshot),
                        snapshot[:-len(SUFFIX)])


def _release_quietly(source: base.Pool, parent: base.Parent,
                     name: str) -> None:
    """An error here would hide how the clone ended: made, or why not."""
    try:
        release(source, parent, name)
    except exception.RBDLuksError as error:
        LOG.warning("%s: cannot tidy up; if this snapshot has no clone, "
                    "remove it by hand: %s", parent, error)


def release(store: base.Pool, parent: Optional[base.Parent],
            name: str) -> bool:
    """Remove the snapshot that was taken for a clone and has none any more.

    :param parent: of the clone, in whatever pool; another snapshot than the
        one for this clone stays
    :param name: of the clone, which was removed or flattened
    :returns: whether it was removed
    """
    if parent is None or parent.snapshot != name + SUFFIX:
        return False
    with exception.about(str(parent)):
        try:
            with store.open_source(parent) as image:
                # Ceph would take an unprotected one away from its clones,
                # to be removed with the last of them.
                if image.children(parent.snapshot):
                    return False
                image.remove_snapshot(parent.snapshot)
        except (exception.ImageNotFound, exception.ImageLocked) as error:
            # Somebody else removes it, or has just made a clone of it.
            LOG.debug("%s stays: %s", parent, error)
            return False
    LOG.info("%s: snapshot removed", parent)
    return True
