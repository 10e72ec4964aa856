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
"""Encrypt a detached volume anew, with another volume key: a deep rotation.

Its passphrase stays, and is rotated as that of any other volume afterwards.
While its data is copied, the volume is in maintenance, as Cinder's own
migration has it: nobody can attach, snapshot or delete it. A volume whose
rotation was killed stays so, and says in the database whose work that is; who
comes next puts it right.

Source: ``cinder.volume.api.API.migrate_volume`` (``maintenance``), 21 to 29.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import time
from typing import Any, Iterator

from cinder.db import api as db
from cinder.objects import fields

from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import ownership
from os_brick_rbd_luks.volume import pending_keys

LOG = logging.getLogger(__name__)

#: What Cinder's database has as the previous status meanwhile; of a volume
#: that a server has, as the migration status.
MARK = "rbd-luks-deep-rotation"

#: Metadata of an image: which it is, and with which key it was encrypted
#: anew. A run that goes on where another was killed need not do so again.
NOTE = "rbd_luks.encrypted_anew"

_FREE = fields.VolumeStatus.AVAILABLE
_BUSY = fields.VolumeStatus.MAINTENANCE


def is_interrupted(record: Any) -> bool:
    """Whether a run was killed, or is at it still.

    :param record: Cinder's volume, just read
    """
    return bool(record.status == _BUSY and record.previous_status == MARK)


def encrypt_anew(driver: Any, volume: encrypted.Volume) -> None:
    """Give an available volume another volume key, under the same passphrase.

    Who calls this has the rotation's locks.

    :param driver: of the volume's backend
    :raises NotRotated: it is not available any more
    :raises PassphraseUnavailable: its key
    :raises SnapshotsKeepVolumeKey: Ceph has snapshots of it that Cinder does
        not know
    :raises RBDLuksError: the image. It is as it was, or encrypted anew if
        only the end has failed; and in maintenance if neither is certain
    """
    passphrase, options = volume.passphrase(), volume.options()
    key_id = volume.record.encryption_key_id
    with _maintained(driver, volume):
        _reencrypt(volume, passphrase, options, key_id)
        _set_up(driver, volume)


def recover(driver: Any, volume: encrypted.Volume) -> None:
    """Put right what a killed run has left of a volume.

    Who calls this has the rotation's locks, so that run is no more.

    :param driver: of the volume's backend
    :raises ImageLocked: its image is open still, for half a minute
    """
    _settle(volume)
    # That run may have been killed before it did so; once more does no harm.
    _set_up(driver, volume)
    set_free(volume.record)


def _set_up(driver: Any, volume: encrypted.Volume) -> None:
    """Give an image what upstream gives to each new one."""
    driver._setup_volume(volume.record)


@contextlib.contextmanager
def _maintained(driver: Any, volume: encrypted.Volume) -> Iterator[None]:
    """Let nobody begin to work on a volume meanwhile.

    Nor afterwards, if it is not known which image has its name: then it waits
    for :func:`recover`.
    """
    record = volume.record
    if not record.conditional_update(
            {"status": _BUSY, "previous_status": MARK},
            {"status": _FREE, "migration_status": record.migration_status,
             "encryption_key_id": record.encryption_key_id,
             "host": record.host},
            filters=[~db.volume_has_snapshots_filter()]):
        raise exception.NotRotated(reason="something else began to work on it")
    record.refresh()
    try:
        yield
    except BaseException:
        # The error may be the connection's.
        volume.session.reset()
        try:
            recover(driver, volume)
        except Exception as error:  # of the database, too
            LOG.error("volume %s: it stays in maintenance until it is rotated "
                      "once more: %s", record.id, error)
        raise
    set_free(record)


def set_free(record: Any) -> None:
    """Let a volume be available again, if it is as it was set."""
    if not record.conditional_update(
            {"status": _FREE, "previous_status": None},
            {"status": _BUSY, "previous_status": MARK}):
        # An administrator has set another one.
        LOG.warning("volume %s: its status is not the one that was set for "
                    "the rotation, so it stays as it is", record.id)
    record.refresh()


@threads.native
def _reencrypt(volume: encrypted.Volume, passphrase: bytes,
               options: formatting.Options, key_id: str) -> None:
    with volume.pool() as pool:
        # A client that was killed counts for half a minute.
        pool.wait_alone(volume.name)
        replacing.reencrypt(
            pool, volume.name, passphrase, options,
            complete=functools.partial(carry, key_id),
            remove=functools.partial(deletion.remove_former,
                                     name=volume.name),
            order=volume.session.order)


@threads.native
def is_done(volume: encrypted.Volume, since: float) -> bool:
    """Whether a volume was encrypted anew, and has the same key since.

    :param since: when at the earliest, in seconds since 1970
    """
    with volume.image(read_only=True) as image:
        image_id, key_id, when, *_rest = (
            image.note(NOTE) or "").split() + 3 * [""]
        # librbd copies metadata to clones.
        return (image_id == base.image_id(image)
                and key_id == volume.record.encryption_key_id
                and when.isdecimal() and int(when) >= int(since))


def carry(key_id: str, image: base.RBDImage, copy: base.RBDImage) -> None:
    """Note on a volume's new image what stays true of the volume.

    In a native thread.

    :param key_id: of the present key, which is both images'
    """
    copy.set_note(NOTE, f"{base.image_id(copy)} {key_id} {time.time():.0f}")
    # Keys that could not be deleted then go with the volume, as before.
    pending_keys.write(copy, pending_keys.read(image))
    # A former owner knows the passphrase, which is the same. All other notes
    # of ours are of one image.
    copy.set_note(ownership.NOTE, image.note(ownership.NOTE))
    others = len(header_io.read_header(image).keyslots) - 1
    if others:
        LOG.warning("%s: %d passphrases that Cinder does not know do not open "
                    "it any more: the new image has the volume's key only",
                    image.name, others)


@threads.native
def _settle(volume: encrypted.Volume) -> None:
    with volume.pool() as pool:
        for name in (replacing.FORMER, replacing.NEW):
            # A client that was killed counts for half a minute.
            with contextlib.suppress(exception.ImageNotFound):
                pool.wait_alone(name + volume.name)
        deletion.settle(pool, volume.name)
