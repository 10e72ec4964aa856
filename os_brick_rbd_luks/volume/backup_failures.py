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

"""A backup that cannot begin ends as one that fails later.

The backup service does not wait for the device: it is called back with it.
Upstream's own way to one hardly ever fails, so that nobody there calls back
with a failure: volume and backup would stay as they are for ever.

Source: ``cinder.backup.manager`` (``_start_backup``, ``continue_backup``),
21 to 29.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Iterator

from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields
from cinder.volume import volume_utils

LOG = logging.getLogger(__name__)

#: Characters of a backup's fail_reason that Cinder's database takes.
_REASON = 255


@contextlib.contextmanager
def ended(driver: Any, context: Any, backup: Any) -> Iterator[None]:
    """End *backup* if there is no device for it, with nothing left.

    Its status is ``error``, with the reason; that of its volume or snapshot
    what it was before.
    """
    try:
        yield
    except BaseException as error:
        for step, failure in (
                (_release, "its volume or snapshot keeps its status"),
                (_remove_temporary, "its temporary volume stays until the "
                                    "backup service starts again"),
                (_set_error, "it keeps its status")):
            try:
                step(driver, context, backup, error)
            except Exception as another:  # the database's or librbd's
                # The first one says more, and the other steps are to be done.
                LOG.warning("Backup %s: %s: %s", backup.id, failure, another)
        raise


def _release(_driver: Any, context: Any, backup: Any,
             _error: BaseException) -> None:
    if backup.snapshot_id:
        objects.Snapshot.get_by_id(
            context, backup.snapshot_id).conditional_update(
                {"status": fields.SnapshotStatus.AVAILABLE},
                {"status": fields.SnapshotStatus.BACKING_UP})
        return
    volume = objects.Volume.get_by_id(context, backup.volume_id)
    volume.conditional_update(
        {"status": volume.previous_status,
         "previous_status": "error_backing-up"},
        {"status": fields.VolumeStatus.BACKING_UP})


def _remove_temporary(driver: Any, context: Any, backup: Any,
                      _error: BaseException) -> None:
    if not backup.temp_volume_id:
        return
    with contextlib.suppress(cinder_exception.VolumeNotFound):
        temporary = objects.Volume.get_by_id(context, backup.temp_volume_id)
        driver.delete_volume(temporary)
        temporary.destroy()
    backup.temp_volume_id = None
    backup.save()


def _set_error(_driver: Any, _context: Any, backup: Any,
               error: BaseException) -> None:
    volume_utils.update_backup_error(
        backup, (str(error) or type(error).__name__)[:_REASON])
