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
"""A volume's snapshots: whether Ceph has them, and their keys open them.

Each has the header of its time, and its record the key id of that.
"""

from __future__ import annotations

from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.volume import findings
from os_brick_rbd_luks.volume import key_reading


class Snapshots(NamedTuple):
    """What was found.

    :ivar keys: snapshots by the keys that their records name
    """

    keys: Dict[str, List[str]]
    found: List[findings.Finding]


def of_plain(image: base.RBDImage, record: Any, snapshots: List[Any]
             ) -> Iterator[findings.Finding]:
    """Whether Ceph has the snapshots of a plain volume."""
    for snapshot in _missing(image, snapshots):
        yield _not_there(record, snapshot)


def of_encrypted(pool: base.Pool, image: base.RBDImage, record: Any,
                 snapshots: List[Any], reader: key_reading.Reader,
                 known: Mapping[str, key_reading.Read]) -> Snapshots:
    """Look at all snapshots of an encrypted volume.

    :param snapshots: their records
    :param known: keys that were read of the volume, the database's last
    """
    keys: Dict[str, List[str]] = {}
    for snapshot in snapshots:
        keys.setdefault(snapshot.encryption_key_id, []).append(snapshot.id)
    missing = _missing(image, snapshots)
    found = [_not_there(record, snapshot) for snapshot in missing]
    found += filter(None, (
        _of_snapshot(pool, record, snapshot, reader, known)
        for snapshot in snapshots if snapshot not in missing))
    return Snapshots(keys, found)


def _missing(image: base.RBDImage, snapshots: List[Any]) -> List[Any]:
    there = image.snapshots() if snapshots else []
    return [snapshot for snapshot in snapshots if snapshot.name not in there]


def _not_there(record: Any, snapshot: Any) -> findings.Finding:
    return findings.of_volume(
        record, findings.NO_SNAPSHOT,
        f"its image has no snapshot {snapshot.name}")


def _of_snapshot(pool: base.Pool, record: Any, snapshot: Any,
                 reader: key_reading.Reader,
                 known: Mapping[str, key_reading.Read]
                 ) -> Optional[findings.Finding]:
    key_id, what = snapshot.encryption_key_id, f"snapshot {snapshot.id}"
    read = key_reading.Read()
    if key_id:
        read = known.get(key_id) or reader.read(key_id, record.project_id)
        if read.error and key_id == record.encryption_key_id:
            # Told of the volume.
            return None
        if isinstance(read.error, exception.KeyForbidden):
            return findings.of_volume(
                record, findings.KEY_REFUSED,
                f"key {key_id} of {what}: {read.error.reason}")
        if read.error and not isinstance(read.error, exception.KeyNotFound):
            return findings.of_volume(
                record, findings.NOT_LOOKED_AT, f"{what}: {read.error.msg}",
                error=read.error)
    try:
        with pool.open(record.name, snapshot=snapshot.name,
                       read_only=True) as then:
            header = header_io.read_header(then)
            if not key_id:
                why = f"the record of {what} names no key"
            elif read.error:
                why = f"key {key_id} of {what}: {read.error.reason}"
            elif unlocked(then, header, read.passphrase or b""):
                return None
            else:
                why = f"key {key_id} does not open {what}"
            opener = next((other for other, found in known.items()
                           if found.passphrase is not None
                           and unlocked(then, header, found.passphrase)),
                          None)
    except exception.ImageNotFound:
        return None
    except exception.HeaderError as error:
        return findings.of_volume(record, findings.HEADER,
                                  f"{what}: {error.msg}")
    return findings.of_volume(
        record, findings.SNAPSHOT_KEY,
        why + (f", and key {opener} does" if opener else ""),
        opener=f"put the id of key {opener} into the snapshot's record"
        if opener else "put the id of the key that the volume had then into "
                       "the snapshot's record")


def unlocked(image: base.RBDImage, header: header_io.Header,
             passphrase: bytes) -> Optional[unlocking.Unlocked]:
    """What a passphrase gives, None if it opens nothing that can be tried.

    :raises ImageError: the image cannot be read
    """
    try:
        return unlocking.unlock_header(image, header, passphrase)
    except (exception.KeyslotError, exception.HeaderError):
        return None
