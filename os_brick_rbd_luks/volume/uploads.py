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
import io
from typing import Any

from os_brick_rbd_luks.copies import luks1_view
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import store
from os_brick_rbd_luks.volume import volume_keys


def is_sent_as_luks1(volume: Any, backend: store.Backend) -> bool:
    """Whether Glance would refuse the image of *volume* as it is."""
    if not volume.encryption_key_id:
        return False
    with errors.translated():
        return threads.call(_is_needed, backend, volume.name)


def _is_needed(backend: store.Backend, name: str) -> bool:
    with backend.image(name, read_only=True) as image:
        return luks1_view.is_needed(image)


def send_as_luks1(context: Any, volume: Any, image_service: Any,
                  image_id: str, backend: store.Backend,
                  keys: volume_keys.Keys) -> None:
    """Upload the data of *volume* as LUKS1, which its key opens.

    Source: ``cinder.volume.volume_utils.upload_volume``.

    :raises VolumeBackendAPIException: the volume cannot be read
    """
    base_image = (volume.glance_metadata or {}).get("image_id")
    with errors.translated(), contextlib.ExitStack() as stack:
        passphrase = keys.passphrase(volume.encryption_key_id)
        below, _own = threads.call(own_headers.keys_of, backend, volume.name)
        found = {key_id: keys.passphrase(key_id)
                 for key_id in below if key_id}
        # The image may be closed only by a thread that may wait.
        images = contextlib.ExitStack()
        stack.callback(threads.call, images.close)
        stream = threads.call(_open, images, backend, volume.name, passphrase,
                              found.__getitem__)
        image_service.update(
            context, image_id, {}, _Stream(stream),
            store_id=volume.volume_type.extra_specs.get(
                "image_service:store_id"),
            base_image_ref=base_image)


def _open(images: contextlib.ExitStack, backend: store.Backend, name: str,
          passphrase: bytes, fetch: decryption.Fetch) -> io.BufferedReader:
    pool = images.enter_context(backend.store())
    return images.enter_context(luks1_view.opened(
        pool, name, passphrase, opts.options().pbkdf2_iterations, fetch))


class _Stream:
    """What glanceclient uses of a file, out of an event loop's way."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        """Up to so many bytes."""
        return threads.call(self._stream.read, size)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go on reading there."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Where it is read next."""
        return self._stream.tell()
