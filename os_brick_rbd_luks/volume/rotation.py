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
"""The rotation of one volume's passphrase, in two steps.

*Begin* makes a new key, lets it open the volume, and the database name it. The
old one opens the volume as well until *settle*, some time later: who has read
the database just before (a server that is started, an image that is uploaded,
a clone that is made) has what opens it. Either step may be repeated by whoever
finds a volume in the middle.

Both are taken under two locks of Cinder's coordination: one that all rotations
take, and Cinder's own of who clones or deletes the volume. The database is
changed only if status and key are still what they were when that was decided.

Source: ``cinder.coordination``; ``cinder.volume.manager`` (``create_volume``,
``delete_volume``: the names of their locks), 21 to 29.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from typing import Any, Callable, Container, Iterator, Optional, Sequence

from cinder import context as cinder_context
from cinder import coordination
from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import deep_attached
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import rekey
from os_brick_rbd_luks.volume import reverting
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import settling

LOG = logging.getLogger(__name__)

#: Locks of a volume: ours, and that of Cinder's manager. Not its id alone,
#: which the manager takes while it attaches the volume.
LOCKS = ("{id}-rbd_luks_rotation", "{id}-delete_volume")


#: Seconds for which both passphrases of somebody else's rotation stay.
GRACE = 60.0


@dataclasses.dataclass(frozen=True)
class Begun:
    """A volume that two passphrases open."""

    volume_id: str
    old_key: str
    new_key: str


class Rotation:
    """How volumes are rotated, whichever they are."""

    def __init__(self, context: Callable[[Optional[str]], Any], *,
                 of_service: bool = False, with_snapshots: bool = False,
                 older_than: Optional[Callable[[int], bool]] = None,
                 statuses: Container[str] = fleet.STEADY,
                 anew: bool = False,
                 sessions: Optional[session.Sessions] = None) -> None:
        """Do nothing yet.

        :param context: gives that of a request by Cinder's user, in a project
            or in its own
        :param of_service: new keys belong to its own project, and the volume's
            user may read them
        :param with_snapshots: rotate volumes that have snapshots, too
        :param older_than: whether a key made at that time, in seconds since
            1970, is old enough; None: all are
        :param statuses: of volumes that are free
        :param anew: encrypt the data anew as well: of volumes without
            snapshots only
        :param sessions: connections that stay open; None: each step connects
        """
        self._context = context
        self._session = sessions.one if sessions else session.Session
        self._of_service = of_service
        self._with_snapshots = with_snapshots and not anew
        self._anew = anew
        self._older_than = older_than
        self._statuses = statuses
        #: set when nobody wants to wait for Nova any more
        self.stopped = threading.Event()

    def look(self, driver: Any, volume_id: str) -> None:
        """Do nothing but what :meth:`begin` does first.

        :raises NotRotated: it would not be rotated
        :raises PassphraseUnavailable: its key cannot be read
        """
        with self._volume(driver, volume_id, fleet.record_of(volume_id),
                          self._with_snapshots) as volume:
            self._check(volume)
            if self._anew:
                _refuse_busy(volume.record)
            volume.passphrase()

    def begin(self, driver: Any, volume_id: str,
              since: Optional[float] = None) -> Begun:
        """Let a new key open a volume, and the database name it.

        :param driver: of the volume's backend
        :param since: of a run that goes on, when its work began, in seconds
            since 1970: what was encrypted anew since then, is not once more
        :raises NotRotated: something speaks against it now
        :raises PassphraseUnavailable: the key manager
        :raises RBDLuksError: the image; its passphrases are as before, or a
            warning in the log says what is left
        """
        with self._due(driver, volume_id) as volume:
            if not self._anew or (
                    since is not None and deep.is_done(volume, since)):
                return self._begin(volume)
            _refuse_busy(volume.record)
            if not fleet.is_attached(volume.record):
                deep.encrypt_anew(driver, volume)
                return self._begin(volume)
            move = deep_attached.start(driver, volume, self.stopped)
        # Hours, in which Cinder itself lets nobody begin to work on it.
        move.wait()
        with self._due(driver, volume_id) as volume:
            return self._begin(volume)

    @contextlib.contextmanager
    def _due(self, driver: Any, volume_id: str
             ) -> Iterator[encrypted.Volume]:
        """A volume that is to be rotated, locked, and not in the middle.

        :raises NotRotated: something speaks against it now
        :raises PassphraseUnavailable: the key manager
        """
        with locked(volume_id), self._recovered(
                driver, volume_id, self._with_snapshots) as volume:
            if settling.noted(volume):
                if settling.is_new(volume, GRACE):
                    raise exception.NotRotated(
                        reason="another rotation has it, between its steps; "
                               "try again in a minute")
                # Of who was killed, or for a snapshot that may be gone.
                lost = settling.settle(volume).lost
                if lost:
                    LOG.warning("%s: keys %s are gone, and their passphrases "
                                "may open it still: see 'rbd-luks info', and "
                                "'key remove'", volume.name, ", ".join(lost))
            self._check(volume)
            yield volume

    def _begin(self, volume: encrypted.Volume) -> Begun:
        old = volume.record.encryption_key_id
        if self._anew and volume.keys.one_for_all:
            # There is no other passphrase to give.
            return Begun(volume.record.id, old, old)
        new = rekey.begin(
            volume, Swap(volume.record),
            volume.keys.grant if self._of_service else None)
        return Begun(volume.record.id, old, new)

    def settle(self, driver: Any, volume_id: str, former: str = ""
               ) -> settling.Settled:
        """Let only the key that the database names open a volume.

        :param former: the key that it had before; "" where nobody knows
        :raises NotRotated: somebody works with the volume who may need the
            other one: do it later
        :raises WrongPassphrase: the database's key does not open it
        :raises RBDLuksError: the key manager, or the image
        """
        with locked(volume_id), self._recovered(
                driver, volume_id, True) as volume:
            return settling.settle(volume, [former] if former else ())

    @contextlib.contextmanager
    def _recovered(self, driver: Any, volume_id: str, with_snapshots: bool
                   ) -> Iterator[encrypted.Volume]:
        """A volume, once what somebody left who was killed is put right.

        That is a deep rotation, or a revert.

        :raises NotRotated: see :meth:`_volume`
        """
        record = fleet.record_of(volume_id)
        if record and deep.is_interrupted(record):
            with self._session(driver) as opened:
                deep.recover(driver, encrypted.Volume(record, opened))
        elif record:
            deep_attached.recover(driver, record, GRACE)
        with self._volume(driver, volume_id, record,
                          with_snapshots) as volume:
            reverting.put_back(volume)
            yield volume

    @contextlib.contextmanager
    def _volume(self, driver: Any, volume_id: str, before: Any,
                with_snapshots: bool) -> Iterator[encrypted.Volume]:
        """A volume, as the database has it now.

        :param before: what the database said of it, to find its project by
        :raises NotRotated: something speaks against work on it
        :raises PassphraseUnavailable: nothing does, but nobody gives its keys
        """
        try:
            # First, for Keystone may take its time.
            context = self._context(
                before.project_id if before and not self._of_service
                else None)
        except exception.PassphraseUnavailable:
            self._free(cinder_context.get_admin_context(), volume_id,
                       with_snapshots)
            raise
        record = self._free(context, volume_id, with_snapshots)
        if before and record.project_id != before.project_id:
            raise exception.NotRotated(
                reason="it was transferred to another project just now; try "
                       "again")
        with self._session(driver) as opened:
            yield encrypted.Volume(
                record, opened, _readers(record) if self._of_service else ())

    def _free(self, context: Any, volume_id: str, with_snapshots: bool
              ) -> Any:
        """The record of a volume that nothing speaks against to work on.

        :raises NotRotated: something does
        """
        try:
            record = objects.Volume.get_by_id(context, volume_id)
        except cinder_exception.VolumeNotFound as error:
            raise exception.NotRotated(reason="it is deleted") from error
        reason = fleet.obstacle(
            record, with_snapshots, self._statuses,
            "" if self._anew else ", or see --with-snapshots")
        if reason:
            raise exception.NotRotated(reason=reason)
        return record

    def _check(self, volume: encrypted.Volume) -> None:
        """Refuse a free volume that is not to be rotated.

        :raises NotRotated: saying why
        :raises PassphraseUnavailable: the key manager
        """
        if volume.keys.one_for_all and not self._anew:
            raise exception.NotRotated(
                reason="the key manager has one key for all volumes")
        if self._older_than is None:
            return
        made = age(volume)
        if made is None:
            raise exception.NotRotated(
                reason="nobody knows how old its key is; name the volume "
                       "without --older-than")
        if not self._older_than(made):
            raise exception.NotRotated(reason="its key is not that old")


def _refuse_busy(record: Any) -> None:
    """Refuse a volume whose data cannot be encrypted anew as it is.

    :raises NotRotated: saying why
    """
    if fleet.is_attached(record):
        deep_attached.check(record)
    elif record.status != fields.VolumeStatus.AVAILABLE:
        raise exception.NotRotated(
            reason=f"its status is {record.status}, and it is not attached: "
                   "put that right")


def age(volume: encrypted.Volume) -> Optional[int]:
    """When the key of a volume was made, in seconds since 1970, if known.

    Cinder copies a key when it transfers a volume, and that of a restored
    backup: then it is when the copy was made.

    :raises PassphraseUnavailable: the key manager
    """
    return volume.keys.created(volume.record.encryption_key_id)


def _readers(record: Any) -> Sequence[str]:
    return [record.user_id] if record.user_id else []


class Swap:
    """The database's change, if nobody else has begun to work on the volume.

    A :class:`~os_brick_rbd_luks.volume.rekey.Stored`.
    """

    def __init__(self, record: Any) -> None:
        """Remember what the record says now."""
        self._record = record
        self._expected = {name: getattr(record, name) for name in (
            "status", "migration_status", "encryption_key_id", "host")}

    def save(self, key_id: str) -> None:
        """See :class:`~os_brick_rbd_luks.volume.rekey.Stored`.

        :raises NotRotated: the record is not as it was
        """
        if not self._record.conditional_update(
                {"encryption_key_id": key_id}, self._expected):
            raise exception.NotRotated(
                reason="something else began to work on it")

    def restore(self, key_id: str) -> None:
        """Only look, for others may have read it since.

        :raises NotRotated: it names another key: settling goes by
            that
        """
        self._record.refresh()
        if self._record.encryption_key_id != key_id:
            raise exception.NotRotated(
                reason="the database names another key by now")


@contextlib.contextmanager
def locked(volume_id: str) -> Iterator[None]:
    """Be the only one who rotates a volume; nobody clones or deletes it.

    :raises NotRotated: somebody does
    """
    with contextlib.ExitStack() as stack:
        for name in LOCKS:
            lock = coordination.COORDINATOR.get_lock(
                name.format(id=volume_id))
            if not lock.acquire(blocking=False):
                raise exception.NotRotated(
                    reason="another rotation has it" if name == LOCKS[0]
                    else "it is being cloned, or deleted")
            stack.callback(lock.release)
        yield


def remove_lock(volume_id: str) -> None:
    """Remove the file of our lock of a volume that is no more."""
    coordination.synchronized_remove(LOCKS[0].format(id=volume_id))


@contextlib.contextmanager
def excluded(volume_id: str, seconds: float = 300) -> Iterator[None]:
    """Let no rotation be at a volume meanwhile.

    :param seconds: for which one that is may go on
    :raises NotRotated: it takes longer
    """
    try:
        lock = coordination.COORDINATOR.get_lock(
            LOCKS[0].format(id=volume_id))
    except cinder_exception.LockCreationFailed:
        # Who uses the driver without a service has no other one, either.
        LOG.debug("volume %s: no coordination, so no lock", volume_id)
        yield
        return
    if not lock.acquire(blocking=seconds):
        raise exception.NotRotated(
            reason="its passphrase is being rotated, which takes longer than "
                   "it should; try again")
    try:
        yield
    finally:
        lock.release()
