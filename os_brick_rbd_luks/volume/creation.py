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

from typing import Any

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import sizes
from os_brick_rbd_luks.volume import store
from os_brick_rbd_luks.volume import volume_keys


def create(volume: Any, backend: store.Backend, keys: volume_keys.Keys
           ) -> None:
    """Make the image of *volume*, and its header.

    :raises VolumeBackendAPIException: there is no image
    """
    with errors.translated():
        threads.call(_create, backend, volume.name, sizes.of(volume),
                     keys.passphrase(volume.encryption_key_id),
                     volume_keys.options(volume))


def create_blank(volume: Any, backend: store.Backend) -> None:
    """Make the image of *volume* without a header, which is to come.

    :raises VolumeBackendAPIException: there is no image
    """
    with errors.translated():
        threads.call(_create_blank, backend, volume.name, sizes.of(volume))


def _create_blank(backend: store.Backend, name: str, size: int) -> None:
    with backend.store() as pool:
        partial.create(pool, name, size, order=backend.order)


def _create(backend: store.Backend, name: str, size: int, passphrase: bytes,
            options: formatting.Options) -> None:
    with backend.store() as pool:
        creating.create(pool, name, size, passphrase, options,
                        order=backend.order)
