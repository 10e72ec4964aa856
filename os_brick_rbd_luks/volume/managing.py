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
"""Taking images and snapshots over into Cinder: that part of the driver.

Source: ``cinder.volume.drivers.rbd.RBDDriver`` (``manage_existing*``,
``get_manageable_*``), 21 to 29.
"""

from __future__ import annotations

import functools
from typing import Any, List

from cinder import exception as cinder_exception
from cinder.volume.drivers import rbd

from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import manageable
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import sizes
from os_brick_rbd_luks.volume import volume_keys


@errors.translating
class Managing(rbd.RBDDriver):  # type: ignore[misc]
    """What the driver is made of."""

    _encrypted: Any

    def manage_existing_get_size(self, volume: Any, existing_ref: Any) -> int:
        """The size in GiB that a guest will see.

        :raises ManageExistingVolumeTypeMismatch: nobody gave the volume a
            key, as Cinder's API does not
        """
        size: int = super().manage_existing_get_size(volume, existing_ref)
        if not volume_keys.is_encrypted_type(volume):
            return size
        if not volume.encryption_key_id:
            raise cinder_exception.ManageExistingVolumeTypeMismatch(
                reason="an image cannot be managed with an encrypted type, "
                       "for Cinder has no key of it; create a volume and put "
                       "the image in its place, as the documentation says")
        with session.Session(self) as opened:
            return sizes.decrypted_gib(opened, existing_ref["source-name"])

    def unmanage(self, volume: Any) -> None:
        """As upstream's; its key may be deleted by whoever has it now."""
        super().unmanage(volume)
        if volume.encryption_key_id:
            with self._encrypted(volume) as ours:
                ours.keys.unregister(volume.encryption_key_id, volume.id)

    def manage_existing_snapshot_get_size(self, snapshot: Any,
                                          existing_ref: Any) -> int:
        """The size in GiB that a guest will see."""
        size: int = super().manage_existing_snapshot_get_size(
            snapshot, existing_ref)
        if not snapshot.encryption_key_id:
            return size
        with session.Session(self) as opened:
            return sizes.decrypted_gib(opened, snapshot.volume_name,
                                       _source_name(existing_ref))

    def manage_existing_snapshot(self, snapshot: Any, existing_ref: Any
                                 ) -> None:
        """As upstream's, of what the volume's key opens."""
        if snapshot.encryption_key_id:
            with self._encrypted(snapshot.volume) as ours:
                manageable.refuse_other_key(ours, _source_name(existing_ref))
        super().manage_existing_snapshot(snapshot, existing_ref)

    def get_manageable_volumes(
            self, cinder_volumes: List[Any], marker: Any, limit: int,
            offset: int, sort_keys: List[str], sort_dirs: List[str]
            ) -> manageable.Entries:
        """As upstream's, with decrypted sizes and without what is ours."""
        listed = functools.partial(super().get_manageable_volumes,
                                   cinder_volumes)
        with session.Session(self) as opened:
            return manageable.volumes(opened, listed, marker, limit, offset,
                                      sort_keys, sort_dirs)

    def get_manageable_snapshots(
            self, cinder_snapshots: List[Any], marker: Any, limit: int,
            offset: int, sort_keys: List[str], sort_dirs: List[str]
            ) -> manageable.Entries:
        """Likewise."""
        listed = functools.partial(super().get_manageable_snapshots,
                                   cinder_snapshots)
        with session.Session(self) as opened:
            return manageable.snapshots(opened, listed, marker, limit,
                                        offset, sort_keys, sort_dirs)


def _source_name(existing_ref: Any) -> str:
    """What upstream's driver takes out of a reference, or as it is."""
    if isinstance(existing_ref, dict):
        existing_ref = existing_ref["source-name"]
    return str(existing_ref)
