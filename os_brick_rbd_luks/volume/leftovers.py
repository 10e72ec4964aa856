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

"""What nobody needs any more, and no request removes.

A killed service leaves images that it was making. A clone that is in the
trash keeps its padded base, and the snapshot that it was made of, until
somebody purges it: upstream's driver, an operator, or Ceph's manager.

An image is left if it has been so at two looks that are some time apart. For
another service may be about to open what it has just made.

A name alone is no proof: pools have images of operators, too. What is removed
is called just as a helper of a volume of Cinder's is, and shows itself that it
is one; what is kept of a deleted volume stays while Cinder has that volume.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from typing import Any, Callable, Dict, Iterator, List, Optional

from oslo_service import loopingcall

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import image_names
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)

#: In the place of an identity.
_HALF_REMOVED = "half removed"

#: Of our helpers: a padded base; what was to become a volume of Cinder's; what
#: takes the place of a volume, or had it; and a deleted volume with clones.
BASE, HALF_MADE, REPLACING, KEPT = "base", "half-made", "replacing", "kept"
#: And the header of one that is reverted.
HEADER = "header"

#: Removes an image of a pool, if nobody needs it.
_Remove = Callable[[rbd_pool.Pool, str], object]


@dataclasses.dataclass(frozen=True)
class _Trashed:
    """An image in the trash, and what it is a clone of."""

    name: str
    parent: Optional[base.Parent]


class Leftovers:
    """Those of a backend, as far as they are known to one service."""

    def __init__(self) -> None:
        """Know of none."""
        self._seen: Dict[str, str] = {}
        self._trashed: Dict[str, _Trashed] = {}

    def look_now_and_then(self, driver: Any, seconds: int) -> Any:
        """Do so in the background, for as long as the service lives.

        :returns: oslo.service's looping call
        """
        def look() -> None:
            try:
                with session.Session(driver) as here:
                    self.remove(here)
            # Whatever it is, this is no request of anybody's.
            except Exception as error:
                LOG.warning("what is left of volumes was not looked for: %s",
                            error)

        call = loopingcall.FixedIntervalLoopingCall(look)
        call.start(interval=seconds)
        return call

    def remove(self, here: session.Session) -> None:
        """Look once, and remove what is left since the look before.

        :raises ImageError: the cluster cannot be asked
        """
        # The database is asked in between, by this thread.
        self._remove(here, [name for name in _named(here)
                            if not is_needed(name)])

    @threads.native
    def _remove(self, here: session.Session, names: List[str]) -> None:
        with here.pool() as pool:
            found: Dict[str, str] = {}
            for name in names:
                with _one(name):
                    identity = _abandoned(pool, name)
                    if identity is None:
                        continue
                    found[name] = identity
                    if self._seen.get(name) == identity:
                        remove = (_remove_rest if identity == _HALF_REMOVED
                                  else _REMOVES[kind(name) or ""])
                        remove(pool, name)
            self._seen = found
            self._remove_of_purged(pool)

    def _remove_of_purged(self, pool: rbd_pool.Pool) -> None:
        there = pool.trash()
        for image_id, name in there.items():
            if image_id not in self._trashed:
                with _one(name):
                    self._trashed[image_id] = _Trashed(
                        name, pool.parent_in_trash(image_id))
        for image_id in self._trashed.keys() - there.keys():
            gone = self._trashed[image_id]
            with _one(gone.name):
                # Or at the next look, if Ceph cannot be asked now.
                with contextlib.suppress(exception.ImageNotFound):
                    flattening.release_parents(pool, gone.parent, gone.name)
                del self._trashed[image_id]


@contextlib.contextmanager
def _one(name: str) -> Iterator[None]:
    """Whatever there is about one image is no reason to leave the others."""
    try:
        yield
    except exception.ImageNotFound as error:
        LOG.debug("%s: %s", name, error)
    except exception.RBDLuksError as error:
        LOG.warning("%s: %s", name, error)


@threads.native
def _named(here: session.Session) -> List[str]:
    """Images that are named as helpers of ours."""
    with here.pool() as pool:
        return [name for name in pool.images() if kind(name)]


def kind(name: str) -> Optional[str]:
    """What an image is that is named as a helper of ours; None: it is none.

    What is to be no volume of Cinder's is for whoever makes it.
    """
    if name.startswith(bases.PREFIX):
        return BASE if bases.is_named_like_one(name) else None
    for_volume = kept_aside.volume_name(replacing.volume_name(name))
    if for_volume == name:
        return KEPT if image_names.volume_id(_former_name(name)) else None
    if image_names.volume_id(for_volume) is None:
        return None
    if partial.final_name(name) != name:
        return HALF_MADE
    return HEADER if kept_aside.volume_name(name) != name else REPLACING


def is_needed(name: str) -> bool:
    """Whether an image is no left-over, by what Cinder says of its volume.

    It has the volume of which the image says that it is deleted: somebody may
    have renamed its image, or copied it, to keep it. Or it reverts the volume
    just now. Asks the database, and no image.

    :param name: of an image that :func:`kind` knows
    """
    found = kind(name)
    if found not in (KEPT, HEADER):
        return False
    volume_id = image_names.volume_id(
        _former_name(name) if found == KEPT
        else kept_aside.volume_name(name))
    record = image_names.living(volume_id) if volume_id else None
    if found == HEADER:
        # It may be about to begin, and then nobody has anything open.
        return record is not None and record.status == "reverting"
    return record is not None


def _former_name(name: str) -> str:
    """What a volume was called that is kept for its clones."""
    return (name[:-len(clone_snapshot.KEPT)]
            if name.endswith(clone_snapshot.KEPT) else "")


def _abandoned(pool: rbd_pool.Pool, name: str) -> Optional[str]:
    """What no other image has, if nobody has this one open.

    One that is listed and not there is being removed; or who did that was
    killed.
    """
    try:
        with pool.open(name, read_only=True) as image:
            return None if image.watchers() else image.identity()
    except exception.ImageNotFound:
        return _HALF_REMOVED


def _remove_half_made(pool: rbd_pool.Pool, name: str) -> None:
    LOG.info("%s: removing what a service left that was killed", name)
    deletion.remove(pool, name, partial.final_name(name))


def _remove_rest(pool: rbd_pool.Pool, name: str) -> None:
    LOG.info("%s: completing its removal", name)
    pool.remove(name)


def _settle(pool: rbd_pool.Pool, name: str) -> None:
    """Go on, or back, with a volume that was to be encrypted anew."""
    volume = replacing.volume_name(name)
    LOG.info("%s: settling what a deep rotation left that was killed", volume)
    deletion.settle(pool, volume)


def _put_back(pool: rbd_pool.Pool, name: str) -> None:
    """Let a volume have its header back that a killed revert has kept."""
    try:
        kept_aside.settle(pool, kept_aside.volume_name(name))
    except exception.ImageNotFound:
        LOG.info("%s: removing it, for its volume is gone", name)
        pool.remove(name)


def _remove_kept(pool: rbd_pool.Pool, name: str) -> None:
    """Remove an image that upstream keeps for clones that are gone."""
    with pool.open(name, read_only=True) as image:
        if not header_io.is_encrypted(image):
            return
    clone_snapshot.release_unused(pool, name)
    with pool.open(name, read_only=True) as image:
        if image.history():
            return
    LOG.info("%s: removing it, for its last clone is gone", name)
    deletion.remove(pool, name, _former_name(name))


_REMOVES: Dict[str, _Remove] = {
    BASE: bases.remove_unused, HALF_MADE: _remove_half_made,
    REPLACING: _settle, KEPT: _remove_kept, HEADER: _put_back}
