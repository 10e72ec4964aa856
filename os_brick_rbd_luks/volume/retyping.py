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

"""Copy a volume into one of another encryption, within a Ceph cluster.

For a retype, Cinder makes a volume of the new type, copies what a guest sees,
one piece after the other through os-brick's handles, zeros included, and lets
the new one take the place. Only the copy is ours: all else goes as before,
and is undone by the manager when anything fails.

Source: ``cinder.volume.manager`` (``_migrate_volume_generic``,
``_copy_volume_data``), 21 to 29.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from cinder.volume import rpcapi
from cinder.volume import volume_types

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import moving

LOG = logging.getLogger(__name__)


def copy(driver: Any, context: Any, source: Any, destination: Any) -> bool:
    """Copy what a guest sees of *source*, where the driver can do that.

    :param source: Cinder's volume, which nobody has
    :param destination: likewise; a new one
    :returns: whether it has; else nothing was done
    :raises VolumeBackendAPIException: the destination is not complete
    """
    if not volume_types.volume_types_encryption_changed(
            context, source.volume_type_id, destination.volume_type_id):
        return False
    there = moving.place(driver, {
        "capabilities": rpcapi.VolumeAPI().get_capabilities(
            context, destination.service_topic_queue, False)})
    if there is None or there.fsid != driver._get_fsid():
        return False
    with driver._encrypted(source) as ours:
        return _copy_to(ours, there, destination)


@errors.translated()
def _copy_to(volume: encrypted.Volume, there: moving.Place, destination: Any
             ) -> bool:
    own, other = (
        volume.keys.passphrase(record.encryption_key_id)
        if record.encryption_key_id else None
        for record in (volume.record, destination))
    return _copy(volume, there, str(destination.name), own, other)


@threads.native
def _copy(volume: encrypted.Volume, there: moving.Place, name: str,
          own: Optional[bytes], other: Optional[bytes]) -> bool:
    """Copy to image *name*.

    :param own: what opens the volume, None of a plain one
    :param other: what opens the image, likewise
    """
    with moving.pool_at(there) as target:
        if target is None:
            return False
        with volume.pool() as pool:
            # Who had it just now may have been killed.
            pool.wait_alone(volume.name)
            with sources.opened(pool, volume.name, passphrase=own) as source:
                # What a guest could rely on is written: a backup that knows
                # nothing of holes writes zeros to them.
                transfer.existing(
                    target, name, source, other, force=True,
                    thick=(other is not None
                           and source.holes is zeros.Holes.ZEROS))
    LOG.info("%s: copied to image %s of pool %s", volume.name, name,
             there.pool)
    return True
