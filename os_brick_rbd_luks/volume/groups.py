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
"""Groups of encrypted volumes, where upstream's manager loses track of them.

Its generic way asks the driver for each volume. Then it makes all volumes of
a new group available, whatever failed, and removes the records of all volumes
of a deleted one, also of those that are in use. And nobody deletes their keys,
as Cinder's API does with a volume that is deleted by itself.

Source: ``cinder.volume.manager`` (``create_group_from_src``, ``delete_group``
and the ``_generic`` methods that they call), 21 to 29.
"""

from __future__ import annotations

import logging
from typing import Any, Callable, Dict, List, Optional, Tuple

from cinder import exception as cinder_exception
from cinder import utils

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.volume import volume_keys

LOG = logging.getLogger(__name__)

#: What the manager is to store of the group, and of each of its volumes.
Updates = Tuple[Dict[str, Any], List[Dict[str, Any]]]


def are_met(volumes: List[Any]) -> bool:
    """Whether a group has encrypted volumes: else it is upstream's."""
    return any(volume.encryption_key_id for volume in volumes)


def create(volumes: List[Any], sources: List[Any],
           make: Callable[[Any, Any], Optional[Dict[str, Any]]]) -> Updates:
    """Make each volume of a group of its source.

    The first one that fails is the group's failure: the manager notes then
    that all of them are in error, and they are deleted with their group.

    :param sources: in the order of *volumes*, as the manager gives them
    :param make: makes a volume of its source
    """
    updates = []
    for volume, source in zip(volumes, sources):
        update = make(volume, source) or {}
        updates.append({"status": "available", **update, "id": volume.id})
    return {"status": "available"}, updates


def delete(context: Any, group: Any, volumes: List[Any], driver: Any
           ) -> Updates:
    """Delete each volume of a group, and its key after its image.

    A volume that is in use stays available. One whose key nobody can delete
    now stays, so that its record tells of the key until the group is deleted
    again. In both cases the group is an error, and the manager keeps it. A
    key that whoever asks may not delete is left, and named in the log: asking
    again would not help.
    """
    updates = [{"id": volume.id, "status": _delete(context, volume, driver)}
               for volume in volumes]
    gone = all(update["status"] == "deleted" for update in updates)
    return {"status": group.status if gone else "error"}, updates


def _delete(context: Any, volume: Any, driver: Any) -> str:
    """Delete a volume.

    :returns: what its status is then
    """
    try:
        driver.remove_export(context, volume)
        driver.delete_volume(volume)
        # As the manager's own deletion of a volume does.
        utils.clean_volume_file_locks(volume.id, driver)
        if volume.encryption_key_id:
            _delete_key(volume)
    except cinder_exception.VolumeIsBusy as error:
        LOG.warning("%s: its group cannot be deleted: %s", volume.name, error)
        return "available"
    except Exception:  # a backend of castellan may raise anything
        LOG.exception("%s: cannot be deleted with its group", volume.name)
        return "error_deleting"
    return "deleted"


def _delete_key(volume: Any) -> None:
    try:
        volume_keys.Keys(volume.obj_context).delete(
            volume.encryption_key_id)
    except exception.KeyForbidden as error:
        volume_keys.warn_of_left(volume.encryption_key_id, volume, error)
