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

"""Restores that Cinder refuses, or regrets, when all is written.

What Cinder keeps with a backup of its volume says so before.

Source: ``cinder.backup.driver`` (``_restore_vol_base_meta``,
``_restore_vol_encryption_meta``), which compares the types when all is
written, and gives the volume the backup's key or none;
``cinder.backup.manager`` (``_run_restore``), which deletes the volume's former
key then.
"""

from __future__ import annotations

from typing import Any, Mapping, Optional

from cinder.backup import driver
from cinder import exception as cinder_exception
from cinder import objects
from oslo_serialization import jsonutils


def refuse(context: Any, backup: Any, volume: Any, text: Optional[str]
           ) -> None:
    """Refuse a volume that would not be usable with this backup.

    To be called if one of them is encrypted.

    :param context: of the request
    :param text: what is kept with the backup; where that is nothing, Cinder
        changes nothing of the volume, and nothing is refused
    :raises BackupOperationError: nothing was written
    """
    stored = _base(text)
    if stored is None:
        return
    key_id = stored.get("encryption_key_id")
    if key_id is None:
        raise _refused(
            backup, volume, "the backup is of a volume without "
            "encryption, and the volume has a key: restore to a volume "
            "without encryption, and retype that")
    refuse_type(backup, volume, text)
    if volume.encryption_key_id not in (None, key_id) and (
            objects.SnapshotList.get_all_for_volume(context, volume.id)):
        raise _refused(
            backup, volume, "the volume has snapshots that need its "
            "present key, which Cinder deletes after a restore: delete "
            "them, or restore to another volume")


def refuse_type(backup: Any, volume: Any, text: Optional[str]) -> None:
    """Refuse a volume of another type than that of an encrypted backup.

    :param text: see :func:`refuse`
    :raises BackupOperationError: nothing was written
    """
    stored = _base(text)
    if stored is None or stored.get("encryption_key_id") is None:
        return
    wanted, given = stored.get("volume_type_id"), volume.volume_type_id
    if given not in (None, wanted):
        raise _refused(
            backup, volume, f"the backup is of a volume of type {wanted},"
            f" and the volume's is {given}: restore to one of that type")


def _base(text: Optional[str]) -> Optional[Mapping[str, Any]]:
    """What is kept of the volume itself, None if nothing."""
    if not text:
        return None
    stored: Optional[Mapping[str, Any]] = jsonutils.loads(text).get(
        driver.BackupMetadataAPI.TYPE_TAG_VOL_BASE_META)
    return stored


def _refused(backup: Any, volume: Any, reason: str) -> Exception:
    error: Exception = cinder_exception.BackupOperationError(
        f"Backup {backup.id} cannot be restored to volume {volume.id}, of "
        f"which nothing was changed: {reason}.")
    return error
