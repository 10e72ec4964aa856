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
"""Create an empty encrypted volume."""

from __future__ import annotations

from typing import Any, Callable, Optional

from cinder import exception as cinder_exception

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import moving
from os_brick_rbd_luks.volume import volume_keys


def refuse_journal(driver: Any, record: Any, volume_type: Any = None) -> None:
    """Refuse a type whose images librbd could not decrypt.

    :param volume_type: that Cinder's volume is to have, if not its present
    :raises VolumeDriverException: LUKS2 with replication by journal
    """
    if not driver._is_replicated_type(volume_type or record.volume_type):
        return
    if volume_keys.options(record).type == "luks2":
        raise cinder_exception.VolumeDriverException(
            message="Replication journals the image, and librbd cannot "
                    "decrypt an image with a journal: use a volume type "
                    "with provider luks, or without replication.")


@errors.translated()
def create(volume: encrypted.Volume,
           model: Callable[[], Optional[moving.Original]]) -> None:
    """Make the image of *volume*, and its header.

    :param model: called if the key manager refuses the key: an image that has
        the header which the new one needs
    :raises VolumeBackendAPIException: there is no image
    """
    try:
        passphrase = volume.passphrase()
    except exception.KeyForbidden:
        original = model()
        if original is None or not _create_alike(volume, original):
            raise
    else:
        _create(volume, passphrase, volume.options())
        volume.announce_key()


@threads.native
def _create_alike(volume: encrypted.Volume, original: moving.Original
                  ) -> bool:
    """Make it with the header of another image, if that can be reached."""
    with moving.pool_at(original.place) as there:
        if there is None:
            return False
        with volume.pool() as pool, there.open(original.name, read_only=True
                                               ) as source:
            creating.create_alike(pool, volume.name, volume.size, source,
                                  restart=True, order=volume.session.order)
    return True


@threads.native
def _create(volume: encrypted.Volume, passphrase: bytes,
            options: formatting.Options) -> None:
    with volume.pool() as pool:
        creating.create(pool, volume.name, volume.size, passphrase, options,
                        restart=True, order=volume.session.order)


@errors.translated()
@threads.native
def create_blank(volume: encrypted.Volume) -> None:
    """Make the image of *volume* without a header, which is to come.

    :raises VolumeBackendAPIException: there is no image
    """
    with volume.pool() as pool:
        pool.create(volume.name, volume.size,
                    order=volume.session.order).__exit__()
