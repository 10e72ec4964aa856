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
from typing import Any, List, Tuple

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import volume_utils

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.layers import chain
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import owned_keys
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import store
from os_brick_rbd_luks.volume import volume_keys

LOG = logging.getLogger(__name__)


def may_exist() -> bool:
    """Whether librbd here can have made one."""
    return releases.installed().loads_layers


def needs_keys(backend: store.Backend, name: str) -> bool:
    """Whether an image is such a volume."""
    with errors.translated():
        return threads.call(_needs_keys, backend, name)


def _needs_keys(backend: store.Backend, name: str) -> bool:
    try:
        with backend.image(name, read_only=True) as image:
            return flattening.needs_keys(image)
    except exception.ImageNotFound:
        return False


def volume_of(name: str, present: Any) -> Any:
    """The volume whose image is called *name*, for whoever has its keys.

    :param present: the volume, or snapshot, that a request is about
    :raises VolumeBackendAPIException: there is no such volume
    """
    if present.name == name:
        return present
    try:
        volume = objects.Volume.get_by_id(
            cinder_context.get_admin_context(),
            volume_utils.extract_id_from_volume_name(name))
    except cinder_exception.VolumeNotFound:
        raise cinder_exception.VolumeBackendAPIException(
            data=f"Image {name} is a clone with a header of its own, and "
                 "there is no volume that has its keys.") from None
    # An admin's context has no token for the key manager.
    volume._context = present.obj_context
    return volume


def make_plain(volume: Any, backend: store.Backend, keys: volume_keys.Keys
               ) -> None:
    """Flatten *volume*, if librbd would need the keys of its layers.

    For who is about to replace its data without them.

    :raises VolumeBackendAPIException: it stays as it is
    """
    if may_exist():
        with errors.translated():
            has_layers = threads.call(_has_layers, backend, volume.name)
        if has_layers:
            do_flatten(volume, backend, keys)


def _has_layers(backend: store.Backend, name: str) -> bool:
    with backend.image(name, read_only=True) as image:
        return flattening.needs_keys(image) or bool(
            chain.needed(image))


def make_independent(volume: Any, backend: store.Backend,
                     keys: volume_keys.Keys) -> None:
    """Flatten *volume*, if it is one of these.

    :raises VolumeBackendAPIException: it stays as it is
    """
    if needs_keys(backend, volume.name):
        do_flatten(volume, backend, keys)


def clone(volume: Any, source: Any, flat: bool, backend: store.Backend,
          keys: volume_keys.Keys) -> None:
    """Clone one of these, whose image upstream's way would spoil.

    :param volume: with a copy of the source's key; one without a key is a
        clone that a backup reads, and prepares
    :param flat: let it have no parent
    :raises VolumeBackendAPIException: there is no clone
    """
    with errors.translated():
        threads.call(_clone, backend, volume.name, source.name)
        if not flat or not volume.encryption_key_id:
            return
        with deletion.image_removed_on_error(backend, volume.name):
            do_flatten(volume, backend, keys, is_new=True)


def _clone(backend: store.Backend, name: str, source: str) -> None:
    with backend.store() as pool, clone_snapshot.taken(
            pool, source, name) as parent:
        pool.clone(parent, name).__exit__()


def do_flatten(volume: Any, backend: store.Backend, keys: volume_keys.Keys,
               is_new: bool = False) -> None:
    """Flatten the image of *volume*, and delete the keys of its layers.

    :param is_new: it is a clone that upstream has just made, with the
        parent's header and nothing noted
    :raises VolumeBackendAPIException: it stays as it is
    """
    with errors.translated():
        if is_new:
            threads.call(_note, backend, volume.name,
                         volume.encryption_key_id)
        passphrase = keys.passphrase(volume.encryption_key_id)
        below, own = threads.call(keys_of, backend, volume.name)
        found = {key_id: keys.passphrase(key_id)
                 for key_id in below if key_id}
        LOG.info("%s: flattening", volume.name)
        threads.call(_flatten, backend, volume.name, passphrase,
                     found.__getitem__)
        for key_id in own:
            if key_id != volume.encryption_key_id:
                keys.delete(key_id)
        threads.call(_disown, backend, volume.name)


def _note(backend: store.Backend, name: str, key_id: str) -> None:
    """Note which keys a new clone needs: the source's are there still."""
    with backend.store() as pool, pool.open(name) as image:
        parent = image.parent()
        if parent is None:
            return
        with pool.open_snapshot(parent) as source:
            needed = chain.read(source)
        # With those of the source alone, there is nothing to be told.
        chain.write(image, [key_id, *needed] if needed else [])


def keys_of(backend: store.Backend, name: str
             ) -> Tuple[List[str], List[str]]:
    """The keys of an image's layers, and those that go with it."""
    with backend.image(name, read_only=True) as image:
        return (chain.needed(image),
                owned_keys.read(image))


def _flatten(backend: store.Backend, name: str, passphrase: bytes,
             fetch: decryption.Fetch) -> None:
    with backend.store() as pool:
        with pool.open(name, read_only=True) as image:
            parent = image.parent()
        flattening.flatten(pool, name, passphrase, fetch)
        flattening.release_parents(pool, parent, name)


def _disown(backend: store.Backend, name: str) -> None:
    with backend.image(name) as image:
        owned_keys.write(image, [])
