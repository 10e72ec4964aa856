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
from typing import Any, Callable, NamedTuple, Optional, Tuple

from cinder import exception as cinder_exception

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import encrypted_images
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import glance_images
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import rekey


def set_downloading(record: Any) -> None:
    """Let Cinder's volume say that its data are coming, as upstream's does.

    Source: ``cinder.volume.flows.manager.create_volume``
    (``_create_from_image_download``).
    """
    record.status = "downloading"
    record.save()


def may_be_layered(volume: encrypted.Volume, image: glance_images.Image
                   ) -> bool:
    """Whether *volume* can be a copy-on-write clone of *image*.

    Not of one that begins as LUKS does, which is plain data of whoever made
    it: librbd would take it for a layer that has a passphrase.

    :raises VolumeBackendAPIException: the image cannot be read
    """
    return bool(image.parents and not image.key_id
                and volume.options().type == "luks2"
                and own_headers.may_exist()
                and not _begins_as_luks(volume, image.parents[0]))


@errors.translated()
@threads.native
def _begins_as_luks(volume: encrypted.Volume, parent: base.Parent) -> bool:
    with volume.pool() as pool, pool.open_snapshot(parent) as image:
        return header_io.looks_encrypted(image)


def own_header(volume: encrypted.Volume, image: glance_images.Image) -> None:
    """Make *volume* a copy-on-write clone of a raw image.

    :raises VolumeBackendAPIException: there is no such volume
    """
    with errors.of_image(image.id):
        _own_header(volume, image.parents[0], volume.passphrase(),
                    volume.options())
        volume.announce_key()


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
    own_headers.make_plain(volume)
    if not image.key_id:
        fill(volume, image)
        return
    taken = take(volume, image)
    if taken.is_new:
        with errors.translated():
            set_up(volume.record)
    if taken.is_copy:
        rekey.own_key(volume, in_place=True)
    elif taken.is_new:
        volume.announce_key()


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
        _pour(pool, volume.name, source, passphrase)


class Taken(NamedTuple):
    """What came of an encrypted image.

    :ivar is_copy: the volume's key is but a copy of the image's
    :ivar is_new: the volume had no image before
    """

    is_copy: bool
    is_new: bool


def take(volume: encrypted.Volume, image: glance_images.Image) -> Taken:
    """Make the data of an encrypted *image* those of *volume*.

    A new volume of the image's format gets it as it is. Where there is an
    image, which may have snapshots, or the format is another, its data come
    decrypted and are encrypted anew.

    Whoever owns the image knows its passphrase, so that does not stay: a
    re-imaged volume keeps its key.

    :raises VolumeBackendAPIException: a new volume has no image; another one
        is empty, or as it was
    """
    with errors.of_image(image.id):
        options = volume.options()
        passphrases = _Passphrases(volume, image)
        with encrypted_images.arriving(image, volume) as opener:
            return _take(volume, opener, passphrases, options, image.id)


class _Passphrases:
    """Those that may open an encrypted image."""

    def __init__(self, volume: encrypted.Volume, image: glance_images.Image
                 ) -> None:
        self.own = volume.passphrase()
        self._of_image: Optional[bytes] = None
        self._error: Optional[exception.RBDLuksError] = None
        try:
            self._of_image = volume.keys.passphrase(image.key_id or "")
        except exception.PassphraseUnavailable as error:
            # Of a volume that Cinder makes, its own one is a copy.
            self._error = error

    def unlock(self, found: encrypted_images.Found) -> Tuple[Any, bytes]:
        """What the right one opens, and that.

        :raises WrongPassphrase: neither does
        :raises PassphraseUnavailable: nobody knows the image's
        """
        try:
            return found.unlock(self.own), self.own
        except exception.WrongPassphrase:
            if self._of_image is None:
                raise self._error or exception.WrongPassphrase() from None
        return found.unlock(self._of_image), self._of_image


@threads.native
def _take(volume: encrypted.Volume, opener: encrypted_images.Opener,
          passphrases: _Passphrases, options: formatting.Options,
          image_id: str) -> Taken:
    with contextlib.ExitStack() as stack:
        try:
            found = stack.enter_context(opener())
            opened, passphrase = passphrases.unlock(found)
        except (exception.HeaderError, exception.WrongPassphrase) as error:
            raise cinder_exception.ImageUnacceptable(
                image_id=image_id, reason=str(error)) from error
        pool = stack.enter_context(volume.pool())
        size = found.size()
        if size is None or size > volume.size:
            raise exception.VolumeTooSmall(
                source=f"image {image_id}", size=volume.size, needed=size)
        is_new = not base.has(pool, volume.name)
        if not is_new:
            _pour(pool, volume.name, found.plain(opened), passphrases.own)
        elif found.header.type == options.type:
            _as_it_is(volume, pool, found, passphrase, passphrases.own)
        else:
            creating.create(pool, volume.name, volume.size, passphrases.own,
                            options, restart=True, order=volume.session.order)
            try:
                _pour(pool, volume.name, found.plain(opened),
                      passphrases.own)
            except BaseException:
                base.remove_quietly(pool, volume.name)
                raise
    return Taken(passphrase == passphrases.own, is_new)


def _pour(pool: base.Pool, name: str, source: transfer.Source,
          passphrase: bytes) -> None:
    # Thick: a backup that knows nothing of holes writes zeros to them.
    transfer.existing(pool, name, source, passphrase, thick=True, force=True)


def _as_it_is(volume: encrypted.Volume, pool: base.Pool,
              found: encrypted_images.Found, old: bytes, new: bytes) -> None:
    """Give a new volume the image, with its passphrase and size."""
    def complete(image: base.RBDImage) -> None:
        if old != new:
            keyslots.replace_all(
                image, old, new,
                iterations=opts.options().pbkdf2_iterations)
        resizing.resize(image, volume.size)
        if found.header.type == "luks2":
            holes.keep(image)

    transfer.new(pool, volume.name, found.raw(), None, restart=True,
                 cipher_text=True, complete=complete,
                 order=volume.session.order)
