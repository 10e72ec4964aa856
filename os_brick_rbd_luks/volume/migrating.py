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
"""The driver's part that has to do with other backends and other types.

Source: ``cinder.volume.drivers.rbd.RBDDriver`` (``retype``,
``migrate_volume``, ``update_migrated_volume``) and ``cinder.volume.driver``
(``before_volume_copy``, ``after_volume_copy``), 21 to 29.
"""

from __future__ import annotations

from typing import Any, Dict, Tuple

from cinder.volume.drivers import rbd

from os_brick_rbd_luks.volume import creation
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import migration
from os_brick_rbd_luks.volume import moving
from os_brick_rbd_luks.volume import own_headers


@errors.translating
class Migrating(rbd.RBDDriver):  # type: ignore[misc]
    """What the driver is made of."""

    _encrypted: Any

    def retype(self, context: Any, volume: Any, new_type: Any, diff: Any,
               host: Any) -> Tuple[bool, Any]:
        """As upstream's."""
        if volume.encryption_key_id:
            creation.refuse_journal(self, volume, new_type)
        retyped: Tuple[bool, Any] = super().retype(
            context, volume, new_type, diff, host)
        return retyped

    def migrate_volume(self, context: Any, volume: Any, host: Any
                       ) -> Tuple[bool, Any]:
        """As upstream's, with a copy in another pool that keeps holes."""
        there = (moving.place(self, host) if volume.encryption_key_id
                 else None)
        if not there or there.pool == self.configuration.rbd_pool:
            # Of an encrypted one, at most the name of the host changes.
            migrated: Tuple[bool, Any] = super().migrate_volume(
                context, volume, host)
            return migrated
        if there.fsid != self._get_fsid() or not moving.may_move(volume):
            return False, None
        with self._encrypted(volume) as ours:
            own_headers.make_independent(ours)
            return moving.move(ours, there, self.delete_volume), None

    def update_migrated_volume(self, ctxt: Any, volume: Any, new_volume: Any,
                               original_volume_status: str
                               ) -> Dict[str, Any]:
        """As upstream's; a new key is the volume's, as its data are."""
        update: Dict[str, Any] = super().update_migrated_volume(
            ctxt, volume, new_volume, original_volume_status)
        key_id = new_volume.encryption_key_id
        if key_id and key_id != volume.encryption_key_id:
            with self._encrypted(new_volume) as ours:
                ours.keys.register(key_id, volume)
                ours.keys.unregister(key_id, new_volume.id)
        return update

    def before_volume_copy(self, context: Any, src_vol: Any, dest_vol: Any,
                           remote: Any = None) -> None:
        """Make room for the header where an image is copied as it is."""
        super().before_volume_copy(context, src_vol, dest_vol, remote)
        if migration.is_raw_copy(context, src_vol, dest_vol):
            with self._encrypted(src_vol) as ours:
                own_headers.make_independent(ours)
                migration.make_room(ours, dest_vol, self, context, remote)

    def after_volume_copy(self, context: Any, src_vol: Any, dest_vol: Any,
                          remote: Any = None) -> None:
        """Copy what upstream's manager leaves out of an encrypted image."""
        super().after_volume_copy(context, src_vol, dest_vol, remote)
        if migration.is_raw_copy(context, src_vol, dest_vol):
            with self._encrypted(src_vol) as ours:
                migration.copy_rest(ours, dest_vol, self, context, remote)
