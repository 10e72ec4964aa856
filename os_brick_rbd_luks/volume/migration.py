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
"""Upstream's generic migration, made whole for encrypted volumes.

Where source and destination have the same encryption, Cinder's manager copies
the images as they are, but only as many bytes as the guest sees. What is
missing is copied here, before and after.

Source: ``cinder.volume.manager`` (``_copy_volume_data``).
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Iterator, Optional

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import volume_types
from cinder.volume import volume_utils

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import punching
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import moving
from os_brick_rbd_luks.volume import ownership

LOG = logging.getLogger(__name__)

#: What the migration status of a destination begins with.
TARGET = "target:"


def is_raw_copy(context: Any, source: Any, destination: Any) -> bool:
    """Whether the manager copies an encrypted volume as it is."""
    return bool(
        source.encryption_key_id
        and not volume_types.volume_types_encryption_changed(
            context, source.volume_type_id, destination.volume_type_id))


def is_copied_as_it_is(volume: Any) -> bool:
    """Whether a new volume gets the image of another one, header and all.

    That is the destination of a migration with the source's key. Migrating is
    for administrators, to whom a key manager gives nobody's keys.
    """
    source = _source_with_its_key(volume)
    # Of an attached one, Nova copies what the guest sees.
    return bool(source and not source.volume_attachment)


def original(driver: Any, volume: Any) -> Optional[moving.Original]:
    """The image that a new volume has the key of, if it is in this cluster.

    A migration of an attached volume: its destination needs a header that the
    same key opens, and the administrator who asks may not read that key.
    """
    source = _source_with_its_key(volume)
    found = source and moving.find(driver, cinder_context.get_admin_context(),
                                   source)
    return moving.Original(found, str(source.name)) if found else None


def _source_with_its_key(volume: Any) -> Any:
    """What a new volume is the destination of, with the same key; or None."""
    status = volume.migration_status or ""
    if not status.startswith(TARGET) or volume.previous_status == deep.MARK:
        # A deep rotation's has a volume key of its own.
        return None
    source = objects.Volume.get_by_id(
        cinder_context.get_admin_context(), status[len(TARGET):])
    return (source if source.encryption_key_id == volume.encryption_key_id
            else None)


@errors.translated()
def make_room(source: encrypted.Volume, destination: Any,
              driver: Any, context: Any, remote: Any) -> None:
    """Make the destination as large as the source's image.

    :raises VolumeMigrationFailed: it is no RBD image; nothing was copied
    """
    size = _raw_size(source)
    with _attached(driver, context, destination, remote) as handle:
        image = getattr(handle, "rbd_image", None)
        if image is None:
            raise cinder_exception.VolumeMigrationFailed(
                reason=f"Volume {source.record.id} is encrypted and the "
                       "destination is no RBD backend: it has no room for "
                       "the header. Retype it to a type without encryption, "
                       "or with another one.")
        if image.size() < size:
            threads.call(image.resize, size)


@errors.translated()
def copy_rest(source: encrypted.Volume, destination: Any,
              driver: Any, context: Any, remote: Any) -> None:
    """Copy what is behind the bytes that the manager has copied.

    And let what was no data there be none: the manager writes zeros for it.

    :raises VolumeBackendAPIException: not all of it could be copied
    """
    with _attached(driver, context, destination, remote) as handle:
        _copy_rest(source, destination, handle)


@threads.native
def _raw_size(volume: encrypted.Volume) -> int:
    with volume.image(read_only=True) as image:
        return image.size()


@threads.native
def _copy_rest(volume: encrypted.Volume, destination: Any, handle: Any
               ) -> None:
    with volume.image(read_only=True) as image:
        end = image.size()
        for offset in range(volume.size, end, copying.PIECE):
            data = image.read(offset, min(copying.PIECE, end - offset))
            handle.seek(offset)
            handle.write(data)
        handle.flush()
        target = brick.over_bare_handle(handle, str(destination.name))
        note = image.note(ownership.NOTE)
        if note is not None:
            target.set_note(ownership.NOTE, note)
        punching.punch(image, target)


@contextlib.contextmanager
def _attached(driver: Any, context: Any, volume: Any, remote: Any
              ) -> Iterator[Any]:
    """The handle, or the path, of a volume that may be another host's."""
    configuration = driver.configuration
    properties = volume_utils.brick_get_connector_properties(
        configuration.use_multipath_for_image_xfer,
        configuration.enforce_multipath_for_image_xfer)
    is_remote = remote in ("dest", "both")
    attached, volume = driver._attach_volume(context, volume, properties,
                                             remote=is_remote)
    try:
        yield attached["device"]["path"]
    finally:
        driver._detach_volume(context, attached, volume, properties,
                              force=True, remote=is_remote)
