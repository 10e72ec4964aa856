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
"""Encrypt an attached volume anew while its server runs: a deep rotation.

Nova moves the server to a new volume beside it, as in a migration: the guest
writes to both until all is copied. Cinder then gives the new image to the
volume, and deletes the former one. Both have the same key in the key manager,
so Nova needs no other secret than the one it has; the passphrase is rotated
afterwards, as that of any other volume.

1. the volume is ``retyping``, and its migration status says what is done:
   nothing else begins to work on it;
2. a new volume is noted, as the destination of a migration, and its image is
   made, with a volume key of its own;
3. the migration status becomes what Nova expects, and Nova is asked. From here
   on it is Nova's and Cinder's work, which goes on if the command is killed.

What a run leaves that is killed before, the next one removes.

Source: ``cinder.volume.manager`` (``_migrate_volume_generic``,
``migrate_volume_completion``), 21 to 29.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any, Callable, Iterable, List, Optional

from cinder.compute import nova
from cinder.db import api as db
from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields
from keystoneauth1 import exceptions as keystone_exceptions
from novaclient import exceptions as nova_exceptions
from oslo_config import cfg
from oslo_utils import timeutils

from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import left_copies
from os_brick_rbd_luks.volume import migration

LOG = logging.getLogger(__name__)

_MIGRATING = "migrating"
#: As in a retype of Cinder's, after which it has its previous one.
_BUSY = fields.VolumeStatus.RETYPING

#: What a new volume is not made of, though its record says so in the end.
_KNOWN_LATER = ("snapshot_id", "source_volid")

#: What the new volume has of its own, or Cinder sets in the end.
_NOT_COPIED = frozenset((
    "id", "_name_id", "name_id", "name", "status", "attach_status",
    "migration_status", "previous_status", "volume_type", "consistencygroup",
    "volume_attachment", "group", "snapshots", "use_quota", *_KNOWN_LATER))

#: Seconds between two looks at how far Nova is.
_PERIOD = 2.0
#: Seconds that Nova has: to begin with, and for each GiB.
_LIMIT, _LIMIT_OF_GIB = 3600.0, 300.0


def check(record: Any) -> str:
    """Refuse a volume that Nova would not move a server from.

    :param record: Cinder's volume, attached
    :returns: the server's id
    :raises NotRotated: saying why
    """
    servers = {found.instance_uuid for found in record.volume_attachment}
    if record.status != fields.VolumeStatus.IN_USE:
        raise exception.NotRotated(
            reason=f"it is attached, but its status is {record.status}: put "
                   "that right")
    if len(servers) != 1 or None in servers:
        raise exception.NotRotated(
            reason="Nova moves one server to another volume, and this one is "
                   "attached to several, or to a host: detach it, or rotate "
                   "its passphrase only")
    if len(record.volume_attachment) != 1:
        raise exception.NotRotated(
            reason="its server is being moved to another host: try again "
                   "when that has ended")
    if not cfg.CONF.nova.auth_type:
        raise exception.NotRotated(
            reason="it is attached, and the configuration has no user in "
                   "[nova] who may ask Nova to copy it: name one there, or "
                   "detach it")
    server: str = servers.pop()
    return server


def is_interrupted(record: Any, seconds: float) -> bool:
    """Whether a run was killed before Nova has begun.

    :param record: Cinder's volume, just read
    :param seconds: for which one may be at it still
    """
    return _unused(record) is not None and bool(
        timeutils.is_older_than(record.updated_at, seconds))


def is_former(record: Any) -> bool:
    """Whether it has the image that a migration has left, for good."""
    return bool(record.migration_status == "deleting"
                and record.status != fields.VolumeStatus.DELETING)


def _unused(record: Any) -> Optional[List[Any]]:
    """Copies of a volume that Nova has not begun to use.

    :returns: None where it has, or where nobody asked it to
    """
    if record.migration_status not in (deep.MARK, _MIGRATING):
        return None
    copies = left_copies.of(record)
    if record.migration_status == _MIGRATING and (
            not copies or any(new.volume_attachment for new in copies)):
        return None
    return copies


def start(driver: Any, volume: encrypted.Volume,
          stopped: threading.Event) -> Move:
    """Let Nova begin to move a server to a volume with another volume key.

    Who calls this has the rotation's locks.

    :param driver: of the volume's backend
    :param stopped: set when nobody wants to wait for it any more
    :raises NotRotated: Nova refuses, or something else works on it; all is as
        it was
    :raises SnapshotsKeepVolumeKey: Ceph has snapshots of it that Cinder does
        not know
    :raises PassphraseUnavailable: its key; all is as it was
    :raises RBDLuksError: the image; likewise
    :raises VolumeMigrationFailed: Cinder's: Nova did not say whether it moves
        the server
    """
    record, server = volume.record, check(volume.record)
    # Before anything is changed.
    volume.passphrase()
    if not record.conditional_update(
            {"status": _BUSY, "previous_status": record.status,
             "migration_status": deep.MARK},
            {"status": record.status,
             "migration_status": record.migration_status,
             "encryption_key_id": record.encryption_key_id,
             "host": record.host},
            filters=[~db.volume_has_snapshots_filter()]):
        raise exception.NotRotated(reason="something else began to work on it")
    copies: List[Any] = []
    try:
        record.refresh()
        _refuse_snapshots(volume)
        new = _destination(record)
        copies.append(new)
        update = driver.create_volume(new) or {}
        _carry(volume, new)
        new.update({**update, "status": fields.VolumeStatus.AVAILABLE,
                    **{name: record[name] for name in _KNOWN_LATER}})
        new.save()
        if not record.conditional_update({"migration_status": _MIGRATING},
                                         {"migration_status": deep.MARK}):
            raise exception.NotRotated(
                reason="something else began to work on it")
        record.refresh()
    except BaseException:
        _undo(driver, volume, copies)
        raise
    try:
        _ask(record, server, new)
    except exception.NotRotated:
        _undo(driver, volume, copies)
        raise
    return Move(record, server, new, stopped)


def _undo(driver: Any, volume: encrypted.Volume, copies: List[Any]) -> None:
    record = volume.record
    # The error may be the connection's.
    volume.session.reset()
    try:
        _remove(driver, record, copies)
    except Exception as error:  # of the database, too
        LOG.error("volume %s: it is said to be migrating until it is rotated "
                  "once more: %s", record.id, error)


def _destination(record: Any) -> Any:
    """Note a new volume, as that of a migration to the same place."""
    new = objects.Volume(
        context=record.obj_context, use_quota=False,
        status=fields.VolumeStatus.CREATING, previous_status=deep.MARK,
        attach_status=fields.VolumeAttachStatus.DETACHED,
        migration_status=migration.TARGET + record.id,
        **{name: record[name] for name in {*record.keys()} - _NOT_COPIED})
    new.create()
    return new


@threads.native
def _refuse_snapshots(volume: encrypted.Volume) -> None:
    with volume.image(read_only=True) as image:
        replacing.refuse_snapshots(image)


@threads.native
def _carry(volume: encrypted.Volume, new: Any) -> None:
    """Note on the new image what stays true of the volume."""
    with volume.image(read_only=True) as image, volume.beside(
            new).image() as copy:
        deep.carry(new.encryption_key_id, image, copy)


def _ask(record: Any, server: str, new: Any) -> None:
    """Ask Nova to move a server.

    :raises NotRotated: it refuses, and so does nothing
    :raises VolumeMigrationFailed: it has not said whether it does
    """
    try:
        nova.API().update_server_volume(record.obj_context, server,
                                        record.id, new.id)
    except (nova_exceptions.ClientException,
            keystone_exceptions.ClientException) as error:
        if getattr(error, "code", 0) in (400, 403, 404, 409):
            raise exception.NotRotated(
                reason=f"Nova does not move server {server} to another "
                       f"volume now: {error}") from error
        # The answer may be what has failed.
        new.refresh()
        if not new.volume_attachment:
            # It may begin yet: who comes next sees whether it has.
            raise cinder_exception.VolumeMigrationFailed(
                reason=f"Nova did not say whether it moves server {server} to "
                       f"a copy of volume {record.id} "
                       f"({type(error).__name__}): give the command again in "
                       "a minute") from error
        LOG.warning("volume %s: Nova copies it, although this was the "
                    "answer: %s", record.id, type(error).__name__)


class Move:
    """A server on its way, which nobody can stop any more."""

    def __init__(self, record: Any, server: str, new: Any,
                 stopped: threading.Event,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """Do nothing yet.

        :param record: Cinder's, of the volume
        :param new: that of the copy, which is the former image's in the end
        :param stopped: set when nobody wants to wait any more
        """
        self._record, self._server, self._new = record, server, new
        self._stopped, self._clock = stopped, clock

    def wait(self) -> None:
        """Wait until the volume has the new image, and the former is gone.

        With it goes its key, if no volume has that: so it is waited for.

        :raises NotRotated: nobody wants to wait any more
        :raises VolumeMigrationFailed: Cinder's: Nova could not move the
            server, or has not done so by now
        """
        record, server = self._record, self._server
        limit = _LIMIT + _LIMIT_OF_GIB * record.size
        deadline = self._clock() + limit
        while record.migration_status != "success":
            if record.migration_status == "error":
                raise cinder_exception.VolumeMigrationFailed(
                    reason=f"Nova could not move server {server} to a copy of "
                           f"volume {record.id}, which is as it was: "
                           f"'openstack server event list {server}' says why")
            if (not record.migration_status
                    and record.name_id != self._new.id):
                raise cinder_exception.VolumeMigrationFailed(
                    reason=f"somebody has reset the migration of volume "
                           f"{record.id}: look whether server {server} has "
                           f"it, or its copy, volume {self._new.id}")
            if self._clock() > deadline:
                raise cinder_exception.VolumeMigrationFailed(
                    reason=f"Nova has not moved server {server} to a copy of "
                           f"volume {record.id} within {limit / 3600:.0f} "
                           "hours, and may do so still: see the log of its "
                           "nova-compute")
            self._pause()
            record.refresh()
        _part(record, self._new.id)
        while self._is_being_deleted():
            if self._clock() > deadline:
                LOG.warning("volume %s: volume %s, which has its former "
                            "image, is still there", record.id, self._new.id)
                return
            self._pause()

    def _pause(self) -> None:
        """Wait for a while.

        :raises NotRotated: nobody wants to
        """
        if self._stopped.wait(_PERIOD):
            raise exception.NotRotated(
                reason="Nova goes on with the copy, and then it has another "
                       "volume key; --resume, or a rotation without --deep, "
                       "gives it another passphrase")

    def _is_being_deleted(self) -> bool:
        found = fleet.record_of(self._new.id)
        if found is None or found.status == fields.VolumeStatus.DELETING:
            return found is not None
        LOG.warning("volume %s: Cinder could not delete volume %s, which has "
                    "its former image; delete that one when this one is "
                    "rotated", self._record.id, self._new.id)
        return False


def _part(record: Any, former_id: str) -> None:
    """Let a key be only one's again, so that nobody deletes it with another.

    Cinder's API deletes a volume's key before the volume.
    """
    former = fleet.record_of(former_id)
    if former is not None:
        former.conditional_update(
            {"encryption_key_id": None},
            {"encryption_key_id": record.encryption_key_id,
             "use_quota": False})


def recover(driver: Any, record: Any, seconds: float) -> None:
    """Remove what a killed run has left, and let the volume be free again.

    Who calls this has the rotation's locks, so no run is making anything.

    :param record: Cinder's volume, just read
    :param seconds: for which Nova may yet begin to use a copy
    :raises NotRotated: that is so still
    """
    if record.migration_status in fleet.NOT_MIGRATING:
        # An administrator has reset it, and that may be all that he did.
        left_copies.remove(driver, record, seconds)
        return
    copies = _unused(record)
    if copies is None:
        return
    # Before that status, Nova was not asked.
    if (record.migration_status == _MIGRATING
            and not timeutils.is_older_than(record.updated_at, seconds)):
        raise exception.NotRotated(
            reason="another rotation has it, between its steps; try again in "
                   "a minute")
    _remove(driver, record, copies)


def _remove(driver: Any, record: Any, copies: Iterable[Any]) -> None:
    """Remove copies that nothing uses, and then let the volume be free."""
    for new in copies:
        driver.delete_volume(new)
        new.destroy()
    record.refresh()
    # While it migrates, its server's end does not change its status.
    status = (fields.VolumeStatus.IN_USE if record.volume_attachment
              else fields.VolumeStatus.AVAILABLE)
    record.conditional_update(
        {"migration_status": None, "status": status},
        {"migration_status": (deep.MARK, _MIGRATING, None), "status": _BUSY})
    record.refresh()
