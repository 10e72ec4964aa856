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

"""Volumes that become images of Glance."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from os_brick_rbd_luks.copies import luks1_view
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import sizes


@dataclasses.dataclass(frozen=True)
class Upload:
    """What is sent of a volume, which is LUKS1 in any case.

    :ivar converted: Glance would refuse the volume's image as it is
    :ivar size: bytes of it, decrypted
    """

    converted: bool
    size: int


@errors.translated()
@threads.native
def look(volume: encrypted.Volume) -> Upload:
    """What will be sent of *volume*.

    :raises VolumeBackendAPIException: there is no such image, or no header
    """
    with volume.image(read_only=True) as image:
        return Upload(
            luks1_view.is_needed(image), sizes.decrypted(image))


@errors.translated()
def send_as_luks1(volume: encrypted.Volume, context: Any,
                  image_service: Any, image_id: str) -> None:
    """Upload the data of *volume* as LUKS1, which its key opens.

    Source: ``cinder.volume.volume_utils.upload_volume``.

    :raises VolumeBackendAPIException: the volume cannot be read
    """
    record = volume.record
    base_image = (record.glance_metadata or {}).get("image_id")
    passphrase = volume.passphrase()
    with contextlib.closing(_Stream(volume)) as stream:
        stream.open(passphrase)
        image_service.update(
            context, image_id, {}, stream,
            store_id=record.volume_type.extra_specs.get(
                "image_service:store_id"),
            base_image_ref=base_image)


class _Stream:
    """What glanceclient uses of a file, out of an event loop's way."""

    def __init__(self, volume: encrypted.Volume) -> None:
        self._volume = volume
        self._images = contextlib.ExitStack()

    @threads.native
    def open(self, passphrase: bytes) -> None:
        """Begin at the start."""
        with self._volume.pool() as pool:
            self._stream = self._images.enter_context(luks1_view.opened(
                pool, self._volume.name, passphrase,
                opts.options().pbkdf2_iterations))

    @threads.native
    def close(self) -> None:
        """Close the image."""
        with self._volume.session.alone():
            self._images.close()

    @threads.native
    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes."""
        with self._volume.session.alone():
            return self._stream.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on reading there."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Where it is read next."""
        return self._stream.tell()
