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
"""One rule for sizes: a guest sees as many GiB as Cinder says.

The image is that and the data offset, whatever made it.
"""

from __future__ import annotations

import logging
from typing import Optional

from cinder import exception as cinder_exception

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)


@errors.translated()
def resize(volume: encrypted.Volume, size: int) -> None:
    """Make the decrypted size of *volume* *size* bytes.

    :raises VolumeBackendAPIException: it has the size that it had
    """
    if not _resize(volume, size):
        with volume.session.flattening():
            _flatten_and_resize(volume, size)


@threads.native
def _resize(volume: encrypted.Volume, size: int) -> bool:
    """Resize what need not be flattened before; whether that was done."""
    with volume.image() as image:
        if _must_be_flat(image, size):
            return False
        resizing.resize(image, size)
    return True


@threads.native
def _flatten_and_resize(volume: encrypted.Volume, size: int) -> None:
    with volume.pool() as pool:
        with pool.open(volume.name) as image:
            LOG.info("%s: flattened, because librbd of Ceph %d reads neither "
                     "larger clones nor clones of clones", image.name,
                     pool.librbd.release)
            parent = image.parent()
            image.flatten()
            resizing.resize(image, size)
        flattening.release_parents(pool, parent, volume.name)


def _must_be_flat(image: base.RBDImage, size: int) -> bool:
    """Whether it is a clone that could not be read where it is to grow."""
    if image.parent() is None:
        return False
    header = header_io.read_header(image)
    return engines.fails_on_deep_clones(header, image.librbd) and (
        size > image.size() - header.data_offset or image.is_deep_clone())


def gib(size: int) -> int:
    """Whole GiB of so many bytes, rounded up as upstream does."""
    return -(-size // encrypted.GIB)


def decrypted_gib(here: session.Session, name: str,
                  snapshot: Optional[str] = None) -> int:
    """Whole GiB that a guest sees of an image, or of a snapshot of it.

    :raises ManageExistingInvalidReference: there is no such image, or it is
        not encrypted
    """
    try:
        return gib(_decrypted(here, name, snapshot))
    except cinder_exception.VolumeBackendAPIException as error:
        raise cinder_exception.ManageExistingInvalidReference(
            existing_ref=snapshot or name,
            reason=str(error.__cause__)) from error


@errors.translated()
@threads.native
def _decrypted(here: session.Session, name: str, snapshot: Optional[str]
               ) -> int:
    with here.pool() as pool, pool.open(
            name, read_only=True, snapshot=snapshot) as image, \
            exception.about(image.name):
        return decrypted(image)


def decrypted(image: base.RBDImage) -> int:
    """Bytes that a guest sees of an image, in a native thread.

    :raises HeaderError: it has no header, or none that we can use
    """
    return header_io.guest_size(image, header_io.read_header(image))
