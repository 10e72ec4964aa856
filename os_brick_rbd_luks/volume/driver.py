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
import functools
import threading
from typing import Any, Dict, Iterator, List, Optional, Tuple

from cinder import exception as cinder_exception
from cinder import interface
from cinder import objects
from cinder.volume import configuration
from cinder.volume.drivers import rbd
from oslo_config import cfg

from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.volume import backup_failures
from os_brick_rbd_luks.volume import backup_sources
from os_brick_rbd_luks.volume import cloned
from os_brick_rbd_luks.volume import connection
from os_brick_rbd_luks.volume import creation
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import driver_opts
from os_brick_rbd_luks.volume import due
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import flatten_later
from os_brick_rbd_luks.volume import flow
from os_brick_rbd_luks.volume import groups
from os_brick_rbd_luks.volume import imaging
from os_brick_rbd_luks.volume import leftovers
from os_brick_rbd_luks.volume import managing
from os_brick_rbd_luks.volume import migrating
from os_brick_rbd_luks.volume import migration
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import restoring
from os_brick_rbd_luks.volume import reverting
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import scheduling
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import sizes
from os_brick_rbd_luks.volume import volume_keys

cfg.CONF.register_opts(driver_opts.DRIVER_OPTS,
                       group=configuration.SHARED_CONF_GROUP)


@interface.volumedriver
@errors.translating
class RBDLuksDriver(imaging.Imaging, managing.Managing,
                    migrating.Migrating):
    """RADOS block devices, natively encrypted where the type says so.

    Version history:

    .. code-block:: none

        1.0.0 - LUKS1 and LUKS2 in every operation of upstream's 1.3.0
    """

    VERSION = "1.0.0"

    #: Under which results of tests would be reported; nobody does so far.
    CI_WIKI_NAME = "OS_Brick_RBD_LUKS_CI"

    #: What two services may do at once with one image is ordered by locks of
    #: the cluster, not of a host.
    SUPPORTS_ACTIVE_ACTIVE = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Take what upstream's driver takes."""
        super().__init__(*args, **kwargs)
        self.configuration.append_config_values(driver_opts.DRIVER_OPTS)
        self._leftovers = leftovers.Leftovers()
        #: the volume that a thread works on just now
        self._present = threading.local()

    @classmethod
    def get_driver_options(cls) -> List[Any]:
        """Upstream's options, and ours."""
        return [*super().get_driver_options(), *driver_opts.DRIVER_OPTS]

    def do_setup(self, context: Any) -> None:
        """As upstream's; os-brick and the manager's flow learn of us."""
        super().do_setup(context)
        # Before the first header of a user's is opened.
        opts.options()
        plugin.register()
        flow.install()

    def check_for_setup_error(self) -> None:
        """As upstream's; from now on, what is left of volumes is removed."""
        super().check_for_setup_error()
        seconds = self.configuration.rbd_luks_leftovers_interval
        if seconds:
            self._leftovers.look_now_and_then(self, seconds)

    def _update_volume_stats(self) -> None:
        """As upstream's, with what only this driver can do."""
        super()._update_volume_stats()
        self._stats.update(scheduling.capabilities())

    @contextlib.contextmanager
    def _encrypted(self, volume: Any) -> Iterator[encrypted.Volume]:
        """*volume* as ours, with one connection up to the end of the call.

        One method of the driver may call another about the same volume.
        What upstream calls by an image's name alone finds it as well.

        :param volume: or a snapshot, whose clones may have to be flattened
        """
        before = getattr(self._present, "volume", None)
        if before is not None and before.record is volume:
            yield before
            return
        with session.Session(self) as opened:
            ours = encrypted.Volume(volume, opened)
            if isinstance(volume, objects.Volume):
                reverting.settle(ours)
            self._present.volume = ours
            try:
                yield ours
            finally:
                self._present.volume = before

    @staticmethod
    def _meets_encryption(volume: Any) -> bool:
        """Whether it is encrypted, or the temporary clone of one that is."""
        if volume.encryption_key_id:
            return True
        return not volume.use_quota and volume_keys.is_encrypted_type(volume)

    # Create

    def create_volume(self, volume: Any) -> Dict[str, Any]:
        """Create an empty volume."""
        if not volume.encryption_key_id:
            update: Dict[str, Any] = super().create_volume(volume)
            return update
        creation.refuse_journal(self, volume)
        with self._encrypted(volume) as ours:
            if migration.is_copied_as_it_is(volume):
                creation.create_blank(ours)
            else:
                creation.create(ours, functools.partial(
                    migration.original, self, volume))
            return self._set_up(ours)

    def _set_up(self, ours: encrypted.Volume) -> Dict[str, Any]:
        """Let a new image have what upstream gives to its own.

        :returns: what the manager is to store of the volume
        """
        with deletion.removed_on_error(ours):
            return self._setup_volume(ours.record) or {}

    def create_cloned_volume(self, volume: Any, src_vref: Any
                             ) -> Optional[Dict[str, Any]]:
        """Clone a volume; an encrypted clone gets a key of its own."""
        update: Optional[Dict[str, Any]]
        if not (volume.encryption_key_id or src_vref.encryption_key_id):
            update = super().create_cloned_volume(volume, src_vref)
            return update
        with self._encrypted(volume) as ours:
            reverting.settle(ours.beside(src_vref))
            if (src_vref.encryption_key_id and own_headers.may_exist()
                    and own_headers.needs_keys(ours.session, src_vref.name)):
                own_headers.clone(ours, src_vref.name,
                                  self._would_flatten(volume, src_vref))
                update = self._set_up(ours)
            else:
                update = super().create_cloned_volume(volume, src_vref)
            return cloned.with_own_key(ours, src_vref, update)

    def _would_flatten(self, volume: Any, source: Any) -> bool:
        """Whether upstream would flatten a new clone of *source*."""
        with rbd.RADOSClient(self) as client:
            depth: int = self._get_clone_depth(client, source.name)
        return bool(volume.use_quota
                    and depth >= self.configuration.rbd_max_clone_depth)

    def create_volume_from_snapshot(self, volume: Any, snapshot: Any
                                    ) -> Dict[str, Any]:
        """Clone a snapshot, likewise."""
        update: Dict[str, Any]
        if not self._meets_encryption(volume):
            update = super().create_volume_from_snapshot(volume, snapshot)
            return update
        with self._encrypted(volume) as ours:
            update = super().create_volume_from_snapshot(volume, snapshot)
            return cloned.with_own_key(ours, snapshot, update) or {}

    def _resize(self, volume: Any, **kwargs: Any) -> None:
        """Nothing for an encrypted volume: its size is set later.

        Upstream's ``create_cloned_volume`` (by ``_extend_if_required``) and
        ``create_volume_from_snapshot`` (21 to 29) call it for a clone that
        is larger than its source, with a size that knows nothing of headers,
        or adds whole GiB to what the source's image has. Theirs is set by
        :func:`~os_brick_rbd_luks.volume.cloned.with_own_key`.
        """
        if not volume.encryption_key_id:
            super()._resize(volume, **kwargs)

    def extend_volume(self, volume: Any, new_size: Any) -> None:
        """Let the guest see *new_size* GiB, also while it is attached."""
        if not volume.encryption_key_id:
            super().extend_volume(volume, new_size)
            return
        with self._encrypted(volume) as ours:
            sizes.resize(ours, int(new_size) * encrypted.GIB)

    # Delete, snapshots

    def delete_volume(self, volume: Any) -> None:
        """Delete a volume, and what there was only for it."""
        if not self._meets_encryption(volume):
            super().delete_volume(volume)
            return
        with self._encrypted(volume) as ours:
            deletion.delete(ours, super().delete_volume,
                            self.configuration.rbd_luks_erase_on_delete)

    def create_snapshot(self, snapshot: Any) -> Any:
        """As upstream's, not in the middle of a change of the passphrase.

        Cinder says that a snapshot has the key that its volume has when it is
        complete.
        """
        if not snapshot.encryption_key_id:
            return super().create_snapshot(snapshot)
        with rotation.excluded(snapshot.volume_id):
            # What a killed revert has left would be the snapshot's header.
            with self._encrypted(snapshot.volume):
                pass
            return super().create_snapshot(snapshot)

    @classmethod
    def clean_volume_file_locks(cls, volume_id: str) -> None:
        """As upstream's, and ours with them."""
        super().clean_volume_file_locks(volume_id)
        rotation.remove_lock(volume_id)

    def delete_snapshot(self, snapshot: Any) -> None:
        """As upstream's, which may have to flatten clones of ours."""
        if not snapshot.encryption_key_id:
            super().delete_snapshot(snapshot)
            return
        with self._encrypted(snapshot):
            super().delete_snapshot(snapshot)

    def _flatten(self, pool: str, volume_name: str) -> None:
        """With its keys, if it is a clone that needs them.

        Upstream calls it with an image's name alone: in
        ``create_volume_from_snapshot``, if the backend's option
        ``rbd_flatten_volume_from_snapshot`` says so, and for the clones of
        what ``delete_volume`` and ``delete_snapshot`` remove
        (``_flatten_children``, which Cinder 21 has not).
        """
        present = getattr(self._present, "volume", None)
        ours = present and own_headers.needing_keys(volume_name, present)
        if ours:
            own_headers.flatten(ours)
        else:
            super()._flatten(pool, volume_name)

    def revert_to_snapshot(self, context: Any, volume: Any, snapshot: Any
                           ) -> None:
        """Revert the data; the volume's key opens it before and after."""
        upstream = super().revert_to_snapshot
        if not volume.encryption_key_id:
            upstream(context, volume, snapshot)
            return
        with self._encrypted(volume) as ours:
            reverting.revert(ours, snapshot.name, lambda: upstream(
                context, volume, snapshot))

    def _create_temp_volume_from_snapshot(
            self, context: Any, volume: Any, snapshot: Any,
            volume_options: Optional[Dict[str, Any]] = None,
            *args: Any, **kwargs: Any) -> Any:
        """As upstream's, but for what would overwrite a volume as it is.

        Upstream's ``get_backup_device`` calls it for a volume to read. The
        manager's ``_revert_to_snapshot_generic`` (21 to 29) calls it with
        options, for a volume to copy over another one, where
        :mod:`~os_brick_rbd_luks.volume.direct_copy` cannot: a header that
        the other's key does not open, and less data.
        """
        if volume_options and (volume.encryption_key_id
                               or snapshot.encryption_key_id):
            raise cinder_exception.InvalidVolume(
                reason=f"Volume {volume.id} cannot be overwritten with "
                       f"snapshot {snapshot.id}: one of them is encrypted, "
                       "and they are not in one Ceph cluster. Make a new "
                       "volume of the snapshot.")
        return super()._create_temp_volume_from_snapshot(
            context, volume, snapshot, volume_options, *args, **kwargs)

    # Groups

    def create_group_from_src(
            self, context: Any, group: Any, volumes: List[Any],
            group_snapshot: Any = None,
            snapshots: Optional[List[Any]] = None, source_group: Any = None,
            source_vols: Optional[List[Any]] = None) -> groups.Updates:
        """Make a group of another, or fail; a plain one is upstream's."""
        if groups.are_met(volumes):
            if snapshots:
                return groups.create(volumes, snapshots,
                                     self.create_volume_from_snapshot)
            if source_vols:
                return groups.create(volumes, source_vols,
                                     self.create_cloned_volume)
        made: groups.Updates = super().create_group_from_src(
            context, group, volumes, group_snapshot, snapshots, source_group,
            source_vols)
        return made

    def delete_group(self, context: Any, group: Any, volumes: List[Any]
                     ) -> groups.Updates:
        """Delete a group, its volumes and their keys, likewise."""
        if groups.are_met(volumes):
            return groups.delete(context, group, volumes, self)
        deleted: groups.Updates = super().delete_group(
            context, group, volumes)
        return deleted

    # Connections

    def initialize_connection(self, volume: Any, connector: Any
                              ) -> Dict[str, Any]:
        """As upstream's, with the mark of native encryption."""
        found: Dict[str, Any]
        restoring.refuse(volume)
        if not volume.encryption_key_id:
            found = super().initialize_connection(volume, connector)
            return found
        with self._encrypted(volume) as ours:
            restoring.make_plain(ours)
            ownership.rekey_if_noted(ours)
            due.rotate(self, ours)
            found = super().initialize_connection(volume, connector)
            connection.mark(ours, found)
        return found

    def accept_transfer(self, context: Any, volume: Any, new_user: str,
                        new_project: str) -> Any:
        """Note that the former owner knows the passphrase.

        And let the new one know no others.
        """
        if volume.encryption_key_id:
            with self._encrypted(volume) as ours:
                ownership.note(ours)
                flatten_later.begin(self, ours)
        return super().accept_transfer(context, volume, new_user, new_project)

    # Backup

    def get_backup_device(self, context: Any, backup: Any
                          ) -> Tuple[Any, bool]:
        """As upstream's, and complete: a backup is a copy as it is."""
        with backup_failures.ended(self, context, backup), session.Session(
                self) as opened:
            backup_sources.refuse_former_key(context, backup)
            backup_sources.settle(context, backup, opened)
            device, is_snapshot = super().get_backup_device(context, backup)
            if not is_snapshot:
                device = backup_sources.prepare(self, context, backup, device,
                                                opened)
            return device, is_snapshot
