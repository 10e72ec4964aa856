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

"""Flatten a clone that has a new owner, in the background.

He has its volume key, by which the passphrases of the layers below it are
sealed: among them that of the former owner's volume that it was cloned of.
After a flatten there is nothing to seal, and nothing to open.

Meanwhile the volume is used as any other: guests and Cinder may open, resize
and snapshot it. Only Ceph removes no image that somebody has open, so whoever
deletes the volume ends the flatten first, whichever service is at it: by the
note of its client, whose address is blocklisted.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, Optional

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)

#: Metadata of an image that is being flattened: the number of the client.
NOTE = "rbd_luks.flattened_by"


def begin(driver: Any, volume: encrypted.Volume) -> None:
    """Flatten *volume* later, if passphrases of others are sealed in it.

    Whatever fails is told in the log, with the remedy.
    """
    if not driver.configuration.rbd_luks_flatten_transferred:
        return
    if _is_due(volume):
        threads.behind(functools.partial(_flatten, driver, volume.record))


@threads.native
def _is_due(volume: encrypted.Volume) -> bool:
    try:
        with volume.image(read_only=True) as image:
            header = header_io.read_header(image)
            if not sealed.look(image, header).count:
                return False
            if header.clone:
                _warn(volume.name, "its own key is needed for that")
                return False
    except exception.RBDLuksError as error:
        _warn(volume.name, error)
        return False
    return True


def _warn(name: str, reason: object) -> None:
    LOG.warning("%s: it stays a clone of its former owner's volume, and its "
                "new owner can learn the passphrase that this had when it was "
                "cloned (%s); 'rbd-luks flatten' ends that", name, reason)


def _flatten(driver: Any, record: Any) -> None:
    try:
        with session.Session(driver) as here, here.flattening():
            LOG.info("%s: flattening, for it has a new owner", record.name)
            _flatten_now(encrypted.Volume(record, here))
    # Nobody waits for it, so nobody would be told.
    except Exception as error:
        _warn(record.name, error)


@threads.native
def _flatten_now(volume: encrypted.Volume) -> None:
    name = volume.name
    with volume.pool() as pool:
        with pool.open(name) as image:
            parent = image.parent()
            image.set_note(NOTE, str(pool.client_number))
        # It has its parent's volume key, so that no passphrase is needed.
        flattening.flatten(pool, name, b"")
        with pool.open(name) as image:
            image.set_note(NOTE, None)
        flattening.release_parents(pool, parent, name)


def at_it(image: rbd_image.RBDImage) -> Optional[int]:
    """The number of the client that flattens *image*, if one has it open."""
    note = image.note(NOTE)
    if note and note.isdigit() and any(
            watcher.startswith(f"client.{note} ")
            for watcher in image.watchers()):
        return int(note)
    return None
