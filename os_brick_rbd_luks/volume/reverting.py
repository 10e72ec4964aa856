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
"""Revert a volume to a snapshot, but not its header.

A snapshot has the header of its time. If the passphrase was changed since,
the volume's key would not open the volume any more.
"""

from __future__ import annotations

import logging
from typing import Callable

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)


@errors.translated()
def revert(volume: encrypted.Volume, snapshot: str,
           upstream: Callable[[], None]) -> None:
    """Let *upstream* roll the image back; the volume's key opens it after.

    :param snapshot: name of the RBD snapshot
    :raises VolumeBackendAPIException: the snapshot is of another volume key;
        nothing was changed
    """
    present = _header_unless_opened(volume, snapshot, volume.passphrase())
    upstream()
    if present:
        _restore(volume, present)


@threads.native
def _header_unless_opened(volume: encrypted.Volume,
                          snapshot: str, passphrase: bytes) -> bytes:
    """The present header, if the one in the snapshot will not do."""
    name = volume.name
    with volume.pool() as pool:
        with pool.open(name, snapshot=snapshot) as image:
            then = header_io.read_header(image)
            try:
                unlocking.unlock_header(image, then, passphrase)
                return b""
            except exception.WrongPassphrase:
                LOG.info("%s: the snapshot has another passphrase",
                         image.name)
        with pool.open(name, read_only=True) as image:
            header = unlocking.unlock(image, passphrase).header
            if not header.same_volume(then):
                raise exception.OperationRefused(
                    reason="it was encrypted with another volume key since "
                           "the snapshot; make a new volume of the snapshot")
            return header_backup.backup(image)


@threads.native
def _restore(volume: encrypted.Volume, header: bytes) -> None:
    with volume.image() as image:
        header_backup.restore(image, header, lose_passphrases=True)
