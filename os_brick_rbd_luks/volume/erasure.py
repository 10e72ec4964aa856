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
"""A volume of Cinder's is destroyed, with nobody able to use it meanwhile.

From before its keyslots are overwritten it is in the status ``error``: no
request attaches, clones or copies it, and it can be deleted. Who is killed
leaves it so, and may be asked again.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Callable, Iterator, List, Optional

from cinder import context as cinder_context
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import rotation

LOG = logging.getLogger(__name__)

#: In which nobody uses a volume.
_UNUSED = (fields.VolumeStatus.AVAILABLE, fields.VolumeStatus.ERROR)


def require_unused(record: Any, force: bool = False) -> None:
    """Refuse a volume that somebody uses, or may need.

    :param record: Cinder's, just read
    :param force: although it has snapshots
    :raises OperationRefused: saying why
    """
    reason = fleet.obstacle(record, True, _UNUSED)
    if reason is None and fleet.is_attached(record):
        # As Cinder's own deletion has it.
        reason = "it is attached: detach it"
    if reason is None and not force:
        snapshots = objects.SnapshotList.get_all_for_volume(
            cinder_context.get_admin_context(), record.id)
        if snapshots:
            reason = (f"it has {len(snapshots)} snapshots, which keep the "
                      "header of their time: delete them, or see --force")
    if reason:
        raise _refused(record, reason)


def _refused(record: Any, reason: str) -> exception.OperationRefused:
    return exception.OperationRefused(
        reason=f"volume {record.id} is not erased: {reason}")


@contextlib.contextmanager
def withdrawn(record: Any, header: Callable[[], Optional[bytes]],
              force: bool = False) -> Iterator[None]:
    """Let nobody use a volume any more, unless its header is as it was.

    An error does not tell: the lock may be lost between two writes.

    :param header: see :func:`header_of`
    :param force: see :func:`require_unused`
    :raises OperationRefused: somebody uses it
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(rotation.locked(record.id))
        except exception.NotRotated as error:
            raise _refused(record, str(error)) from error
        record.refresh()
        require_unused(record, force)
        before, untouched = record.status, header()
        if not record.conditional_update(
                {"status": fields.VolumeStatus.ERROR},
                {"status": before, "host": record.host,
                 "attach_status": record.attach_status,
                 "migration_status": record.migration_status}):
            raise _refused(record, "something else began to work on it")
        try:
            yield
        except BaseException:
            if untouched is not None and header() == untouched:
                record.conditional_update(
                    {"status": before}, {"status": fields.VolumeStatus.ERROR})
            else:
                LOG.error("volume %s: it stays in status error, for some of "
                          "its keyslots may be destroyed", record.id)
            raise


@threads.native
def header_of(pool: base.Pool, name: str) -> Optional[bytes]:
    """The header of an image and its keyslots; None if nobody can tell."""
    try:
        with pool.open(name, read_only=True) as image:
            return header_backup.backup(image)
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", name, error)
        return None


@threads.native
def destroy(pool: base.Pool, name: str, force: bool) -> List[int]:
    """Overwrite the keyslots of an image; see
    :func:`~os_brick_rbd_luks.headers.erase.erase`.
    """
    with pool.open(name) as image:
        return erase.erase(image, force=force)
