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
"""One volume: Cinder's record, its image and its keys held against each other.

Nothing is locked and nothing is written. What is found is told only if the
records are still what they were: services go on working meanwhile. The
database is asked before and afterwards, by one thread; a look itself is for
any.
"""

from __future__ import annotations

import contextlib
import datetime
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Optional

from cinder import context as cinder_context
from cinder import objects
from cinder.objects import fields
from cinder.volume import volume_types

from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import lineage
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import deep_attached
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import key_reading
from os_brick_rbd_luks.volume import keyslot_audit
from os_brick_rbd_luks.volume import left_copies
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import snapshot_audit

#: Statuses in which a service makes, moves or removes what is looked at.
_BUSY = frozenset((
    "creating", "downloading", "deleting", "managing", "unmanaging",
    "retyping", "migrating", "maintenance", "restoring-backup", "extending",
    "reverting"))

#: Seconds that a rotation takes, at most, until it has asked Nova.
_MOMENT = 600

#: What problems of a header begin with that keep nobody from it: of LUKS2,
#: which librbd opens, and of LUKS1, which QEMU opens in any case.
_USABLE = (("stale header copy",),
           ("unaligned payload", "journaling"))

#: Of a volume's record, what findings depend on.
_FACTS = ("status", "migration_status", "encryption_key_id", "name", "host",
          "volume_type_id", "size")

#: How often a volume is looked at that changes meanwhile.
_LOOKS = 3


class Subject(NamedTuple):
    """What the database says of a volume.

    :ivar is_encrypted: whether its type asks for that
    :ivar snapshots: records of those that are complete, and stay
    :ivar has_snapshots: whether there are any, complete or not
    :ivar rotates: whether its backend rotates volumes when they are attached
    :ivar is_interrupted: whether a deep rotation was killed before Nova began
    :ivar left_of: the volume that it is a copy of which a killed deep
        rotation has left
    """

    record: Any
    is_encrypted: bool
    snapshots: List[Any]
    has_snapshots: bool
    rotates: bool
    is_interrupted: bool = False
    left_of: Optional[str] = None

    @property
    def options(self) -> str:
        """Of the command that rotates it."""
        return " --with-snapshots" if self.has_snapshots else ""

    def facts(self) -> Any:
        """What findings depend on."""
        return ([getattr(self.record, name) for name in _FACTS], self.options,
                [(snapshot.id, snapshot.encryption_key_id)
                 for snapshot in self.snapshots])


@threads.native
def noted(pool: base.Pool, name: str) -> List[str]:
    """Keys noted on an image; none if it is gone.

    :raises ImageError: it cannot be read
    :raises OperationRefused: the note is not one of ours
    """
    try:
        with pool.open(name, read_only=True) as image, \
                exception.about(image.name):
            return pending_keys.read(image)
    except exception.ImageNotFound:
        return []


class VolumeAudit:
    """How volumes are audited, whichever they are."""

    def __init__(self, reader: key_reading.Reader,
                 older_than: Optional[Callable[[int], bool]] = None) -> None:
        """Ask for nothing yet.

        :param older_than: whether a key made at that time, in seconds since
            1970, is too old
        """
        self._reader, self._older_than = reader, older_than
        self._types: Dict[Optional[str], bool] = {None: False}

    def subject(self, record: Any, rotates: bool) -> Subject:
        """Ask the database for what else there is of a volume.

        :param rotates: see :class:`Subject`
        """
        snapshots = objects.SnapshotList.get_all_for_volume(
            cinder_context.get_admin_context(), record.id)
        return Subject(
            record, self._is_encrypted(record.volume_type_id),
            [snapshot for snapshot in snapshots
             if snapshot.status == fields.SnapshotStatus.AVAILABLE],
            bool(snapshots), rotates,
            deep_attached.is_interrupted(record, _MOMENT),
            left_copies.source_of(record, _MOMENT))

    @threads.native
    def look(self, pool: base.Pool, subject: Subject
             ) -> Optional[List[findings.Finding]]:
        """What seems to be wrong with a volume.

        :param pool: that its image is in
        :returns: None where something works on it just now
        """
        record = subject.record
        if subject.is_interrupted:
            return [findings.of_volume(
                record, findings.INTERRUPTED, "a deep rotation was killed "
                "before Nova began: it is said to be migrating")]
        if subject.left_of:
            return [findings.of_volume(
                record, findings.LEFT_COPY, "a deep rotation was killed that "
                f"had made it of volume {subject.left_of}, whose status was "
                "reset", source=subject.left_of)]
        if deep_attached.is_former(record):
            return [findings.of_volume(
                record, findings.LEFT_OVER, "it has the former image of a "
                "volume that was moved: delete it, when no other volume has "
                "its key")]
        is_interrupted = deep.is_interrupted(record)
        if not is_interrupted and (
                record.status in _BUSY
                or record.migration_status not in fleet.NOT_MIGRATING):
            return None
        found: List[findings.Finding] = []
        try:
            if is_interrupted:
                return None if _is_held(pool, record.name) else [
                    findings.of_volume(
                        record, findings.INTERRUPTED, "a deep rotation was "
                        "killed: it stays in maintenance")]
            with pool.open(record.name, read_only=True) as image:
                found.extend(self._of_image(pool, image, subject))
        except exception.ImageNotFound as error:
            found.append(findings.of_volume(
                record, findings.NO_IMAGE, error.msg))
        except exception.RBDLuksError as error:
            found.append(findings.of_volume(
                record, findings.NOT_LOOKED_AT, error.msg, error=error))
        return found

    def confirmed(self, pool: base.Pool, subject: Subject,
                  found: Optional[List[findings.Finding]]
                  ) -> Optional[List[findings.Finding]]:
        """What is wrong, by what the database says now.

        :param found: by :meth:`look`
        """
        for _time in range(_LOOKS):
            if not found:
                return found
            now = objects.VolumeList.get_all(
                cinder_context.get_admin_context(),
                filters={"id": subject.record.id})
            if not now:
                return []
            before = subject.facts()
            subject = self.subject(now[0], subject.rotates)
            if before == subject.facts():
                return found
            found = self.look(pool, subject)
        return None

    def _is_encrypted(self, type_id: Optional[str]) -> bool:
        """Whether a volume type asks for encryption; the same for one run."""
        if type_id not in self._types:
            self._types[type_id] = bool(volume_types.is_encrypted(
                cinder_context.get_admin_context(), type_id))
        return self._types[type_id]

    def _of_image(self, pool: base.Pool, image: base.RBDImage,
                  subject: Subject) -> Iterator[findings.Finding]:
        record = subject.record
        report = audit.audit(image, lambda clone: lineage.look(clone).layers)
        asked, key_id = subject.is_encrypted, record.encryption_key_id
        if not asked and (key_id or not report.is_plain and image.size()
                          > record.size * encrypted.GIB):
            # A header in an image of just the volume's size is its guest's,
            # who encrypts his own disk.
            yield findings.of_volume(
                record, findings.ENCRYPTED_IMAGE, "its type has no "
                "encryption, and " + ("it has a key" if key_id else
                                      "its image has a header"))
        if not asked and not key_id:
            yield from snapshot_audit.of_plain(image, record,
                                               subject.snapshots)
            return
        if not key_id:
            yield findings.of_volume(
                record, findings.NO_KEY_ID, "its type has encryption, and "
                "the database names no key of it")
        if report.is_plain and not report.problems:
            yield findings.of_volume(
                record, findings.PLAIN_IMAGE, "there is no header on its "
                "image")
            return
        for problem in report.problems:
            yield findings.of_volume(
                record, findings.HEADER_USABLE
                if problem.startswith(_USABLE[report.type == "luks1"])
                else findings.HEADER, problem)
        yield from self._of_keys(pool, keyslot_audit.of(
            image, record, subject.options,
            # That leaves out what has snapshots.
            subject.rotates and not subject.has_snapshots), subject)

    def _of_keys(self, pool: base.Pool, volume: keyslot_audit.Volume,
                 subject: Subject) -> Iterator[findings.Finding]:
        record = subject.record
        read = {noted: self._reader.read(noted, record.project_id)
                for noted in volume.noted}
        key_id = record.encryption_key_id
        present = key_reading.Read()
        if key_id:
            present = self._reader.read(key_id, record.project_id)
            if present.error:
                yield keyslot_audit.not_read(record, key_id, present.error)
            else:
                yield from self._of_age(subject, present.created)
        snapshots = snapshot_audit.of_encrypted(
            pool, volume.image, record, subject.snapshots, self._reader,
            {**read, **({key_id: present} if key_id else {})})
        yield from keyslot_audit.look(volume, present, read, snapshots.keys)
        yield from snapshots.found

    def _of_age(self, subject: Subject, created: Optional[int]
                ) -> Iterator[findings.Finding]:
        record = subject.record
        if self._older_than is None:
            return
        if created is None:
            yield findings.of_volume(
                record, findings.AGE_NOT_KNOWN,
                f"nobody knows how old key {record.encryption_key_id} is")
        elif self._older_than(created):
            made = datetime.datetime.fromtimestamp(
                created, datetime.timezone.utc)
            yield findings.of_volume(
                record, findings.OLD_KEY, f"key {record.encryption_key_id} "
                f"was made on {made:%Y-%m-%d}", options=subject.options)


def _is_held(pool: base.Pool, name: str) -> bool:
    """Whether somebody has one of the images open of a deep rotation."""
    copy = replacing.NEW + name
    for held in (name, copy, pool.partial_name(copy),
                 replacing.FORMER + name):
        with contextlib.suppress(exception.ImageNotFound), \
                pool.open(held, read_only=True) as image:
            if image.watchers():
                return True
    return False
