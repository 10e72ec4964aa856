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
"""Give a volume that was cloned a passphrase of its own.

Cinder's API gives a clone a copy of its source's key. At every moment the key
id in Cinder's database opens the volume: the new passphrase is added, the
database changed, and only then is the old passphrase removed. All keys that
exist meanwhile are noted on the image, so that they go with it when the
service is killed in between.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import List, Optional

from oslo_utils import excutils

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import chain
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import owned_keys
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class _Layers:
    """What a volume has below itself."""

    #: it has the header of its parent, and librbd of Ceph 18 and newer will
    #: ask for the parent's passphrase: the old one
    needs_old: bool = False
    #: see :func:`~os_brick_rbd_luks.layers.chain.read`, of that parent
    parent_keys: List[str] = dataclasses.field(default_factory=list)
    #: the keys that it needs already: no matter of its own passphrase
    present: List[str] = dataclasses.field(default_factory=list)


@errors.translated()
def own_key(volume: encrypted.Volume, in_place: bool = False) -> None:
    """Replace the key of *volume* and its passphrase.

    The old key is deleted, unless a layer below the volume needs it, or a
    snapshot that was taken meanwhile. When
    anything fails, the key and the database are as before; what the header
    has by then is for the caller, who removes the image.

    :param volume: a clone, with a key that nobody else has; it is saved
    :param in_place: nobody removes the image. Once the database has the new
        key, it keeps that, for the old one may not open the volume any more
    :raises VolumeBackendAPIException: the image, or a key
    """
    record, keys = volume.record, volume.keys
    old_id = record.encryption_key_id
    old = keys.passphrase(old_id)
    layers = _layers(volume)
    copies: List[str] = []
    stored = False
    new_id = keys.create(record.volume_type_id)
    try:
        # At once: of a service killed before that, a key is left.
        _note(volume, [new_id, old_id])
        # Of its parent's, which go with the parent.
        for key_id in layers.parent_keys:
            copies.append(keys.copy(key_id) if key_id else chain.UNKNOWN)
            _note(volume, copies[-1:])
        new = keys.passphrase(new_id)
        below = ([old_id, *copies] if layers.needs_old
                 else layers.present)
        keyslot = _add(volume, old, new)
        record.encryption_key_id = new_id
        record.save()
        stored = True
        stale = _finish(volume, new, keyslot, below)
    except BaseException:
        with excutils.save_and_reraise_exception():
            if not (in_place and stored):
                record.encryption_key_id = old_id
                record.save()
                for key_id in (new_id, *filter(None, copies)):
                    keys.delete(key_id)
    LOG.info("%s: key %s took the place of %s", volume.name, new_id, old_id)
    done = [new_id]
    if stale:
        LOG.warning("%s: its old key %s is kept until the volume is deleted, "
                    "for snapshots still open with that only: %s",
                    volume.name, old_id, ", ".join(stale))
    elif not layers.needs_old and _is_deleted(volume, old_id):
        done.append(old_id)
    _forget(volume, done)


def _is_deleted(volume: encrypted.Volume, key_id: str) -> bool:
    """Delete a key that the volume has no use for, if that works."""
    try:
        volume.keys.delete(key_id)
    except Exception as error:  # a backend of castellan may raise anything
        LOG.warning("%s: key %s is of no use any more, but cannot be deleted "
                    "(%s); that is tried again when the volume is deleted",
                    volume.name, key_id, error)
        return False
    return True


@threads.native
def _note(volume: encrypted.Volume, key_ids: List[str]) -> None:
    """Note keys on an image, beside those that are noted."""
    with volume.image() as image:
        owned_keys.write(image, list(dict.fromkeys(filter(
            None, [*owned_keys.read(image), *key_ids]))))


@threads.native
def _forget(volume: encrypted.Volume, key_ids: List[str]) -> None:
    """Let keys be noted no more; the others are still owned."""
    with volume.image() as image:
        owned_keys.write(image, [key_id for key_id in owned_keys.read(image)
                                 if key_id not in key_ids])


@threads.native
def _layers(volume: encrypted.Volume) -> _Layers:
    with volume.pool() as pool, pool.open(
            volume.name, read_only=True) as image:
        header = header_io.read_header(image)
        parent = image.parent()
        if parent is None:
            return _Layers()
        if header.type == "luks1" and not header.clone:
            # QEMU's luks driver knows nothing of layers.
            return _Layers(present=[chain.UNKNOWN])
        noted = chain.noted(image)
        if noted:
            return _Layers(present=noted)
        with pool.open_snapshot(parent) as source, \
                exception.about(volume.name):
            # Of a plain image, or of another volume key, it needs nothing.
            before = header_io.header_if_any(source)
            if before is None or not header.same_volume(before):
                return _Layers()
            return _Layers(True, chain.read(source))


@threads.native
def _add(volume: encrypted.Volume, old: bytes, new: bytes) -> Optional[int]:
    with volume.image() as image:
        return keyslots.add(
            image, old, new,
            iterations=opts.options().pbkdf2_iterations).added


@threads.native
def _finish(volume: encrypted.Volume, new: bytes, keyslot: Optional[int],
            below: List[str]) -> List[str]:
    """Let nobody else's passphrase open the image.

    :param keyslot: that was added for *new*, so that the others, which may
        cost seconds, are not tried
    :returns: snapshots that the old one still opens, and the new one does not
    """
    with volume.pool() as pool, pool.open(volume.name) as image:
        stale = keyslots.remove_others(image, new, keyslot).stale_snapshots
        chain.write(image, below)
        parent = image.parent()
        if parent is not None:
            holes.keep(image)
            holes.keep_source(pool, parent)
    return stale
