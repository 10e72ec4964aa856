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
"""Volumes that are clones with a header of their own over plain data.

Nothing but librbd with their passphrases can read them, so whatever copies
images as they are (backups, uploads, other pools, upstream's flatten) comes
after a flatten that has them.
"""

from __future__ import annotations

import logging
from typing import Any

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.operations import decryption
from os_brick_rbd_luks.operations import flatten
from os_brick_rbd_luks.operations import owned
from os_brick_rbd_luks import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import keys as volume_keys
from os_brick_rbd_luks.volume import store

LOG = logging.getLogger(__name__)


def may_exist() -> bool:
    """Whether librbd here can have made one."""
    release = store.librbd_encryption()
    return release is not None and release >= flatten.LAYERED_RELEASE


def needs_keys(backend: store.Backend, name: str) -> bool:
    """Whether an image is such a volume."""
    with errors.translated():
        return threads.call(_needs_keys, backend, name)


def _needs_keys(backend: store.Backend, name: str) -> bool:
    try:
        with backend.store() as pool, pool.open_layered(
                name, read_only=True) as image:
            return flatten.needs_keys(image)
    except exception.ImageNotFound:
        return False


def make_independent(volume: Any, backend: store.Backend,
                     keys: volume_keys.Keys) -> None:
    """Flatten *volume*, if it is one of these.

    :raises VolumeBackendAPIException: it stays as it is
    """
    if needs_keys(backend, volume.name):
        do_flatten(volume, backend, keys)


def do_flatten(volume: Any, backend: store.Backend,
               keys: volume_keys.Keys) -> None:
    """Flatten the image of *volume*, and delete the keys of its layers.

    :raises VolumeBackendAPIException: it stays as it is
    """
    with errors.translated():
        passphrase = keys.passphrase(volume.encryption_key_id)
        below = threads.call(_owned, backend, volume.name)
        found = {key_id: keys.passphrase(key_id) for key_id in below}
        LOG.info("%s: flattening", volume.name)
        threads.call(_flatten, backend, volume.name, passphrase,
                     lambda key_id: found.get(key_id) or keys.passphrase(
                         key_id))
        for key_id in below:
            if key_id != volume.encryption_key_id:
                keys.delete(key_id)


def _owned(backend: store.Backend, name: str) -> list[str]:
    with backend.store() as pool, pool.open_layered(
            name, read_only=True) as image:
        return owned.read(image)


def _flatten(backend: store.Backend, name: str, passphrase: bytes,
             fetch: decryption.Fetch) -> None:
    with backend.store() as pool:
        with pool.open_layered(name, read_only=True) as image:
            parent = image.parent()
        flatten.flatten(pool, name, passphrase, fetch)
        with pool.open_layered(name) as image:
            owned.write(image, [])
        flatten.release_parents(pool, parent, name, deletion.DELETED)
