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
"""What opens a volume: the key that the database names, and what else."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import key_reading
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rotation
from os_brick_rbd_luks.volume import snapshot_audit


class Volume(NamedTuple):
    """A volume that is looked at.

    :ivar header: None if there is none that can be used
    :ivar noted: key ids of its image's note, but for the database's
    :ivar marks: fingerprints of keyslots by noted keys that have opened them
    :ivar is_new: whether that was noted so short a time ago that a rotation
        may be between its steps
    :ivar options: of the command that rotates it
    :ivar rotates: whether that is done when it is attached, and completed
        when it is attached the next time
    """

    image: base.RBDImage
    record: Any
    header: Optional[header_io.Header]
    noted: List[str]
    marks: Mapping[str, str]
    is_new: bool
    options: str
    rotates: bool


def of(image: base.RBDImage, record: Any, options: str, rotates: bool
       ) -> Volume:
    """Read what there is.

    :param options: see :class:`Volume`, as ``rotates``
    :raises OperationRefused: the note is not one of ours
    :raises ImageError: the image cannot be read
    """
    header = None
    with contextlib.suppress(exception.HeaderError):
        header = header_io.read_header(image)
    return Volume(
        image, record, header,
        pending_keys.others(image, record.encryption_key_id),
        pending_keys.keyslots(image),
        pending_keys.is_new(image, rotation.GRACE), options, rotates)


def not_read(record: Any, key_id: str,
              error: exception.PassphraseUnavailable) -> findings.Finding:
    """A key that cannot be had."""
    for kind, refusal in ((findings.KEY_GONE, exception.KeyNotFound),
                          (findings.KEY_REFUSED, exception.KeyForbidden)):
        if isinstance(error, refusal):
            return findings.of_volume(record, kind,
                                      f"key {key_id}: {error.reason}")
    return findings.of_volume(record, findings.NOT_LOOKED_AT, error.msg,
                              error=error)


def look(volume: Volume, present: key_reading.Read,
         noted: Mapping[str, key_reading.Read],
         of_snapshots: Mapping[str, List[str]]
         ) -> Iterator[findings.Finding]:
    """What opens a volume, and what should.

    :param present: what the key manager says of the database's key
    :param noted: what it says of the keys on its note
    :param of_snapshots: snapshots by the keys that their records name
    """
    header = volume.header
    opened = _opened(volume, noted)
    unlocked = _unlocked(volume, present)
    is_wrong = (header is not None and unlocked is None
                and present.passphrase is not None
                and any(slot.usable for slot in header.keyslots))
    opener = next((key_id for key_id in opened if is_wrong
                   and _unlocked(volume, noted[key_id])), None)
    if is_wrong:
        yield _wrong(volume, opener)
    for key_id, read in noted.items():
        if key_id != opener:
            yield _of_noted(volume, key_id, read, key_id in opened,
                            of_snapshots.get(key_id, []))
    if header is None or is_wrong:
        return
    known = {*opened.values()}
    if unlocked:
        known.add(unlocked.keyslot)
    # Somebody has to open it whose key we could not read.
    left = (unlocked is None) + sum(
        read.passphrase is None and key_id not in opened
        and not isinstance(read.error, exception.KeyNotFound)
        for key_id, read in noted.items())
    others = [slot.number for slot in header.keyslots
              if not slot.damage and slot.number not in known]
    if len(others) > left:
        yield findings.of_volume(
            volume.record, findings.KEYSLOTS, "passphrases that Cinder does "
            f"not know open it: keyslots {', '.join(map(str, others))}")
    if unlocked and present.passphrase is not None:
        yield from _of_layers(volume, unlocked, present.passphrase)


def _opened(volume: Volume, noted: Mapping[str, key_reading.Read]
            ) -> Dict[str, int]:
    """Keyslots by the noted keys that open them, or did before they were
    half erased.
    """
    found: Dict[str, int] = {}
    header = volume.header
    if header is None:
        return found
    for key_id, read in noted.items():
        unlocked = _unlocked(volume, read)
        if unlocked:
            found[key_id] = unlocked.keyslot
    for slot in header.keyslots:
        mark = fingerprints.of(header, slot.number)
        for key_id, marked in volume.marks.items():
            if marked == mark and key_id in noted:
                found.setdefault(key_id, slot.number)
    return found


def _unlocked(volume: Volume, read: key_reading.Read
              ) -> Optional[unlocking.Unlocked]:
    """What a key gives, None if it does not open the volume."""
    if volume.header is None or read.passphrase is None:
        return None
    return snapshot_audit.unlocked(volume.image, volume.header,
                                   read.passphrase)


def _wrong(volume: Volume, opener: Optional[str]) -> findings.Finding:
    key_id, name = volume.record.encryption_key_id, volume.image.name
    what = f"key {key_id} opens none of the keyslots that can be tried"
    if opener is None:
        return findings.of_volume(
            volume.record, findings.WRONG_KEY, what, opener="look for the "
            f"key that opens it ('rbd-luks verify {name} --key-id ...'), and "
            "put its id into the database")
    return findings.of_volume(
        volume.record, findings.WRONG_KEY,
        f"{what}, and key {opener}, which is noted on it, does",
        opener=f"'rbd-luks key add {name} --key-id {opener} --new-key-id "
               f"{key_id}' lets the database's key open it")


def _of_noted(volume: Volume, key_id: str, read: key_reading.Read,
              opens: bool, snapshots: List[str]) -> findings.Finding:
    """Why a key is noted on an image."""
    record = volume.record
    if opens and volume.is_new:
        return findings.of_volume(
            record, findings.NOTED_QUIETLY, f"key {key_id} opens it as well: "
            "its key is being changed")
    if opens and volume.rotates:
        return findings.of_volume(
            record, findings.NOTED_QUIETLY, f"key {key_id} opens it as well, "
            "until it is attached the next time (rbd_luks_rotate_after)")
    if opens:
        return findings.of_volume(
            record, findings.NOTED, f"key {key_id} opens it as well: a "
            "change of its key is not complete", options=volume.options)
    why = "opens nothing any more, and could not be deleted"
    if snapshots:
        why = "is for snapshots: " + ", ".join(snapshots)
    elif isinstance(read.error, exception.KeyNotFound):
        why = "is deleted"
    elif read.error:
        return not_read(record, f"{key_id}, which is noted on it",
                         read.error)
    return findings.of_volume(record, findings.NOTED_QUIETLY,
                              f"key {key_id} {why}")


def _of_layers(volume: Volume, unlocked: unlocking.Unlocked,
               passphrase: bytes) -> Iterator[findings.Finding]:
    """Whether what it needs of the layers below is sealed in its header."""
    try:
        sealed.look(volume.image, unlocked.header).passphrases(
            unlocked, passphrase)
    except exception.HeaderError as error:
        yield findings.of_volume(volume.record, findings.LAYERS, error.msg)
