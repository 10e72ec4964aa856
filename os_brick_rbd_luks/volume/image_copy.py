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
from typing import Any, Callable, Iterator

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
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import glance_images
from os_brick_rbd_luks.volume import half_made
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import rekey

LOG = logging.getLogger(__name__)

_INCOMING = half_made.INCOMING


def is_downloading(record: Any) -> None:
    """Let Cinder's volume say that its data are coming, as upstream's does.

    Source: ``cinder.volume.flows.manager.create_volume``
    (``_create_from_image_download``).
    """
    record.status = "downloading"
    record.save()


def may_be_layered(volume: encrypted.Volume, image: glance_images.Image
                   ) -> bool:
    """Whether *volume* can be a copy-on-write clone of *image*."""
    return bool(image.parents and not image.key_id
                and volume.options().type == "luks2"
                and own_headers.may_exist())


def own_header(volume: encrypted.Volume, image: glance_images.Image) -> None:
    """Make *volume* a copy-on-write clone of a raw image.

    :raises VolumeBackendAPIException: there is no such volume
    """
    with errors.of_image(image.id):
        _own_header(volume, image.parents[0], volume.passphrase(),
                    volume.options())


@threads.native
def _own_header(volume: encrypted.Volume, parent: base.Parent,
                passphrase: bytes, options: formatting.Options) -> None:
    with volume.pool() as pool:
        cloning.own_header(pool, parent, volume.name, passphrase, options,
                           size=volume.size, restart=True)


def replace(volume: encrypted.Volume, image: glance_images.Image,
            set_up: Callable[[Any], Any]) -> None:
    """Put the data of *image* in the place of what *volume* has.

    :param set_up: upstream's ``_setup_volume``, for a new image
    """
    if not image.key_id:
        own_headers.make_plain(volume)
        fill(volume, image)
        return
    is_new = take(volume, image)
    with errors.translated():
        set_up(volume.record)
    if is_new:
        rekey.own_key(volume, in_place=True)


def fill(volume: encrypted.Volume, image: glance_images.Image) -> None:
    """Encrypt a plain *image* into *volume*, in the place of what it has.

    :raises ImageUnacceptable: it is larger, or not safe
    :raises VolumeBackendAPIException: the volume is empty
    """
    with errors.of_image(image.id):
        passphrase = volume.passphrase()
        with glance_images.opened(image, volume) as source:
            _fill(volume, source, passphrase)


@threads.native
def _fill(volume: encrypted.Volume, source: transfer.Source,
          passphrase: bytes) -> None:
    with volume.pool() as pool:
        # Thick: a backup that knows nothing of holes writes zeros to them.
        transfer.existing(pool, volume.name, source, passphrase, thick=True,
                          force=True)


def take(volume: encrypted.Volume, image: glance_images.Image) -> bool:
    """Make an encrypted *image*, as Cinder uploads it, the one of *volume*.

    Whoever owns the image knows its passphrase, so that does not stay: a
    re-imaged volume keeps its key.

    :returns: whether the volume's key is but a copy of the image's
    :raises VolumeBackendAPIException: the volume is as it was
    """
    with errors.of_image(image.id):
        options = volume.options()
        own = volume.passphrase()
        with glance_images.opened(image, volume) as source:
            _receive(volume, source)
        try:
            is_copy = _opens(volume, own)
            if not is_copy:
                # Of another volume, to which this one was re-imaged.
                _own(volume, volume.keys.passphrase(
                    image.key_id or ""), own)
            _replace(volume, own, options)
        except BaseException:
            _discard(volume)
            raise
    return is_copy


@threads.native
def _receive(volume: encrypted.Volume, source: transfer.Source) -> None:
    with volume.pool() as pool:
        transfer.new(pool, volume.name + _INCOMING, source, None,
                     restart=True, cipher_text=True,
                     order=volume.session.order)


@threads.native
def _opens(volume: encrypted.Volume, passphrase: bytes) -> bool:
    with volume.pool() as pool, pool.open(
            volume.name + _INCOMING, read_only=True) as image:
        try:
            unlocking.unlock(image, passphrase)
        except exception.WrongPassphrase:
            return False
    return True


@threads.native
def _own(volume: encrypted.Volume, old: bytes, new: bytes) -> None:
    with volume.pool() as pool, pool.open(
            volume.name + _INCOMING) as image:
        keyslots.replace_all(image, old, new,
                     iterations=opts.options().pbkdf2_iterations)


@threads.native
def _replace(volume: encrypted.Volume, passphrase: bytes,
             options: formatting.Options) -> None:
    """Give what came the volume's size, format and name."""
    incoming = volume.name + _INCOMING
    with volume.pool() as pool:
        with pool.open(incoming, read_only=True) as image:
            header = header_io.read_header(image)
        if header.type != options.type:
            _convert(pool, incoming, passphrase, options, volume.size,
                     volume.session.order)
        with pool.open(incoming) as image:
            resizing.resize(image, volume.size)
            if options.type == "luks2":
                holes.keep(image)
        with _aside(pool, volume.name):
            pool.rename(incoming, volume.name)


@contextlib.contextmanager
def _aside(pool: base.Pool, name: str) -> Iterator[None]:
    """Let an image be out of the way, and remove it when all went well.

    :raises ImageLocked: it cannot be removed; nothing is changed then
    """
    aside = name + half_made.REPLACED
    try:
        with pool.open(name) as image, exception.about(image.name):
            header_io.refuse_watchers(image)
            if image.snapshots():
                raise exception.ImageLocked(holders="a snapshot")
    except exception.ImageNotFound:
        yield
        return
    with contextlib.suppress(exception.ImageNotFound):
        # Of an earlier time: it could not be removed then.
        deletion.remove(pool, aside, name)
    pool.rename(name, aside)
    try:
        yield
    except BaseException:
        try:
            pool.rename(aside, name)
        except exception.RBDLuksError as error:
            # Not to hide the one that was first.
            LOG.warning("%s: what was to be replaced is %s now: %s", name,
                        aside, error)
        raise
    try:
        deletion.remove(pool, aside, name)
    except exception.RBDLuksError as error:
        # The volume has its new data, and its deletion removes this.
        LOG.warning("%s: what was replaced is left: %s", aside, error)


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


@threads.native
def _discard(volume: encrypted.Volume) -> None:
    volume.session.reset()
    with volume.pool() as pool:
        base.remove_quietly(pool, volume.name + _INCOMING)
