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

"""Restore an encrypted RBD volume in chunks, with holes where it had them.

A backup in chunks has zeros for the holes of a volume. librbd would decrypt
these into noise, where a guest had zeros, and they would take space. No cipher
text of a sector is all zeros, so each sector that is, is made a hole of the
volume that is restored.

A volume that was a clone is none any more: librbd would not open what is below
it with the keys that it knows of the restored header.

That is done where the data is written: in the backup service, in the course
of a restore, which no RPC waits for. All that the volume's service is asked
between the last byte and the volume's being available are calls that time out
(``terminate_connection``, ``remove_export``).

Source: ``cinder.backup.chunkeddriver`` (``restore``) and
``cinder.backup.manager``, 21 to 29.
"""

from __future__ import annotations

from typing import Any, Optional, TYPE_CHECKING

from cinder import exception as cinder_exception
from cinder import objects

from os_brick_rbd_luks.backup.drivers import parents
from os_brick_rbd_luks.backup.drivers import refusals
from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks.copies import rawcopy
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.services import threads

if TYPE_CHECKING:
    _Base = Any
else:
    _Base = object


class HolesMixin(_Base):  # type: ignore[misc]
    """To stand before one of upstream's chunked drivers, the next base."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._know_upstreams_backups()

    @classmethod
    def _know_upstreams_backups(cls) -> None:
        """Let Cinder's manager see upstream's backups as ours.

        Not the other way round: what upstream's driver restores of ours has
        noise where there were holes. So ours keep their own name.
        """
        from cinder.backup import manager
        upstream = cls.__mro__[cls.__mro__.index(HolesMixin) + 1]
        manager.MAPPING[f"{upstream.__module__}.{upstream.__qualname__}"] = (
            f"{cls.__module__}.{cls.__qualname__}")

    def restore(self, backup: Any, volume_id: str, volume_file: Any,
                *args: Any, **kwargs: Any) -> Any:
        """As upstream's, with holes for the zeros of an encrypted volume.

        What Cinder refuses afterwards is refused first.

        :raises BackupOperationError: there was an error of the volume's, or
            nothing was written
        """
        volume = objects.Volume.get_by_id(self.context, volume_id)
        # Backups that are older than Cinder 12 have no key id.
        if (getattr(volume_file, "rbd_image", None) is None or not any((
                backup.encryption_key_id, volume.encryption_key_id))):
            return super().restore(backup, volume_id, volume_file, *args,
                                   **kwargs)
        self._refuse(backup, volume)
        target = Target(volume_file, volume.name)
        try:
            restored = super().restore(backup, volume_id, target, *args,
                                       **kwargs)
            target.keep_holes()
            target.make_independent()
        except exception.RBDLuksError as error:
            raise cinder_exception.BackupOperationError(
                str(error)) from error
        return restored

    def _refuse(self, backup: Any, volume: Any) -> None:
        """Refuse a volume that would not be usable with this backup.

        It may be an increment: Cinder restores all that it is based on, one
        after the other, each with what it keeps of it.
        """
        refusals.refuse(self.context, backup, volume, self._stored(backup))
        while backup.parent_id:
            backup = objects.Backup.get_by_id(self.context, backup.parent_id)
            refusals.refuse_type(backup, volume, self._stored(backup))

    def _stored(self, backup: Any) -> Optional[str]:
        """What Cinder keeps with a backup of its volume, None if nothing."""
        text: Optional[str] = self._read_metadata(backup).get("volume_meta")
        return text


class Target:
    """os-brick's handle of a volume as it is, where zeros make holes."""

    def __init__(self, handle: Any, name: str) -> None:
        """Take *handle*, which stays its owner's.

        :param name: of the image
        """
        self._handle = handle
        self._name = name
        self._image: base.RBDImage = brick.over_bare_handle(handle, name)
        self.flush = handle.flush
        self.fileno = handle.fileno
        self.seek = handle.seek
        self.tell = handle.tell

    def write(self, data: bytes) -> int:
        """Write; the number of bytes.

        :raises ImageTooSmall: they do not lie within the image
        """
        offset = int(self._handle.tell())
        threads.call(punching.write, self._image, offset, bytes(data))
        self._handle.seek(offset + len(data))
        return len(data)

    def keep_holes(self) -> None:
        """Let librbd find the holes, if it is what reads the volume."""
        threads.call(punching.keep, self._image)

    def make_independent(self) -> None:
        """Let it have no parent, of which nothing is left to be seen."""
        parent = threads.call(rawcopy.cut_off, self._image)
        if parent:
            parents.release(self._handle, parent, self._name)
