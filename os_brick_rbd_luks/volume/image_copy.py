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
"""Fill encrypted volumes with Glance images."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import glance_images
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import sizes
from os_brick_rbd_luks.volume import store
from os_brick_rbd_luks.volume import volume_keys

LOG = logging.getLogger(__name__)

#: An image that comes, before it takes the place of the volume's.
_INCOMING = ".incoming"


def can_be_clone(options: formatting.Options) -> bool:
    """Whether a clone of a plain image can be a volume of that type."""
    return options.type == "luks2" and own_headers.may_exist()


def own_header(volume: Any, image: glance_images.Image, backend: store.Backend,
               keys: volume_keys.Keys) -> None:
    """Make *volume* a copy-on-write clone of a raw image.

    :raises VolumeBackendAPIException: there is no such volume
    """
    with errors.of_image(image.id):
        threads.call(_own_header, backend, image.parents[0], volume.name,
                     keys.passphrase(volume.encryption_key_id),
                     volume_keys.options(volume), sizes.of(volume))


def _own_header(backend: store.Backend, parent: base.Parent, name: str,
                passphrase: bytes, options: formatting.Options, size: int
                ) -> None:
    with backend.store() as pool:
        cloning.own_header(pool, parent, name, passphrase, options, size=size)


def fill(volume: Any, image: glance_images.Image, backend: store.Backend,
         keys: volume_keys.Keys) -> None:
    """Encrypt a plain *image* into *volume*, in the place of what it has.

    :raises ImageUnacceptable: it is larger, or not safe
    :raises VolumeBackendAPIException: the volume is empty
    """
    with errors.of_image(image.id):
        passphrase = keys.passphrase(volume.encryption_key_id)
        with glance_images.opened(image, backend) as source:
            threads.call(_fill, backend, volume.name, source, passphrase)


def _fill(backend: store.Backend, name: str, source: transfer.Source,
          passphrase: bytes) -> None:
    with backend.store() as pool:
        # Thick: a backup that knows nothing of holes writes zeros to them.
        transfer.existing(pool, name, source, passphrase, thick=True,
                          force=True)


def take(volume: Any, image: glance_images.Image, backend: store.Backend,
         keys: volume_keys.Keys) -> bool:
    """Make an encrypted *image*, as Cinder uploads it, the one of *volume*.

    Whoever owns the image knows its passphrase, so that does not stay: a
    re-imaged volume keeps its key.

    :returns: whether the volume's key is but a copy of the image's
    :raises VolumeBackendAPIException: the volume is as it was
    """
    with errors.of_image(image.id):
        options = volume_keys.options(volume)
        own = keys.passphrase(volume.encryption_key_id)
        with glance_images.opened(image, backend) as source:
            threads.call(_receive, backend, volume.name, source)
        try:
            is_copy = threads.call(_opens, backend, volume.name, own)
            if not is_copy:
                # Of another volume, to which this one was re-imaged.
                foreign = keys.passphrase(
                    image.meta["cinder_encryption_key_id"])
                threads.call(_own, backend, volume.name, foreign, own)
            threads.call(_replace, backend, volume.name, own, options,
                         sizes.of(volume))
        except BaseException:
            threads.call(_discard, backend, volume.name)
            raise
    return is_copy


def _receive(backend: store.Backend, name: str, source: transfer.Source
             ) -> None:
    with backend.store() as pool:
        transfer.new(pool, name + _INCOMING, source, None, restart=True,
                     order=backend.order)


def _opens(backend: store.Backend, name: str, passphrase: bytes) -> bool:
    with backend.image(name + _INCOMING, read_only=True) as image:
        try:
            unlocking.unlock(image, passphrase)
        except exception.WrongPassphrase:
            return False
    return True


def _own(backend: store.Backend, name: str, old: bytes, new: bytes) -> None:
    with backend.image(name + _INCOMING) as image:
        keyslots.replace_all(image, old, new,
                     iterations=opts.options().pbkdf2_iterations)


def _replace(backend: store.Backend, name: str, passphrase: bytes,
             options: formatting.Options, size: int) -> None:
    """Give what came the volume's size, format and name."""
    incoming = name + _INCOMING
    with backend.store() as pool:
        with pool.open(incoming, read_only=True) as image:
            header = header_io.read_header(image)
        if header.type != options.type:
            _convert(pool, incoming, passphrase, options, size, backend.order)
        with pool.open(incoming) as image:
            resizing.resize(image, size)
        with contextlib.suppress(exception.ImageNotFound):
            deletion.remove(pool, name)
        pool.rename(incoming, name)


def _convert(pool: base.Pool, name: str, passphrase: bytes,
             options: formatting.Options, size: int, order: int) -> None:
    """Encrypt anew what has the other format."""
    converted = name + "." + options.type
    with sources.opened(pool, name, None, passphrase) as volume:
        transfer.new(pool, converted, volume, transfer.Encryption(
            passphrase, options), size=size, thick=True, restart=True,
            order=order)
    pool.remove(name)
    pool.rename(converted, name)


def _discard(backend: store.Backend, name: str) -> None:
    with backend.store() as pool:
        base.remove_quietly(pool, name + _INCOMING)
