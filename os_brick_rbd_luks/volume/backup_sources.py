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
"""Let a backup, which is a copy of an image as it is, be all of the volume.

What Cinder's drivers do with the holes of a LUKS2 volume:

* Ceph's keeps them;
* those of this package (:mod:`os_brick_rbd_luks.backup.drivers.chunked`) store
  zeros, and make these holes again when the volume is restored;
* all others store zeros and restore zeros, which decrypt to noise. What they
  read is a clone that has encrypted zeros instead: it goes when the backup is
  done. In the volume itself these would take the space of its whole size, for
  good.

Of a clone with a header of its own, no copy is complete: what is read then is
a clone that was flattened, so that the volume may stay what it is.

Source: ``cinder.volume.drivers.rbd`` and ``cinder.volume.driver``
(``get_backup_device``), ``cinder.backup.chunkeddriver``.
"""

from __future__ import annotations

import logging
from typing import Any

from cinder import exception as cinder_exception
from cinder import objects
from cinder.objects import fields

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import reverting
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)

#: What upstream looks for in a backup's service.
CEPH = "backup.drivers.ceph"

#: What those begin with that make holes of zeros.
OURS = "os_brick_rbd_luks.backup.drivers."


def refuse_former_key(context: Any, backup: Any) -> None:
    """Refuse to back a snapshot up that needs another key than its volume.

    Cinder gives the backup a copy of the volume's, and the passphrase was
    rotated since.

    :raises InvalidSnapshot: naming both
    """
    if not backup.snapshot_id:
        return
    snapshot = objects.Snapshot.get_by_id(context, backup.snapshot_id)
    volume = objects.Volume.get_by_id(context, backup.volume_id)
    if snapshot.encryption_key_id != volume.encryption_key_id:
        raise cinder_exception.InvalidSnapshot(
            reason=f"Snapshot {snapshot.id} needs a former key of volume "
                   f"{volume.id}, and Cinder would name the present one in "
                   "the backup: make a volume of the snapshot, and back that "
                   "up.")


def settle(context: Any, backup: Any, here: session.Session) -> None:
    """Put right what a killed revert has left of a volume, before it is read.

    :raises VolumeBackendAPIException: see
        :func:`~os_brick_rbd_luks.volume.reverting.settle`
    """
    volume = objects.Volume.get_by_id(context, backup.volume_id)
    if volume.encryption_key_id:
        reverting.settle(encrypted.Volume(volume, here))


@errors.translated()
def prepare(driver: Any, context: Any, backup: Any, device: Any,
            here: session.Session) -> Any:
    """Find an image that is complete, if it is of ours.

    :param driver: that makes temporary clones, of upstream's
    :param device: the volume of the backup, or a temporary clone of it
    :returns: *device*, or a temporary clone of it, noted in *backup*
    :raises VolumeBackendAPIException: there is none, and no backup then
    """
    volume = encrypted.Volume(
        objects.Volume.get_by_id(context, backup.volume_id), here)
    origin = (objects.Snapshot.get_by_id(context, backup.snapshot_id)
              if backup.snapshot_id else volume.record)
    if not origin.encryption_key_id:
        return device
    service = backup.service or ""
    is_clone = device.id != volume.record.id
    if CEPH in service and not is_clone:
        # Its increments are by snapshots of the volume itself.
        own_headers.make_independent(volume)
        return device
    fills = CEPH not in service and not service.startswith(OURS)
    if not is_clone:
        if not _is_incomplete(volume, fills):
            return device
        device = _temporary_clone(driver, context, backup, volume.record)
    elif not (fills or own_headers.may_exist()):
        return device
    copied = volume.beside(device)
    if not _is_incomplete(copied, fills):
        # Nobody has to open it.
        return device
    passphrase = volume.keys.passphrase(origin.encryption_key_id)
    if _needs_keys(copied):
        with here.flattening():
            _flatten(copied, passphrase)
    if fills:
        _fill(copied, passphrase)
    return device


@threads.native
def _is_incomplete(volume: encrypted.Volume, fills: bool) -> bool:
    """Whether a copy of its image, as it is, were not all of it.

    :param fills: that of its holes would be noise
    """
    with volume.image(read_only=True) as image:
        if own_headers.may_exist() and flattening.needs_keys(image):
            return True
        # To QEMU, which reads LUKS1, holes are noise before and after.
        return fills and header_io.read_header(image).type == "luks2"


def _temporary_clone(driver: Any, context: Any, backup: Any, volume: Any
                     ) -> Any:
    """A clone as upstream makes one of a volume that is in use."""
    clone = driver._create_temp_cloned_volume(
        context, volume, status=fields.VolumeStatus.BACKING_UP)
    # By which the manager removes it, whatever becomes of the backup.
    backup.temp_volume_id = clone.id
    backup.save()
    return clone


@threads.native
def _needs_keys(volume: encrypted.Volume) -> bool:
    """Whether a temporary clone can be flattened by its passphrases only."""
    with volume.image(read_only=True) as image:
        return flattening.needs_keys(image)


@threads.native
def _flatten(volume: encrypted.Volume, passphrase: bytes) -> None:
    with volume.pool() as pool:
        flattening.flatten(pool, volume.name, passphrase)


@threads.native
def _fill(volume: encrypted.Volume, passphrase: bytes) -> None:
    with volume.pool() as pool:
        written = fill.fill_holes(pool, volume.name, passphrase)
    if written:
        LOG.info("%s: %d bytes of zeros written for a backup that knows no "
                 "holes", volume.name, written)
