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
"""Cinder's RBD driver with native encryption.

Only what meets encryption is here: all else, and every volume without a key,
is upstream's business.

Source: ``cinder.volume.drivers.rbd.RBDDriver``, 21 to 29.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

from cinder import exception as cinder_exception
from cinder import interface
from cinder.volume import configuration
from cinder.volume.drivers import rbd
from oslo_config import cfg

from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.volume import backup_sources
from os_brick_rbd_luks.volume import connection
from os_brick_rbd_luks.volume import creation
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import driver_opts
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import flow
from os_brick_rbd_luks.volume import glance_images
from os_brick_rbd_luks.volume import image_copy
from os_brick_rbd_luks.volume import migration
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import rekey
from os_brick_rbd_luks.volume import reverting
from os_brick_rbd_luks.volume import sizes
from os_brick_rbd_luks.volume import store
from os_brick_rbd_luks.volume import uploads
from os_brick_rbd_luks.volume import volume_keys

LOG = logging.getLogger(__name__)

cfg.CONF.register_opts(driver_opts.DRIVER_OPTS,
                       group=configuration.SHARED_CONF_GROUP)


@interface.volumedriver
@errors.translating
class RBDLuksDriver(rbd.RBDDriver):  # type: ignore[misc]
    """RADOS block devices, natively encrypted where the type says so."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what upstream's driver takes."""
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(driver_opts.DRIVER_OPTS)
        #: the volume that a thread makes or deletes just now
        self._present = threading.local()

    @classmethod
    def get_driver_options(cls) -> List[Any]:
        """Upstream's options, and ours."""
        return [*super().get_driver_options(), *driver_opts.DRIVER_OPTS]

    def do_setup(self, context: Any) -> None:
        """As upstream's; os-brick and the manager's flow learn of us."""
        super().do_setup(context)
        plugin.register()
        flow.install()

    def _backend(self) -> store.Backend:
        return store.Backend(self)

    @staticmethod
    def _keys(volume: Any) -> volume_keys.Keys:
        return volume_keys.Keys(volume.obj_context)

    @contextlib.contextmanager
    def _working_on(self, volume: Any) -> Iterator[None]:
        """Let what upstream calls by name alone know whose keys to use.

        A plain volume has none: upstream's way of treating it is right.
        """
        before = getattr(self._present, "volume", None)
        self._present.volume = (volume if self._meets_encryption(volume)
                                else None)
        try:
            yield
        finally:
            self._present.volume = before

    # Create

    def create_volume(self, volume: Any) -> Dict[str, Any]:
        """Create an empty volume."""
        if not volume.encryption_key_id:
            update: Dict[str, Any] = super().create_volume(volume)
            return update
        self._refuse_journal(volume)
        backend = self._backend()
        if migration.is_copied_as_it_is(volume):
            creation.create_blank(volume, backend)
        else:
            creation.create(volume, backend, self._keys(volume))
        with deletion.image_removed_on_error(backend, volume.name):
            return self._setup_volume(volume) or {}

    def _refuse_journal(self, volume: Any, volume_type: Any = None) -> None:
        """Refuse a type whose images librbd could not decrypt.

        :raises VolumeDriverException: LUKS2 with replication by journal
        """
        if not self._is_replicated_type(volume_type or volume.volume_type):
            return
        if volume_keys.options(volume).type == "luks2":
            raise cinder_exception.VolumeDriverException(
                message="Replication journals the image, and librbd cannot "
                        "decrypt an image with a journal: use a volume type "
                        "with provider luks, or without replication.")

    def create_cloned_volume(self, volume: Any, src_vref: Any
                             ) -> Optional[Dict[str, Any]]:
        """Clone a volume; an encrypted clone gets a key of its own."""
        update: Optional[Dict[str, Any]]
        if (src_vref.encryption_key_id and own_headers.may_exist()
                and own_headers.needs_keys(self._backend(), src_vref.name)):
            update = self._clone_layers(volume, src_vref)
        else:
            update = super().create_cloned_volume(volume, src_vref)
        return self._own_key(volume, src_vref, update)

    def _clone_layers(self, volume: Any, source: Any) -> Dict[str, Any]:
        """Clone what upstream's way would copy or flatten as it is."""
        with rbd.RADOSClient(self) as client:
            depth = self._get_clone_depth(client, source.name)
        flat = (volume.use_quota
                and depth >= self.configuration.rbd_max_clone_depth)
        backend = self._backend()
        own_headers.clone(volume, source, flat, backend, self._keys(source))
        with deletion.image_removed_on_error(backend, volume.name):
            return self._setup_volume(volume) or {}

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any
                                    ) -> Dict[str, Any]:
        """Clone a snapshot, likewise."""
        with self._working_on(volume):
            update: Dict[str, Any] = super().create_volume_from_snapshot(
                volume, snapshot)
        return self._own_key(volume, snapshot, update) or {}

    def _own_key(self, volume: Any, source: Any,
                 update: Optional[Dict[str, Any]]
                 ) -> Optional[Dict[str, Any]]:
        if not volume.encryption_key_id:
            # A temporary volume, too, of which a backup reads the bytes.
            return update
        backend = self._backend()
        with deletion.image_removed_on_error(backend, volume.name), \
                errors.translated():
            sizes.resize(backend, volume.name, sizes.of(volume))
            if volume.encryption_key_id != source.encryption_key_id:
                rekey.own_key(volume, backend, self._keys(volume))
        return {**(update or {}),
                "encryption_key_id": volume.encryption_key_id}

    def _extend_if_required(self, volume: Any, src_vref: Any) -> None:
        if not volume.encryption_key_id:
            super()._extend_if_required(volume, src_vref)

    def _calculate_new_size(self, size_diff: int, volume_name: str
                            ) -> Optional[int]:
        # Upstream's is for encrypted volumes, whose size is set later.
        return None

    def _resize(self, volume: Any, **kwargs: Any) -> None:
        if not volume.encryption_key_id:
            super()._resize(volume, **kwargs)

    def extend_volume(self, volume: Any, new_size: Any) -> None:
        """Let the guest see *new_size* GiB, also while it is attached."""
        if not volume.encryption_key_id:
            super().extend_volume(volume, new_size)
            return
        sizes.resize(self._backend(), volume.name, int(new_size) * sizes.GIB)

    # Images

    def create_encrypted_from_image(
            self, context: Any, volume: Any, location: Any,
            meta: Dict[str, Any], service: Any) -> Optional[Dict[str, Any]]:
        """Make an encrypted volume of a raw image without a file of it.

        Called by :mod:`~os_brick_rbd_luks.volume.flow`.

        :returns: None if that is not possible: then the image is downloaded
        """
        image = self._image(context, service, meta, location)
        if not image.is_raw or image.is_signed:
            return None
        foreign = bool(meta.get("cinder_encryption_key_id"))
        if (image.parents and not foreign and self._may_clone(volume)):
            backend = self._backend()
            self._refuse_journal(volume)
            image_copy.own_header(volume, image, backend, self._keys(volume))
            with deletion.image_removed_on_error(backend, volume.name):
                return self._setup_volume(volume) or {}
        update: Dict[str, Any] = {}
        if not foreign:
            update = self.create_volume(volume)
        self._copy_image(volume, image)
        return {**update, "encryption_key_id": volume.encryption_key_id}

    def _image(self, context: Any, service: Any, meta: Dict[str, Any],
               location: Any) -> glance_images.Image:
        return glance_images.Image(context, service, meta,
                                   glance_images.parents(self, meta, location))

    def _may_clone(self, volume: Any) -> bool:
        """Whether a volume may be a copy-on-write clone of an image."""
        return (self.configuration.rbd_luks_clone_images
                and image_copy.can_be_clone(volume_keys.options(volume)))

    def _copy_image(self, volume: Any, image: glance_images.Image) -> None:
        backend, keys = self._backend(), self._keys(volume)
        if not image.meta.get("cinder_encryption_key_id"):
            own_headers.make_plain(volume, backend, keys)
            image_copy.fill(volume, image, backend, keys)
            return
        is_new = image_copy.take(volume, image, backend, keys)
        with errors.translated():
            self._setup_volume(volume)
            if is_new:
                rekey.own_key(volume, backend, keys, in_place=True)

    def copy_image_to_encrypted_volume(
            self, context: Any, volume: Any, image_service: Any,
            image_id: str, disable_sparse: bool = False) -> None:
        """Encrypt an image into a volume that is there."""
        meta = image_service.show(context, image_id)
        self._copy_image(volume, self._image(
            context, image_service, meta,
            image_service.get_location(context, image_id)))

    def copy_image_to_volume(
            self, context: Any, volume: Any, image_service: Any,
            image_id: str, *args: Any, **kwargs: Any) -> None:
        """As upstream's; into an encrypted volume comes an encrypted image."""
        # What else there is depends on the release: Cinder 21 has nothing.
        if volume.encryption_key_id:
            self.copy_image_to_encrypted_volume(
                context, volume, image_service, image_id, *args, **kwargs)
        else:
            super().copy_image_to_volume(
                context, volume, image_service, image_id, *args, **kwargs)

    def copy_volume_to_image(self, context: Any, volume: Any,
                             image_service: Any, image_meta: Any) -> None:
        """Upload the volume, encrypted if it is: always as LUKS1."""
        if uploads.is_sent_as_luks1(volume, self._backend()):
            uploads.send_as_luks1(
                context, volume, image_service, image_meta["id"],
                self._backend(), self._keys(volume))
            return
        self._make_independent(volume)
        super().copy_volume_to_image(context, volume, image_service,
                                     image_meta)

    # Clones with a header of their own

    def _make_independent(self, volume: Any) -> None:
        if volume.encryption_key_id:
            own_headers.make_independent(volume, self._backend(),
                                         self._keys(volume))

    def _flatten(self, pool: str, volume_name: str) -> None:
        volume = self._volume_to_flatten(volume_name)
        if volume is None:
            super()._flatten(pool, volume_name)
        else:
            present = self._present.volume
            own_headers.do_flatten(volume, self._backend(), self._keys(volume),
                                   is_new=volume is present)

    def _volume_to_flatten(self, name: str) -> Any:
        """The volume of an image that upstream's way would spoil, or None."""
        present = getattr(self._present, "volume", None)
        if (present is None or not own_headers.may_exist()
                or not own_headers.needs_keys(self._backend(), name)):
            return None
        return own_headers.volume_of(name, present)

    # Delete, snapshots

    def delete_volume(self, volume: Any) -> None:
        """Delete a volume, and what there was only for it."""
        if not self._meets_encryption(volume):
            super().delete_volume(volume)
            return
        with self._working_on(volume):
            deletion.delete(
                volume, self._backend(), self._keys(volume),
                super().delete_volume,
                self.configuration.rbd_luks_erase_on_delete)

    @staticmethod
    def _meets_encryption(volume: Any) -> bool:
        """Whether it is encrypted, or the temporary clone of one that is."""
        if volume.encryption_key_id:
            return True
        return not volume.use_quota and volume_keys.is_encrypted_type(volume)

    def delete_snapshot(self, snapshot: Any) -> None:
        """As upstream's, which may have to flatten clones of ours."""
        if not snapshot.encryption_key_id:
            super().delete_snapshot(snapshot)
            return
        with self._working_on(snapshot):
            super().delete_snapshot(snapshot)

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any
                           ) -> None:
        """Revert the data; the volume's key opens it before and after."""
        def upstream() -> None:
            super(RBDLuksDriver, self).revert_to_snapshot(
                context, volume, snapshot)

        if not volume.encryption_key_id:
            upstream()
            return
        reverting.revert(volume, snapshot.name, self._backend(),
                         self._keys(volume), upstream)

    def _create_temp_volume_from_snapshot(
            self, context: Any, volume: Any, snapshot: Any,
            volume_options: Optional[Dict[str, Any]] = None,
            *args: Any, **kwargs: Any) -> Any:
        # With options it is for the manager to copy it over the volume as it
        # is: a header that the volume's key does not open, and less data.
        if volume_options and volume.encryption_key_id:
            raise cinder_exception.InvalidVolume(
                reason=f"Volume {volume.id} is encrypted: it cannot be "
                       "overwritten with a snapshot. Make a new volume of "
                       "the snapshot.")
        return super()._create_temp_volume_from_snapshot(
            context, volume, snapshot, volume_options, *args, **kwargs)

    # Connections

    def initialize_connection(self, volume: Any, connector: Any
                              ) -> Dict[str, Any]:
        """As upstream's, with the mark of native encryption."""
        if volume.encryption_key_id:
            ownership.rekey_if_noted(volume, self._backend(),
                                     self._keys(volume))
        found: Dict[str, Any] = super().initialize_connection(
            volume, connector)
        if volume.encryption_key_id:
            connection.mark(found, volume, self._backend())
        return found

    def accept_transfer(self, context: Any, volume: Any, new_user: str,
                        new_project: str) -> Any:
        """Note that the former owner knows the passphrase."""
        if volume["encryption_key_id"]:
            ownership.note(volume["name"], self._backend())
        return super().accept_transfer(context, volume, new_user, new_project)

    # Retype, migrate, backup, manage

    def retype(self, context: Any, volume: Any, new_type: Any, diff: Any,
               host: Any) -> Tuple[bool, Any]:
        """As upstream's."""
        if volume.encryption_key_id:
            self._refuse_journal(volume, new_type)
        retyped: Tuple[bool, Any] = super().retype(
            context, volume, new_type, diff, host)
        return retyped

    def migrate_volume(self, context: Any, volume: Any, host: Any
                       ) -> Tuple[bool, Any]:
        """As upstream's, which copies the image as it is."""
        self._make_independent(volume)
        migrated: Tuple[bool, Any] = super().migrate_volume(
            context, volume, host)
        return migrated

    def before_volume_copy(self, context: Any, src_vol: Any, dest_vol: Any,
                           remote: Any = None) -> None:
        """Make room for the header where an image is copied as it is."""
        super().before_volume_copy(context, src_vol, dest_vol, remote)
        if migration.is_raw_copy(context, src_vol, dest_vol):
            self._make_independent(src_vol)
            migration.make_room(self, context, src_vol, dest_vol, remote,
                                self._backend())

    def after_volume_copy(self, context: Any, src_vol: Any, dest_vol: Any,
                          remote: Any = None) -> None:
        """Copy what upstream's manager leaves out of an encrypted image."""
        super().after_volume_copy(context, src_vol, dest_vol, remote)
        if migration.is_raw_copy(context, src_vol, dest_vol):
            migration.copy_rest(self, context, src_vol, dest_vol, remote,
                                self._backend())

    def get_backup_device(self, context: Any, backup: Any
                          ) -> Tuple[Any, bool]:
        """As upstream's, and complete: a backup is a copy as it is."""
        device, is_snapshot = super().get_backup_device(context, backup)
        if not is_snapshot:
            backup_sources.prepare(context, backup, device, self._backend())
        return device, is_snapshot

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
        return sizes.decrypted_gib(self._backend(),
                                   existing_ref["source-name"])
