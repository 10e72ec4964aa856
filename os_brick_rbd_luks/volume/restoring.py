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

Whatever backup driver writes it, connects to the volume before. Cinder looks
at what it keeps with the backup when all is written: it gives the volume the
backup's key, or none, and deletes the former one, which its snapshots need.

The backup drivers of this package read that before they write. Of others, only
the records of Cinder's database can say what they are about to do.

Source: ``cinder.backup.manager`` (``_run_restore``), ``cinder.backup.api``
(``restore``), ``cinder.backup.driver`` (``_restore_vol_base_meta``) and
``cinder.volume.flows.manager.create_volume`` (``_create_from_backup``), 21 to
29.
"""

from __future__ import annotations

from typing import Any, List

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks.volume import backup_sources
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import own_headers

#: What a volume is while a backup is written over it, and into a new one.
_WRITTEN = (fields.VolumeStatus.RESTORING_BACKUP, fields.VolumeStatus.CREATING)


def refuse(record: Any) -> None:
    """Refuse to connect for a restore that would spoil the volume.

    :param record: Cinder's volume, also one without a key
    :raises InvalidVolume: nothing was written
    """
    backups = _backups(record)
    for backup in backups:
        _refuse_other(backup, record)
    present = record.encryption_key_id
    if present and {backup.encryption_key_id for backup in backups} - {
            None, present} and objects.SnapshotList.get_all_for_volume(
                cinder_context.get_admin_context(), record.id):
        raise cinder_exception.InvalidVolume(
            reason=f"Volume {record.id} has snapshots that need its present "
                   "key, which Cinder deletes after a restore: delete them, "
                   "or restore to another volume. Nothing was written.")


def make_plain(volume: encrypted.Volume) -> None:
    """Flatten a clone that is about to be overwritten as it is.

    Of the restored header, librbd could not open the layers below. Our own
    drivers do it when all is written, for which no RPC waits.

    :raises VolumeBackendAPIException: nothing was written
    """
    if not all(map(_is_for_ours, _backups(volume.record))):
        own_headers.make_plain(volume)


def _backups(record: Any) -> List[Any]:
    """Those that are being restored to a volume."""
    if record.status not in _WRITTEN:
        return []
    return list(objects.BackupList.get_all(
        cinder_context.get_admin_context(), filters={
            "restore_volume_id": record.id,
            "status": fields.BackupStatus.RESTORING}))


def _is_for_ours(backup: Any) -> bool:
    """Whether a driver of this package restores it.

    Ours for Ceph leaves the name of Cinder's, which is not told from it.
    """
    service = backup.service or ""
    return (backup_sources.CEPH in service
            or service.startswith(backup_sources.OURS))


def _refuse_other(backup: Any, record: Any) -> None:
    source, ours = fleet.record_of(backup.volume_id), _is_for_ours(backup)
    # Of an encrypted volume, if it is from before Cinder 12: a driver of ours
    # can tell.
    can_tell = ours and (source is None or source.encryption_key_id)
    if (record.encryption_key_id and backup.encryption_key_id is None
            and not can_tell):
        raise cinder_exception.InvalidVolume(
            reason=f"Volume {record.id} is encrypted, and backup {backup.id} "
                   "is of a volume without encryption: Cinder would delete "
                   "the key after the restore. Restore to a volume without "
                   "encryption, and retype that. Nothing was written.")
