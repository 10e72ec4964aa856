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
"""Where the volume key of a volume is that only Cinder's records tell of.

Backups have the header of their time, in whatever store. Volumes that were
made of it, or it of them, may have the same volume key; those in this cluster
are found by their headers, and others cannot be looked at.

Nothing in Cinder says which images of Glance were made of a volume: its API
copies the key for each, and notes neither volume nor image.

Source: ``cinder.api.contrib.volume_actions`` (``_volume_upload_image``),
``cinder.volume.api`` (``copy_volume_to_image``), 21 to 29.
"""

from __future__ import annotations

from typing import Any, Iterator, List

from cinder import context as cinder_context
from cinder import objects

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.services import threads

#: What a place is to the volume, besides those of
#: :mod:`~os_brick_rbd_luks.layers.reachable`.
BACKUP = "backup"
VOLUME = "volume"


def look(pool: census.Pool, record: Any) -> List[reachable.Place]:
    """Places by the records of a volume, and of those that are its relatives.

    :param pool: of the volume's image
    """
    found = [*_backups(record, "")]
    for relative in _relatives(record):
        found.extend(_backups(
            relative, f"{reachable.PERHAPS}: of its relative, volume "
            f"{relative.id}; "))
        if not _is_here(pool, relative.name):
            found.append(reachable.Place(
                VOLUME, relative.id, f"{reachable.NOT_VISIBLE}: its relative, "
                f"on backend {relative.host}"))
    return found


def _backups(record: Any, prefix: str) -> Iterator[reachable.Place]:
    """Of a volume, in whatever status: a part of one may have the header."""
    for backup in objects.BackupList.get_all(
            cinder_context.get_admin_context(),
            filters={"volume_id": record.id}):
        base = (f", an increment of {backup.parent_id}" if backup.parent_id
                else "")
        yield reachable.Place(
            BACKUP, backup.id, f"{prefix}{reachable.SAME_KEY}, or that of its "
            f"time; key {backup.encryption_key_id} opens it ("
            f"{backup.status}{base})")


def _relatives(record: Any) -> List[Any]:
    """Volumes that share an origin with it, as far as records tell."""
    admin = cinder_context.get_admin_context()
    found, known = [record], {record.id}
    for volume in found:
        filters = [{"source_volid": volume.id}]
        snapshots = [snapshot.id for snapshot in
                     objects.SnapshotList.get_all_for_volume(
                         admin, volume.id)]
        filters += [{"snapshot_id": snapshot} for snapshot in snapshots]
        if volume.source_volid:
            filters.append({"id": volume.source_volid})
        if volume.snapshot_id:
            filters += [{"id": snapshot.volume_id} for snapshot in
                        objects.SnapshotList.get_all(
                            admin, filters={"id": volume.snapshot_id})]
        for one in filters:
            for relative in objects.VolumeList.get_all(admin, filters=one):
                if relative.id not in known:
                    known.add(relative.id)
                    found.append(relative)
    return found[1:]


@threads.native
def _is_here(pool: census.Pool, name: str) -> bool:
    """Whether this cluster has the image, whose header was looked at then."""
    try:
        pools = pool.cluster_pools()
    except exception.ImageError:
        # Who may not look there has a place for that already.
        return False
    for other in pools:
        try:
            with pool.elsewhere(other) as there:
                if base.has(there, name):
                    return True
        except exception.ImageError:
            # Likewise.
            continue
    return False
