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

"""Cinder's backups of encrypted RBD volumes to Ceph, all of their data.

Upstream's driver backs up all of an RBD image, but restores and copies only
as many GiB as the volume has. An image has these and the data offset, so the
end of the guest's disk would be lost. What is not an encrypted RBD volume is
left to upstream's driver entirely.

The backups are upstream's: same images, names and records.

The path of this module is what upstream's RBD driver looks for in a backup's
``service`` (``RBDDriver.get_backup_device``): "backup.drivers.ceph".

Source: ``cinder.backup.drivers.ceph`` and ``cinder.backup.manager``, 21.3 to
29.0.
"""

from __future__ import annotations

from typing import Any, Callable, Optional

from cinder.backup.drivers import ceph
from cinder import exception as cinder_exception
from cinder import interface

from os_brick_rbd_luks.backup.drivers import parents
from os_brick_rbd_luks.backup.drivers import refusals
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.services import threads

#: What upstream's driver is called in ``backup_driver`` and in backups.
UPSTREAM = "cinder.backup.drivers.ceph.CephBackupDriver"

_Copy = Callable[[base.RBDImage, base.RBDImage, int],
                 Optional[base.Parent]]


@interface.backupdriver
class RBDLuksBackupDriver(ceph.CephBackupDriver):  # type: ignore[misc]
    """The Ceph backup driver, with all of the data of encrypted volumes.

    Cinder makes an object of it for every backup and every restore.
    """

    #: How an encrypted RBD volume is copied, None if it is not one.
    _copy: Optional[_Copy] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._know_upstreams_backups()

    @classmethod
    def _know_upstreams_backups(cls) -> None:
        """Let Cinder's manager see upstream's backups as ours.

        Its table of drivers that got another name is the only way: to delete
        and to restore, the names must be the same, or be in the table.
        """
        from cinder.backup import manager
        manager.MAPPING[UPSTREAM] = f"{cls.__module__}.{cls.__qualname__}"

    def backup(self, backup: Any, volume_file: Any, *args: Any,
               **kwargs: Any) -> Any:
        """As upstream's; the backup is one that its driver knows as well.

        :raises BackupOperationError: nobody could read what is restored
        """
        # Whoever goes back to upstream's driver keeps all backups, those that
        # failed as well: so not as late as with the other results.
        backup.service = UPSTREAM
        backup.save()
        if self._is_encrypted(volume_file, backup.encryption_key_id):
            self._copy = rawcopy.back_up_volume
            self._call(rawcopy.refuse_clone, brick.over_bare_handle(
                volume_file, f"volume {backup.volume_id}"))
        return super().backup(backup, volume_file, *args, **kwargs)

    def _is_encrypted(self, volume_file: Any, *key_ids: Optional[str]
                      ) -> bool:
        """Whether it is an RBD image that is encrypted by a key of Cinder.

        A header alone does not say so: a user may have made it inside of a
        plain volume.
        """
        return bool(self._file_is_rbd(volume_file) and any(key_ids))

    def _full_backup(self, backup: Any, src_volume: Any, src_name: str,
                     length: int) -> None:
        """As upstream's, which a backup of a snapshot comes to."""
        if self._copy:
            length = int(src_volume.rbd_image.size())
        super()._full_backup(backup, src_volume, src_name, length)

    def _restore_volume(self, backup: Any, volume: Any, volume_file: Any,
                        *args: Any, **kwargs: Any) -> None:
        """As upstream's, but what Cinder refuses afterwards is refused first.

        :raises BackupOperationError: nothing was written
        """
        # Backups that are older than Cinder 12 have no key id.
        if self._is_encrypted(volume_file, backup.encryption_key_id,
                              volume.encryption_key_id):
            self._copy = rawcopy.restore_volume
            refusals.refuse(self.context, backup, volume,
                            self._stored(backup))
        super()._restore_volume(backup, volume, volume_file, *args, **kwargs)

    def _stored(self, backup: Any) -> Optional[str]:
        """What Cinder keeps with a backup of its volume, None if nothing."""
        with ceph.rbd_driver.RADOSClient(self) as client:
            text: Optional[str] = ceph.VolumeMetadataBackup(
                client, backup.id).get()
        return text

    def _diff_restore_allowed(self, *args: Any, **kwargs: Any) -> Any:
        """As upstream's; never for an encrypted volume.

        The differential way ends with the wrong size, and writes zeros for
        holes. As a new encrypted volume has a header, it is never new enough
        for it anyway.
        """
        allowed, restore_point = super()._diff_restore_allowed(*args,
                                                               **kwargs)
        return allowed and not self._copy, restore_point

    def _transfer_data(self, src: Any, src_name: str, dest: Any,
                       dest_name: str, length: int, *args: Any,
                       **kwargs: Any) -> None:
        """Copy an image into another, see upstream's.

        :param length: bytes of the other one, to restore without the header
        """
        if self._copy:
            try:
                parent = self._call(
                    self._copy, brick.over_bare_handle(src, src_name),
                    brick.over_bare_handle(dest, dest_name), length)
                if parent:
                    parents.release(dest, parent, dest_name)
                return
            except exception.NotLuks as error:
                # Of a backup with which Cinder has kept nothing: the key is
                # the volume's, which would not be usable.
                raise cinder_exception.BackupOperationError(
                    f"{src_name} has no LUKS header: a backup of a volume "
                    f"without encryption cannot be restored to {dest_name}, "
                    "of which nothing was changed") from error
        super()._transfer_data(src, src_name, dest, dest_name, length, *args,
                               **kwargs)

    @staticmethod
    def _call(function: Callable[..., Any], *args: Any) -> Any:
        """Call ours; errors are those that upstream cleans up after."""
        try:
            return threads.call(function, *args)
        except exception.NotLuks:
            raise
        except exception.RBDLuksError as error:
            raise cinder_exception.BackupOperationError(
                str(error)) from error
