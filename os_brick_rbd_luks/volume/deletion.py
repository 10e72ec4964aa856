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
"""Delete an encrypted volume: its image, its keys, and what it was made of.

Source: ``cinder.volume.drivers.rbd`` (``_delete_volume``), whose quick way
leaves the snapshot on the parent of a clone; ``cinder.volume.manager``
(``delete_volume``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import logging
from typing import Any, Callable, Iterator, List, Optional

from cinder import exception as cinder_exception

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import flatten_later
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import still_reachable

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Found:
    """What there is besides the image.

    :ivar cloned: whether a snapshot of it was taken for a clone
    :ivar flattened_by: number of the client that does so just now
    """

    cloned: bool = False
    flattened_by: Optional[int] = None
    identity: Optional[str] = None
    parent: Optional[base.Parent] = None
    pending_keys: List[str] = dataclasses.field(default_factory=list)


def delete(volume: encrypted.Volume, upstream: Callable[[Any], None],
           erase_first: bool) -> None:
    """Delete *volume* by upstream's way, and what that leaves.

    :param upstream: deletes the image of Cinder's volume that it is given
    :param erase_first: overwrite its keyslots before
    :raises VolumeIsBusy: as upstream, while its key still opens it
    :raises VolumeBackendAPIException: it is in use, and its key is gone, or
        may be. Keys that cannot be deleted are named in the log.
    """
    with errors.translated():
        _settle(volume)
        found = _look(volume)
        if found.cloned:
            _release_snapshots(volume)
        if found.flattened_by is not None:
            _end_flatten(volume, found.flattened_by)
        places: List[reachable.Place] = []
        try:
            if erase_first:
                places = _erase(volume)
            _delete_image(volume, upstream, found.identity)
        except cinder_exception.VolumeIsBusy as error:
            _refuse(volume, error)
        still_reachable.warn(volume, places)
        if found.identity is None:
            _remove_rest(volume)
        # At once, for nothing but the image has named them.
        _discard_keys(volume, found.pending_keys)
        _tidy(volume, found.parent)
        _remove_half_made(volume)


def _discard_keys(volume: encrypted.Volume, noted: List[str]) -> None:
    """Delete the keys that Cinder does not; whatever fails, the others."""
    record, keys = volume.record, volume.keys
    key_id = record.encryption_key_id
    for owned in noted:
        if owned != key_id and not fleet.others_with(owned, record):
            keys.discard(owned, record)
    if _key_is_left(record):
        LOG.info("%s: key %s goes with it", volume.name, key_id)
        keys.discard(key_id, record)


@threads.native
def _settle(volume: encrypted.Volume) -> None:
    """Find the image again that a killed deep rotation has renamed."""
    with volume.pool() as pool, contextlib.suppress(exception.ImageNotFound):
        settle(pool, volume.name)


@threads.native
def _look(volume: encrypted.Volume) -> _Found:
    try:
        with volume.image(read_only=True) as image:
            return _Found(
                any(name.endswith(clone_snapshot.SUFFIX)
                    for name in image.snapshots()),
                flatten_later.at_it(image), image.identity(),
                image.parent(), pending_keys.read(image))
    except exception.ImageNotFound:
        return _Found()


@threads.native
def _release_snapshots(volume: encrypted.Volume) -> None:
    """Remove the snapshots of clones that are gone without Cinder.

    For these, upstream would keep the image for ever.
    """
    try:
        with volume.pool() as pool:
            clone_snapshot.release_unused(pool, volume.name)
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", volume.name, error)


@threads.native
def _end_flatten(volume: encrypted.Volume, client: int) -> None:
    """End what would only keep the image from being removed."""
    try:
        with volume.pool() as pool:
            pool.evict(volume.name, only=client)
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", volume.name, error)


@threads.native
def _erase(volume: encrypted.Volume) -> List[reachable.Place]:
    """Overwrite the keyslots, unless clones or a user of it need them.

    Also those of a header that cannot be used: Cinder's API has deleted the
    key, so there is no way back, and nobody could repair it first.

    :returns: where its volume key can still be had from
    """
    sought = None
    try:
        with volume.image() as image:
            sought = still_reachable.known_by(image)
            try:
                erase.erase(image)
            except (exception.SnapshotsKeepHeader, exception.HeaderChanged):
                raise
            except (exception.NotLuks, exception.OperationRefused) as error:
                earlier = image.history()
                if earlier:
                    raise exception.SnapshotsKeepHeader(
                        snapshots=", ".join(earlier)) from error
                LOG.warning("%s; what is before its data is overwritten, and "
                            "it is deleted", error)
                erase.overwrite(image)
    except (exception.SnapshotsKeepHeader, exception.ImageNotFound) as error:
        LOG.debug("%s: not erased: %s", volume.name, error)
    except exception.ImageLocked as error:
        raise cinder_exception.VolumeIsBusy(str(error)) from error
    return still_reachable.look(volume, sought)


def _delete_image(volume: encrypted.Volume,
                  upstream: Callable[[Any], None],
                  identity: Optional[str]) -> None:
    try:
        upstream(volume.record)
    except cinder_exception.VolumeIsBusy:
        # A client that was killed counts for half a minute.
        if not _wait(volume, identity):
            raise
        upstream(volume.record)


@threads.native
def _remove_rest(volume: encrypted.Volume) -> None:
    """Complete a removal that was killed.

    librbd removes an image from its trash, where nobody finds it by its name
    but who removes it again.
    """
    with volume.pool() as pool, contextlib.suppress(exception.ImageNotFound):
        pool.remove(volume.name)


@threads.native
def _wait(volume: encrypted.Volume, identity: Optional[str]) -> bool:
    """Wait until nobody has the image open.

    :returns: whether there is no other one by now: who had it open may have
        been making that
    """
    try:
        with volume.pool() as pool:
            pool.wait_alone(volume.name)
    except (exception.ImageLocked, exception.ImageNotFound) as error:
        LOG.debug("%s: %s", volume.name, error)
    return _look(volume).identity in (identity, None)


def _refuse(volume: encrypted.Volume,
            error: cinder_exception.VolumeIsBusy) -> None:
    """Do not let Cinder offer a volume that no key opens any more.

    Its API deletes the key before the volume, and its manager makes a busy
    volume available again. A key that is there, whoever may have it, was not
    deleted.
    """
    why = "its key is deleted already"
    try:
        volume.passphrase()
    except exception.KeyNotFound:
        pass
    except exception.KeyForbidden:
        raise error from None
    except exception.PassphraseUnavailable as unknown:
        why = f"whether its key is left is not known ({unknown.reason})"
    else:
        raise error
    raise cinder_exception.VolumeBackendAPIException(
        data=f"Volume {volume.record.id} cannot be deleted while somebody "
             f"has it open, and {why}: delete it again when nobody has."
    ) from error


@threads.native
def _tidy(volume: encrypted.Volume, parent: Optional[base.Parent]) -> None:
    try:
        with volume.pool() as pool:
            flattening.release_parents(pool, parent, volume.name)
    except exception.RBDLuksError as error:
        # The volume is gone, and Cinder has to know that.
        LOG.warning("%s: deleted, but what it was made of is left: %s",
                    volume.name, error)


@threads.native
def _remove_half_made(volume: encrypted.Volume) -> None:
    try:
        with volume.pool() as pool:
            for name in (volume.name, replacing.NEW + volume.name,
                         kept_aside.PREFIX + volume.name):
                with contextlib.suppress(exception.ImageNotFound):
                    _remove_unused(pool, pool.partial_name(name), volume.name)
            if kept_aside.is_kept(pool, volume.name):
                pool.remove(kept_aside.PREFIX + volume.name)
    except exception.RBDLuksError as error:
        # The volume is gone, and Cinder has to know that.
        LOG.warning("%s: a part of this volume, which was never complete, is "
                    "left: %s", volume.name, error)


def _remove_unused(pool: base.Pool, name: str, volume: str) -> None:
    """Remove a half-made image, once nobody has it open.

    :raises ImageNotFound: there is none
    """
    identity = _identity(pool, name)
    # A service that was killed counts for half a minute.
    pool.wait_alone(name)
    if _identity(pool, name) != identity:
        # Somebody removed it, and makes it again.
        return
    LOG.info("%s: removing what is left of volume %s", name, volume)
    remove(pool, name, volume)


def _identity(pool: base.Pool, name: str) -> str:
    with pool.open(name, read_only=True) as image:
        return image.identity()


def _key_is_left(record: Any) -> bool:
    """Whether a volume has a key that neither Cinder's API nor others know.

    That is one of a retype: afterwards the old key belongs to the temporary
    volume, and when it fails, the new one.
    """
    if record.use_quota or not record.encryption_key_id:
        return False
    return not fleet.others_with(record.encryption_key_id, record)


@contextlib.contextmanager
def removed_on_error(volume: encrypted.Volume) -> Iterator[None]:
    """Remove a volume's new image, and what it was made of, on any error."""
    try:
        yield
    except BaseException:
        _undo(volume)
        raise


def remove(pool: base.Pool, name: str, was: Optional[str] = None) -> None:
    """Remove an image, and what there was only for it.

    :param was: the name that it had when it was made, if it has another
    :raises ImageNotFound: there is none
    """
    with pool.open(name, read_only=True) as image:
        parent = image.parent()
    pool.remove(name)
    flattening.release_parents(pool, parent, was or name)


def remove_former(pool: base.Pool, former: str, name: str) -> None:
    """Remove the image whose place that of a volume has taken.

    :param name: the volume's image, as the former one was called
    """
    remove(pool, former, name)


def settle(pool: base.Pool, name: str) -> bool:
    """Go on, or back, from where a deep rotation was killed.

    :param name: of the volume's image
    :returns: whether there was anything to do
    :raises ImageLocked: one is at it
    """
    return replacing.settle(pool, name, remove=functools.partial(
        remove_former, name=name))


@threads.native
def _undo(volume: encrypted.Volume) -> None:
    try:
        volume.session.reset()
        with volume.pool() as pool:
            remove(pool, volume.name)
    except exception.RBDLuksError as error:
        LOG.warning("%s: cannot remove the half-made image: %s", volume.name,
                    error)
