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

Ceph's backup driver keeps holes; others write zeros for them, which would
decrypt to noise. Of a clone with a header of its own, no copy is complete.

Source: ``cinder.volume.drivers.rbd`` and ``cinder.volume.driver``
(``get_backup_device``), ``cinder.backup.chunkeddriver``.
"""

from __future__ import annotations

import logging
from typing import Any

from cinder import objects

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.copies import fill
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)

#: What upstream looks for in a backup's service.
_CEPH = "backup.drivers.ceph"


@errors.translated()
def prepare(context: Any, backup: Any, device: Any, here: session.Session
            ) -> None:
    """Make the image of *device* complete, if it is one of ours.

    :param device: the volume of the backup, or a temporary clone of it
    :raises VolumeBackendAPIException: it cannot be; there is no backup then
    """
    volume = encrypted.Volume(
        objects.Volume.get_by_id(context, backup.volume_id), here)
    origin = (objects.Snapshot.get_by_id(context, backup.snapshot_id)
              if backup.snapshot_id else volume.record)
    if not origin.encryption_key_id:
        return
    keeps_holes = _CEPH in (backup.service or "")
    is_clone = device.id != volume.record.id
    if not is_clone:
        own_headers.make_independent(volume)
    if keeps_holes and not (is_clone and own_headers.may_exist()):
        return
    copied = volume.beside(device)
    passphrase = volume.keys.passphrase(origin.encryption_key_id)
    if is_clone and _needs_keys(copied):
        with here.flattening():
            _flatten(copied, passphrase)
    if not keeps_holes:
        _fill(copied, passphrase)


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
