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
"""Every key that Cinder's volumes need, for whoever tidies up a key manager.

Images of Glance have keys of their own, which only Glance tells of.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any, Generator, Iterable, Iterator, Optional

from cinder import context as cinder_context
from cinder import objects

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import fleet_audit
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import volume_audit


@dataclasses.dataclass(frozen=True)
class Needed:
    """A key that something needs.

    :ivar of: ``volume``, ``snapshot``, ``backup``, or ``image`` where it is
        noted on that
    :ivar subject: id, or name of the image
    """

    key_id: str
    of: str
    subject: str
    project: Optional[str]


def keys(which: Iterable[fleet.Which], counted: fleet_audit.Counted
         ) -> Generator[Needed, None, None]:
    """Every key that these volumes need, their snapshots, and backups.

    Of whole backends, also those that any image of the pool notes. Backups
    are all that Cinder has: their volumes may be gone.

    :raises ImageError: an image cannot be read, so that some are not known
    """
    for one in which:
        with session.Session(one.backend.driver) as here, here.pool() as pool:
            for record in one.records():
                counted.volumes += 1
                yield from _of_record(record)
                if not one.is_whole:
                    yield from _of_note(pool, record.name, record.project_id)
            for name in pool.images() if one.is_whole else ():
                yield from _of_note(pool, name, None)
    yield from _of_backups()


def _of_record(record: Any) -> Iterator[Needed]:
    for of, found in itertools.chain(
            [("volume", record)],
            (("snapshot", snapshot)
             for snapshot in objects.SnapshotList.get_all_for_volume(
                 cinder_context.get_admin_context(), record.id))):
        if found.encryption_key_id:
            yield Needed(found.encryption_key_id, of, found.id,
                         found.project_id)


def _of_note(pool: base.Pool, name: str, project: Optional[str]
             ) -> Iterator[Needed]:
    for key_id in volume_audit.noted(pool, name):
        yield Needed(key_id, "image", f"{pool.name}/{name}", project)


def _of_backups() -> Iterator[Needed]:
    for backup in objects.BackupList.get_all(
            cinder_context.get_admin_context()):
        if backup.encryption_key_id:
            yield Needed(backup.encryption_key_id, "backup", backup.id,
                         backup.project_id)
