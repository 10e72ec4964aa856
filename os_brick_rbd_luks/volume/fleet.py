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
"""Which volumes a passphrase may be rotated of, and when.

Source: ``cinder.volume.api`` and ``cinder.backup.api``: what they set a
volume's status to, and with which conditions, 21 to 29.
"""

from __future__ import annotations

import dataclasses
from typing import (Any, Container, Dict, Iterable, Iterator, List, Optional,
                    Sequence)

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.volume import errors

#: Nobody works on a volume then. ``previous_status`` says nothing: it stays
#: what it was when that was over.
STEADY = (fields.VolumeStatus.AVAILABLE, fields.VolumeStatus.IN_USE)

#: A user is about to attach it.
BEING_ATTACHED = (fields.VolumeStatus.RESERVED,
                  fields.VolumeStatus.ATTACHING)

#: Volumes that are asked for at a time.
_PAGE = 200
#: How many snapshots a reason has the names of.
_NAMED = 5

#: Values of ``migration_status`` when none is under way, as Cinder's API has
#: them; ``deleting`` is of a copy that goes.
NOT_MIGRATING = (None, "none", "success", "error")


@dataclasses.dataclass(frozen=True)
class Which:
    """Volumes of a backend, encrypted or not.

    :ivar backend: its ``filters`` are what its volumes have in the database;
        its ``driver`` is connected when it is asked for
    :ivar ids: only these, if any are named
    :ivar project: only of this one
    :ivar type_id: only of this volume type
    """

    backend: Any
    ids: Sequence[str] = ()
    project: Optional[str] = None
    type_id: Optional[str] = None

    def records(self) -> Iterator[Any]:
        """Their records, one page after the other."""
        filters = {**self.backend.filters, **{
            name: value for name, value in (
                ("project_id", self.project),
                ("volume_type_id", self.type_id)) if value}}
        for one in ([{**filters, "id": volume_id} for volume_id in self.ids]
                    or [filters]):
            for page in pages(one):
                yield from page

    @property
    def is_whole(self) -> bool:
        """Whether these are all of the backend."""
        return not (self.ids or self.project or self.type_id)


def pages(filters: Dict[str, Any]) -> Iterator[List[Any]]:
    """All volumes that have these values in the database, by their ids.

    Each page is asked for when it is needed. What is made or deleted
    meanwhile may be in one, or not.
    """
    marker, last = None, ""
    while True:
        try:
            found = objects.VolumeList.get_all(
                cinder_context.get_admin_context(),
                filters=filters, marker=marker, limit=_PAGE,
                sort_keys=["id"], sort_dirs=["asc"])
        except cinder_exception.VolumeNotFound:
            # The database does not go on behind what was deleted meanwhile:
            # once more from the first, up to where we were.
            marker = None
            continue
        if not found:
            return
        marker = found[-1].id
        page = [record for record in found if record.id > last]
        if page:
            last = marker
            yield page
        if len(found) < _PAGE:
            # The last one, so that a volume by its id is asked for once.
            return


def require(ids: Iterable[str], found: Container[str],
            what: str = "encrypted volume") -> None:
    """Make sure that all volumes that somebody has named are there.

    :param what: they have to be
    :raises InvalidParameter: naming the first that is not
    """
    for volume_id in ids:
        if volume_id not in found:
            raise exception.InvalidParameter(
                name="volume", value=volume_id,
                reason=f"is no {what} of this host's backends, or none of "
                       "those that the other options select")


def record_of(volume_id: str) -> Any:
    """What the database says of a volume now; None where there is none."""
    found = objects.VolumeList.get_all(
        cinder_context.get_admin_context(), filters={"id": volume_id})
    return found[0] if found else None


def key_of(volume_id: str) -> Optional[str]:
    """The key that the database names; None where there is no such volume."""
    found = record_of(volume_id)
    key_id: Optional[str] = found.encryption_key_id if found else None
    return key_id


def others_with(key_id: Optional[str], record: Any) -> List[str]:
    """Ids of other volumes whose records name a key, as while one moves."""
    if not key_id:
        return []
    return [other.id for other in objects.VolumeList.get_all(
        cinder_context.get_admin_context(),
        filters={"encryption_key_id": key_id}) if other.id != record.id]


def is_attached(record: Any) -> bool:
    """Whether somebody has it, whatever its status.

    A failover, or who resets a status, leaves attachments as they are.
    """
    return bool(record.attach_status == fields.VolumeAttachStatus.ATTACHED)


def obstacle(record: Any, with_snapshots: bool = False,
             statuses: Container[str] = STEADY, instead: str = ""
             ) -> Optional[str]:
    """What speaks against work on a volume's passphrases; None if nothing.

    :param record: Cinder's, just read
    :param with_snapshots: whether it may have snapshots, with the headers of
        their time
    :param statuses: in which it is free
    :param instead: what can be done about snapshots but to delete them
    """
    if not record.encryption_key_id:
        return "it is not encrypted"
    if not record.use_quota:
        return "it is a temporary volume of Cinder's"
    if record.status not in statuses:
        return (f"its status is {record.status}, so that something else "
                "works on it, or has failed")
    if record.migration_status not in NOT_MIGRATING:
        return f"it is being migrated ({record.migration_status})"
    return _of_others(record, with_snapshots, instead)


def _of_others(record: Any, with_snapshots: bool, instead: str
               ) -> Optional[str]:
    """What is made of it just now, or was.

    Neither changes its status. Cinder's API copies the key for a clone when
    it is asked for, and the image is cloned later; a snapshot gets the key
    that the volume has when it is complete.
    """
    admin = cinder_context.get_admin_context()
    clones = objects.VolumeList.get_all(admin, filters={
        "source_volid": record.id, "status": fields.VolumeStatus.CREATING})
    if clones:
        return f"volume {clones[0].id} is being made of it"
    snapshots = objects.SnapshotList.get_all_for_volume(admin, record.id)
    for snapshot in snapshots:
        if snapshot.status == fields.SnapshotStatus.CREATING:
            return f"snapshot {snapshot.id} is being made of it"
    if snapshots and not with_snapshots:
        named = errors.first([found.id for found in snapshots], _NAMED)
        return ("only its present key opens its snapshots; delete them"
                f"{instead}: {', '.join(named)}")
    return None
