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

"""Volumes that a backup is about to overwrite.

Whatever backup driver writes it, connects to the volume before. Cinder gives
the volume the backup's key afterwards and deletes its former one, which its
snapshots need.

Source: ``cinder.backup.manager`` (``_run_restore``), ``cinder.backup.api``
(``restore``), 21 to 29.
"""

from __future__ import annotations

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks.volume import encrypted


def refuse_snapshots(volume: encrypted.Volume) -> None:
    """Refuse to connect for a restore that would take a key from snapshots.

    A backup without a key leaves the volume its own.

    :raises InvalidVolume: nothing was written
    """
    record = volume.record
    if record.status != fields.VolumeStatus.RESTORING_BACKUP:
        return
    admin = cinder_context.get_admin_context()
    backups = objects.BackupList.get_all(admin, filters={
        "restore_volume_id": record.id,
        "status": fields.BackupStatus.RESTORING})
    keys = {backup.encryption_key_id for backup in backups}
    if not keys - {None, record.encryption_key_id}:
        return
    if objects.SnapshotList.get_all_for_volume(admin, record.id):
        raise cinder_exception.InvalidVolume(
            reason=f"Volume {record.id} has snapshots that need its present "
                   "key, which Cinder deletes after a restore: delete them, "
                   "or restore to another volume. Nothing was written.")
