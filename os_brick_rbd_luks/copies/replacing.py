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
"""Give a volume another volume key: encrypt all of it anew, in its place.

A re-key lets another passphrase open the same volume key, so whoever has kept
that, or an old header, reads the volume for ever. Here a copy is made beside
the volume, with a volume key of its own and the same passphrase, and takes the
volume's place when it is complete:

1. the copy is made under another name, with a note of whose place it takes;
2. the volume gets the name that a former one has;
3. the copy gets the volume's name;
4. the former one is removed.

There is a volume of that name at all times, but for the moment between 2 and
3. A run that is killed is settled by the next one, or by :func:`settle`:
before 3 all is as it was, from then on the copy is the volume.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Callable, cast, List, Optional

from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial

LOG = logging.getLogger(__name__)

#: Of the names of copies that are complete and not yet in their place.
NEW = "rbd-luks-new."

#: Of the names of volumes whose place a copy has taken, or is taking.
FORMER = "rbd-luks-former."

# Metadata of ours begins so; it is true of one image only.
_OURS = "rbd_luks."

#: Metadata of a copy: the id of the image whose place it takes.
NOTE = "rbd_luks.in_place_of"


def volume_name(name: str) -> str:
    """What the volume is called that an image of any of these names is for."""
    name = partial.final_name(name)
    for prefix in (NEW, FORMER):
        if name.startswith(prefix):
            return name[len(prefix):]
    return name


def reencrypt(pool: base.Pool, name: str, passphrase: bytes,
              options: formatting.Options = formatting.Options(), *,
              remove: Callable[[base.Pool, str], None] = partial.remove_one,
              complete: Callable[[base.RBDImage, base.RBDImage], None] = (
                  lambda volume, copy: None),
              report: Optional[progress.Report] = None,
              **image_options: Any) -> header_io.Header:
    """Put a copy of a volume in its place; see the module.

    The same passphrase opens the copy, and no other one. Metadata of others
    than us goes along, see
    :meth:`~os_brick_rbd_luks.image.base.RBDImage.notes` for what may not.

    :param options: of the new header
    :param remove: removes the former image, with all that is only for it
    :param complete: called with the volume and the copy, open, before the
        copy is complete
    :param image_options: of the copy, for the store
    :returns: the header of the volume as it is now
    :raises SnapshotsKeepVolumeKey: it has snapshots
    :raises ImageLocked: somebody has it open, or another run is at it
    :raises SourceChanged: somebody opened it meanwhile; it is as it was
    :raises WrongPassphrase: nothing was done
    """
    settle(pool, name, remove=remove)
    with sources.opened(pool, name, passphrase=passphrase) as volume:
        original = volume.image
        refuse_snapshots(original)
        identity = original.identity()

        def completed(copy: base.RBDImage) -> None:
            for key, value in original.notes().items():
                if not key.startswith(_OURS):
                    copy.set_note(key, value)
            complete(original, copy)
            copy.set_note(NOTE, identity)

        header = cast(header_io.Header, transfer.new(
            pool, NEW + name, volume, transfer.Encryption(
                passphrase, options), size=volume.size, restart=True,
            complete=completed, report=report, **image_options))
    try:
        _exchange(pool, name, identity)
    except BaseException:
        base.remove_quietly(pool, NEW + name)
        raise
    LOG.info("%s/%s: encrypted anew, UUID %s", pool.name, name, header.uuid)
    _end(pool, name, remove)
    return header


def refuse_snapshots(image: base.RBDImage) -> None:
    """Refuse an image whose volume key would go on opening snapshots.

    :raises SnapshotsKeepVolumeKey: naming them
    """
    kept = image.history()
    if kept:
        with exception.about(image.name):
            raise exception.SnapshotsKeepVolumeKey(snapshots=", ".join(kept))


def _exchange(pool: base.Pool, name: str, identity: str) -> None:
    """Let the copy have the volume's name, unless somebody has the volume.

    It is open here, so that another run waits. Whoever else has opened it by
    its name has done so before that was another image's, and is seen.
    """
    with pool.open(name) as volume:
        if volume.identity() != identity:
            raise exception.SourceChanged(source=volume.name)
        try:
            _refuse(volume.others(), volume)
            pool.rename(name, FORMER + name)
            # From now on nobody finds it by its name. The copy took its time.
            refuse_snapshots(volume)
            _refuse(volume.others(), volume)
            pool.rename(NEW + name, name)
            _refuse(volume.others(), volume)
        except BaseException:
            _put_back(pool, name, identity)
            raise


def _refuse(holders: List[str], image: base.RBDImage) -> None:
    if holders:
        with exception.about(image.name):
            raise exception.ImageLocked(holders=", ".join(holders))


def _put_back(pool: base.Pool, name: str, identity: str) -> None:
    """Let the volume have its name again, whatever has that now."""
    try:
        if _is_copy(pool, name, identity):
            pool.rename(name, NEW + name)
        with contextlib.suppress(exception.ImageNotFound):
            pool.rename(FORMER + name, name)
    except exception.RBDLuksError as error:
        # Not to hide the one that was first; the next run settles it.
        LOG.error("%s/%s: the volume is image %s now, and could not be given "
                  "back its name: %s", pool.name, name, FORMER + name, error)


def _is_copy(pool: base.Pool, name: str, identity: str) -> bool:
    """Whether an image takes the place of the one of that identity."""
    try:
        with pool.open(name, read_only=True) as image:
            return image.note(NOTE) == identity
    except exception.ImageNotFound:
        return False


def settle(pool: base.Pool, name: str, *,
           remove: Callable[[base.Pool, str], None] = partial.remove_one
           ) -> bool:
    """Go on, or back, from where a run was killed.

    :param name: the volume's
    :param remove: see :func:`reencrypt`
    :returns: whether there was anything to do
    :raises ImageLocked: a run is at it, or was killed less than 30 s ago
    :raises OperationRefused: there is a former image, and another volume that
        has not taken its place
    """
    if not base.has(pool, FORMER + name):
        return base.has(pool, NEW + name) and _remove_copy(pool, name)
    identity = _identity_unused(pool, FORMER + name)
    if _is_copy(pool, name, identity):
        _end(pool, name, remove)
        return True
    if base.has(pool, name):
        with exception.about(f"{pool.name}/{name}"):
            raise exception.OperationRefused(
                reason=f"image {FORMER + name} had its name, and this one has "
                       "not taken its place: compare them, and rename or "
                       "remove one")
    LOG.warning("%s/%s: it is as it was before it was to be encrypted anew",
                pool.name, name)
    pool.rename(FORMER + name, name)
    _remove_copy(pool, name)
    return True


def _identity_unused(pool: base.Pool, name: str) -> str:
    """Of an image that nobody may have open.

    :raises ImageLocked: somebody has
    """
    with pool.open(name, read_only=True) as image:
        _refuse(image.watchers(), image)
        return image.identity()


def _remove_copy(pool: base.Pool, name: str) -> bool:
    """Remove a complete copy that never took its place.

    The volume may have changed since. While somebody has it open, that may be
    the run that has made the copy. What has no note is no copy of ours.
    """
    with contextlib.suppress(exception.ImageNotFound), \
            pool.open(NEW + name, read_only=True) as copy:
        if copy.note(NOTE) is None:
            return False
    with contextlib.suppress(exception.ImageNotFound), \
            pool.open(name, read_only=True) as image:
        if image.watchers():
            return False
    try:
        pool.remove(NEW + name)
    except exception.ImageNotFound:
        return False
    return True


def _end(pool: base.Pool, name: str,
         remove: Callable[[base.Pool, str], None]) -> None:
    """Remove the former image, and then the note of it."""
    with contextlib.suppress(exception.ImageNotFound):
        remove(pool, FORMER + name)
    with pool.open(name) as image:
        image.set_note(NOTE, None)
