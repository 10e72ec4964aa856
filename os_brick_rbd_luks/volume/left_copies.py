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
"""Copies that deep rotations of attached volumes have left.

A run that is killed before Nova begins is put right by the next one, as long
as the volume's record says so. An administrator who resets its statuses takes
that away, and the copy is left: an image, and a record that looks like the
destination of a migration.
"""

from __future__ import annotations

import logging
from typing import Any, List, Optional

from cinder import context as cinder_context
from cinder import objects
from cinder.objects import fields
from oslo_utils import timeutils

from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import migration

LOG = logging.getLogger(__name__)


def source_of(record: Any, seconds: float) -> Optional[str]:
    """The id of the volume that a copy was made of which nobody will use.

    An administrator has reset that volume's statuses, or has deleted it, and
    the copy of a killed rotation is left.

    :param record: Cinder's volume, just read; that of the copy
    :param seconds: for which a run, or Nova, may be at it still
    :returns: None of any other volume
    """
    status = record.migration_status or ""
    if record.previous_status != deep.MARK or not status.startswith(
            migration.TARGET):
        return None
    source_id = status[len(migration.TARGET):]
    source = fleet.record_of(source_id)
    if source is not None and (
            source.migration_status not in fleet.NOT_MIGRATING):
        return None
    return source_id if _is_left(record, source, seconds) else None


def _is_left(new: Any, source: Any, seconds: float) -> bool:
    """Whether nothing uses a copy of a volume that does not migrate."""
    return bool(
        not new.volume_attachment and not fleet.is_attached(new)
        # Its image may have become the volume's.
        and (source is None or source.name_id != new.name_id)
        and new.status != fields.VolumeStatus.DELETING
        and timeutils.is_older_than(new.updated_at or new.created_at,
                                    seconds)
        and (source is None or source.updated_at is None
             or timeutils.is_older_than(source.updated_at, seconds)))


def of(record: Any) -> List[Any]:
    """Those that a deep rotation has made of a volume.

    Any other one is of Cinder's own migration.
    """
    return [new for new in objects.VolumeList.get_all(
        cinder_context.get_admin_context(),
        filters={"migration_status": migration.TARGET + record.id})
        if new.previous_status == deep.MARK]


def remove(driver: Any, record: Any, seconds: float) -> None:
    """Remove copies of a volume that does not migrate any more.

    Who calls this has the rotation's locks.

    :param driver: of the volume's backend
    :param record: Cinder's volume, just read
    :param seconds: see :func:`source_of`
    :raises RBDLuksError: an image cannot be removed, and has its record still
    """
    for new in of(record):
        if _is_left(new, record, seconds):
            LOG.info("volume %s: removing volume %s, a copy that a killed "
                     "rotation has left", record.id, new.id)
            driver.delete_volume(new)
            new.destroy()
