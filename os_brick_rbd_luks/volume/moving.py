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

"""Move a detached volume's image to another pool of its cluster.

Upstream's way lets librbd copy the image, which writes zeros for the holes
within objects: noise, where a guest had zeros. It also copies what is
attached: a volume's status does not tell while it is retyped.

Source: ``cinder.volume.drivers.rbd`` (``migrate_volume``,
``_update_volume_stats``), 21 to 29.
"""

from __future__ import annotations

import contextlib
import functools
import logging
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

from cinder import exception as cinder_exception
from cinder.volume import rpcapi

from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)

#: Metadata of a copy: the id of its original, which no other image gets.
NOTE = "rbd_luks.copy_of"

_STATUSES = ("available", "retyping", "maintenance")


class Place(NamedTuple):
    """Where a backend keeps its images, as it tells the scheduler."""

    cluster: Optional[str]
    conf: Optional[str]
    fsid: str
    user: Optional[str]
    pool: str


class Original(NamedTuple):
    """An image in another pool, or in this one."""

    place: Place
    name: str


def place(driver: Any, host: Dict[str, Any]) -> Optional[Place]:
    """Where *host* keeps its images, None if that is not in RBD."""
    capabilities = host["capabilities"] or {}
    found = str(capabilities.get("location_info") or "").split(":")
    if (capabilities.get("storage_protocol") != driver.STORAGE_PROTOCOL
            or len(found) != len(Place._fields)):
        return None
    # An option that is not set is told as well.
    name, conf, fsid, user, pool = (
        None if text in ("", "None") else text for text in found)
    return Place(name, conf, fsid, user, pool) if fsid and pool else None


def find(driver: Any, context: Any, record: Any) -> Optional[Place]:
    """Where the image of Cinder's volume is, None if not in this cluster."""
    found = place(driver, {"capabilities": rpcapi.VolumeAPI(
        ).get_capabilities(context, record.service_topic_queue, False)})
    return found if found and found.fsid == driver._get_fsid() else None


def may_move(volume: Any) -> bool:
    """Whether nobody has it, so that its image can be copied by the driver."""
    return volume.status in _STATUSES and not volume.volume_attachment


def move(volume: encrypted.Volume, there: Place,
         delete: Callable[[Any], None]) -> bool:
    """Copy the image of *volume* to another pool, and delete it here.

    :param delete: the driver's way to do so
    :returns: whether this host's configuration names the same cluster; else
        nothing was done
    :raises VolumeBackendAPIException: there is no copy
    :raises VolumeMigrationFailed: there is one, and the original
    """
    if not _copy(volume, there):
        return False
    try:
        delete(volume.record)
    except cinder_exception.CinderException as error:
        # The copy stays, as upstream's does: better two than none.
        raise cinder_exception.VolumeMigrationFailed(
            reason=f"Volume {volume.record.id} was copied to pool "
                   f"{there.pool}, but cannot be deleted from pool "
                   f"{volume.session.configuration.rbd_pool}: {error}"
        ) from error
    return True


@errors.translated()
@threads.native
def _copy(volume: encrypted.Volume, there: Place) -> bool:
    with pool_at(there) as target:
        if target is None:
            return False
        with volume.image(read_only=True) as source:
            _copy_image(source, target, volume.name)
    LOG.info("%s: copied to pool %s", volume.name, there.pool)
    return True


@contextlib.contextmanager
def pool_at(there: Place) -> Iterator[Optional[rbd_pool.Pool]]:
    """Open a pool for a while.

    It is None where this host's configuration names another cluster.
    """
    with cluster.connect(there.conf, there.user, there.cluster) as other:
        if other.fsid() != there.fsid:
            yield None
            return
        with other.pool(there.pool) as pool:
            yield pool


def _copy_image(source: base.RBDImage, target: base.Pool, name: str) -> None:
    identity = source.identity()
    _remove_earlier(target, name, identity)
    try:
        with partial.new(target, name, functools.partial(
                target.copy, source), restart=True) as image:
            punching.punch(source, image)
            image.set_note(NOTE, identity)
    except (exception.ImageExists, exception.ImageLocked):
        # What is there is not what was to be made here.
        raise
    except exception.RBDLuksError:
        # librbd leaves a copy that failed; nobody would look for it there.
        try:
            partial.clear(target, name, restart=True)
        except exception.RBDLuksError as error:
            LOG.warning("%s: what was copied may still be in pool %s: %s",
                        name, target.name, error)
        raise


def _remove_earlier(pool: base.Pool, name: str, identity: str) -> None:
    """Remove a copy whose original could not be deleted then.

    Or the service was killed in between. The original is the volume still.
    """
    try:
        with pool.open(name, read_only=True) as image:
            if image.note(NOTE) != identity:
                return
    except exception.ImageNotFound:
        return
    LOG.info("%s: removing an earlier copy from pool %s", name, pool.name)
    pool.remove(name)
