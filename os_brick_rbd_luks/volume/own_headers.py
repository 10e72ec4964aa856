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

import contextlib
import logging
from typing import Optional

from cinder import context as cinder_context
from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import volume_utils

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import session

LOG = logging.getLogger(__name__)


def may_exist() -> bool:
    """Whether librbd here can have made one."""
    return releases.installed().loads_layers


@errors.translated()
@threads.native
def needs_keys(here: session.Session, name: str) -> bool:
    """Whether an image is such a volume."""
    try:
        with here.pool() as pool, pool.open(
                name, read_only=True) as image:
            return flattening.needs_keys(image)
    except exception.ImageNotFound:
        return False


def needing_keys(name: str, present: encrypted.Volume
                 ) -> Optional[encrypted.Volume]:
    """The volume of an image that upstream's flatten would spoil, or None.

    :param present: the volume, or snapshot, that a request is about
    :raises VolumeBackendAPIException: no volume has the keys of that image
    """
    if not may_exist() or not needs_keys(present.session, name):
        return None
    if present.name == name:
        return present
    try:
        record = objects.Volume.get_by_id(
            cinder_context.get_admin_context(),
            volume_utils.extract_id_from_volume_name(name))
    except cinder_exception.VolumeNotFound:
        raise cinder_exception.VolumeBackendAPIException(
            data=f"Image {name} is a clone with a header of its own, and "
                 "there is no volume that has its keys.") from None
    # An admin's context has no token for the key manager.
    record._context = present.record.obj_context
    return present.beside(record)


def make_plain(volume: encrypted.Volume) -> None:
    """Flatten *volume*, if librbd would need the keys of its layers.

    For who is about to replace its data without them.

    :raises VolumeBackendAPIException: it stays as it is
    """
    if may_exist() and _has_layers(volume):
        flatten(volume)


@errors.translated()
@threads.native
def _has_layers(volume: encrypted.Volume) -> bool:
    with contextlib.suppress(exception.ImageNotFound, exception.NotLuks), \
            volume.image(read_only=True) as image:
        if image.parent() is not None:
            header = header_io.read_header(image)
            return header.clone or bool(sealed.needed(image, header).count)
    return False


def make_independent(volume: encrypted.Volume) -> None:
    """Flatten *volume*, if it is one of these.

    :raises VolumeBackendAPIException: it stays as it is
    """
    if needs_keys(volume.session, volume.name):
        flatten(volume)


@errors.translated()
def clone(volume: encrypted.Volume, source: str, flat: bool) -> None:
    """Clone one of these, whose image upstream's way would spoil.

    :param volume: with a copy of the source's key; one without a key is a
        clone that a backup reads, and prepares
    :param source: the image to clone
    :param flat: let it have no parent
    :raises VolumeBackendAPIException: there is no clone
    """
    _clone(volume, source)
    if flat and volume.record.encryption_key_id:
        with deletion.removed_on_error(volume):
            flatten(volume)


@threads.native
def _clone(volume: encrypted.Volume, source: str) -> None:
    with volume.pool() as pool, clone_snapshot.taken(
            pool, source, volume.name, restart=True) as parent:
        pool.clone(parent, volume.name).__exit__()


@errors.translated()
def flatten(volume: encrypted.Volume) -> None:
    """Flatten the image of *volume*, with all that is sealed in it.

    :raises VolumeBackendAPIException: it stays as it is
    """
    # Ceph alone flattens a clone that has its parent's volume key.
    passphrase = (volume.passphrase()
                  if needs_keys(volume.session, volume.name) else b"")
    with volume.session.flattening():
        LOG.info("%s: flattening", volume.name)
        _flatten(volume, passphrase)


@threads.native
def _flatten(volume: encrypted.Volume, passphrase: bytes) -> None:
    with volume.pool() as pool:
        with pool.open(volume.name, read_only=True) as image:
            parent = image.parent()
        flattening.flatten(pool, volume.name, passphrase)
        flattening.release_parents(pool, parent, volume.name)
