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

"""Copy what a guest sees from image to image within a Ceph cluster.

For a retype, Cinder makes a volume of the new type, copies what a guest sees,
one piece after the other through os-brick's handles, zeros included, and lets
the new one take the place. Only the copy is ours: all else goes as before,
and is undone by the manager when anything fails.

For a re-image from an image that Nova has made of a server, which is a
snapshot of its root volume, Cinder makes a temporary volume of the snapshot
and copies that as it is, header included. That would be another volume's
header, so here the data alone is copied.

Source: ``cinder.volume.manager`` (``_migrate_volume_generic``,
``_copy_volume_data``, ``_revert_to_snapshot_generic``), 21 to 29.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Iterator, Optional

from cinder.volume import volume_types

from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import moving
from os_brick_rbd_luks.volume import own_headers

LOG = logging.getLogger(__name__)


def retype(driver: Any, context: Any, source: Any, destination: Any) -> bool:
    """Copy a volume to one of another encryption, if the driver can do that.

    :param source: Cinder's volume, which nobody has
    :param destination: likewise; a new one
    :returns: whether it has; else nothing was done
    :raises VolumeBackendAPIException: the destination is not complete
    """
    if not volume_types.volume_types_encryption_changed(
            context, source.volume_type_id, destination.volume_type_id):
        return False
    there = moving.find(driver, context, destination)
    if there is None:
        return False
    with driver._encrypted(source) as ours:
        return _retype(ours, there, destination)


@errors.translated()
def _retype(volume: encrypted.Volume, there: moving.Place, destination: Any
            ) -> bool:
    return _to(volume, there, destination,
               _passphrase(volume, volume.record),
               _passphrase(volume, destination))


def _passphrase(volume: encrypted.Volume, record: Any) -> Optional[bytes]:
    """What opens a volume or a snapshot of Cinder's, None of a plain one."""
    key_id = record.encryption_key_id
    return volume.keys.passphrase(key_id) if key_id else None


@threads.native
def _to(volume: encrypted.Volume, there: moving.Place, destination: Any,
        own: Optional[bytes], other: Optional[bytes]) -> bool:
    name = str(destination.name)
    with moving.pool_at(there) as target:
        if target is None:
            return False
        with volume.pool() as pool:
            # Who had it just now may have been killed.
            pool.wait_alone(volume.name)
            with _opened(pool, volume.name, None, own,
                         volume.size) as source:
                _pour(source, target, name, other,
                      volume.beside(destination).size)
    LOG.info("%s: copied to image %s of pool %s", volume.name, name,
             there.pool)
    return True


@contextlib.contextmanager
def _opened(pool: base.Pool, name: str, snapshot: Optional[str],
            passphrase: Optional[bytes], size: int
            ) -> Iterator[transfer.Source]:
    """Open what is copied.

    :param passphrase: None of a plain volume. A header in an image of just
        the volume's size is its guest's, who encrypts his own disk
    :param size: bytes that a guest sees of the volume
    """
    if passphrase is None:
        with pool.open(name, read_only=True, snapshot=snapshot) as image, \
                exception.about(image.name):
            if image.size() == size:
                yield sources.RawSource(pool, name, snapshot, image)
                return
    with sources.opened(pool, name, snapshot, passphrase) as source:
        yield source


def _pour(source: transfer.Source, target: base.Pool, name: str,
          passphrase: Optional[bytes], size: int) -> None:
    # What a guest could rely on is written: a backup that knows nothing of
    # holes writes zeros to them.
    transfer.existing(
        target, name, source, passphrase, force=True, plain_size=size,
        thick=(passphrase is not None
               and source.holes is zeros.Holes.ZEROS))


def reimage(driver: Any, context: Any, volume: Any, snapshot: Any) -> bool:
    """Put the data of *snapshot* in the place of what *volume* has.

    The volume keeps its key, and its own snapshots.

    :param volume: Cinder's, which nobody has open
    :param snapshot: Cinder's, of any volume
    :returns: whether the driver has done so; else nothing was done
    :raises VolumeBackendAPIException: the volume is empty, or as it was
    """
    if not (volume.encryption_key_id or snapshot.encryption_key_id):
        return False
    there = moving.find(driver, context, snapshot.volume)
    if there is None:
        return False
    with driver._encrypted(volume) as ours:
        own_headers.make_plain(ours)
        return _reimage(ours, there, snapshot)


@errors.translated()
def _reimage(volume: encrypted.Volume, there: moving.Place, snapshot: Any
             ) -> bool:
    return _from(volume, there, snapshot, _passphrase(volume, snapshot),
                 _passphrase(volume, volume.record))


@threads.native
def _from(volume: encrypted.Volume, there: moving.Place, record: Any,
          other: Optional[bytes], own: Optional[bytes]) -> bool:
    name, snapshot = str(record.volume_name), str(record.name)
    size = int(record.volume_size) * encrypted.GIB
    with moving.pool_at(there) as pool:
        if pool is None:
            return False
        with _opened(pool, name, snapshot, other, size) as source, \
                volume.pool() as target:
            target.wait_alone(volume.name)
            _pour(source, target, volume.name, own, volume.size)
    LOG.info("%s: has the data of snapshot %s@%s", volume.name, name,
             snapshot)
    return True
