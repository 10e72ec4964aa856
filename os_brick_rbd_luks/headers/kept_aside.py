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

"""The header of a volume, kept beside it while Ceph rolls the volume back.

A snapshot has the header of its time, and a roll-back puts that in the place
of the present one, object after object. Before it begins, an image beside the
volume gets both: the present header area, and behind that the snapshot's. It
is complete when it has its name. Whoever finds it puts the present header
back: before, in the middle of a roll-back or of putting it back, each block
of the area is one of these two.

It has no more than the volume and its snapshot have, so no other passphrase
opens anything by it; it goes when the header is back.

Source: ``rbd_snap_rollback``, which leaves metadata, and other images, as they
are; each object is put back at once or not at all.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Iterator, List, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.luks import keymaterial

LOG = logging.getLogger(__name__)

#: Of the names of images that have a header.
PREFIX = "rbd-luks-reverted."

#: Metadata of such an image: the identity of the volume's.
NOTE = "rbd_luks.header_of"

#: Bytes that are compared, and put back, together: each lies in one object.
_BLOCK = 4096

#: Bytes that are read at a time, of each of the three.
_PIECE = 1024 * 1024


def volume_name(name: str) -> str:
    """What the volume is called whose header an image has."""
    return name[len(PREFIX):] if name.startswith(PREFIX) else name


def is_needed(pool: base.Pool, name: str, snapshot: str) -> bool:
    """Whether a roll-back would change the header of a volume.

    :param name: the volume's
    :param snapshot: to which it is to be rolled back
    :raises HeaderError: there is no header, or none that we can use
    :raises OperationRefused: the snapshot's is of another volume key, or
        another layout
    """
    with pool.open(name, read_only=True, snapshot=snapshot) as image:
        then, former = header_backup.read(image)
    with pool.open(name, read_only=True) as image:
        now, present = header_backup.read(image)
    if not now.same_volume(then):
        raise exception.OperationRefused(
            reason="it was encrypted with another volume key since "
                   "the snapshot; make a new volume of the snapshot")
    return (now.pack(), present) != (then.pack(), former)


def keep(pool: base.Pool, name: str, snapshot: str) -> None:
    """Keep the present header of a volume, until :func:`settle`.

    :param name: the volume's
    :param snapshot: to which it is to be rolled back
    :raises HeaderError: see :func:`is_needed`
    :raises HeaderChanged: somebody changes the header; none is kept
    :raises OperationRefused: another one is kept, which could not be put back
    """
    if is_kept(pool, name):
        with exception.about(f"{pool.name}/{name}"):
            raise exception.OperationRefused(
                reason="the header that it had before an earlier revert was "
                       f"not put back, and is kept in image {PREFIX}{name}; "
                       "restore it, or remove that image")
    with pool.open(name, read_only=True, snapshot=snapshot) as then, \
            pool.open(name, read_only=True) as now:
        length = keymaterial.round_up(max(
            header_io.read_header(image).keyslots_end
            for image in (then, now)), _BLOCK)
        with partial.new(pool, PREFIX + name, lambda half: pool.create(
                half, 2 * length), restart=True) as kept:
            for begin, image in ((0, now), (length, then)):
                for offset, size in _pieces(length):
                    _write(kept, begin + offset, image.read(offset, size))
            kept.set_note(NOTE, now.identity())
            kept.flush()
            if _changes(kept, now) != []:
                with exception.about(now.name):
                    raise exception.HeaderChanged()
    LOG.info("%s/%s: its header is kept in image %s", pool.name, name,
             PREFIX + name)


def settle(pool: base.Pool, name: str) -> bool:
    """Put the kept header of a volume back, and keep it no longer.

    Nothing is put back, and it stays kept, if somebody has changed what the
    roll-back had put there: that may be what opens the volume by now. It goes
    if nothing shows a roll-back.

    :param name: the volume's
    :returns: whether there is none any more, and was one
    :raises ImageNotFound: there is no such volume
    :raises ImageLocked: somebody has the volume open, or changes its header
    """
    if not is_kept(pool, name):
        return False
    with contextlib.ExitStack() as stack:
        try:
            kept = stack.enter_context(pool.open(PREFIX + name,
                                                 read_only=True))
        except exception.ImageNotFound:
            # Somebody else has settled it just now.
            return True
        if not _settled(pool, name, kept):
            return False
    with contextlib.suppress(exception.ImageNotFound):
        pool.remove(PREFIX + name)
    return True


def is_kept(pool: base.Pool, name: str) -> bool:
    """Whether there is a header kept of a volume; opens nothing.

    :param name: the volume's
    """
    return base.has(pool, PREFIX + name)


def _settled(pool: base.Pool, name: str, kept: base.RBDImage) -> bool:
    with pool.open(name) as image, exception.about(image.name):
        if kept.note(NOTE) != image.identity():
            LOG.warning("%s: image %s has not its header, and stays",
                        image.name, PREFIX + name)
            return False
        if _changes(kept, image) == []:
            return True
        with image.lock() as lock:
            changes = _changes(kept, image)
            if changes is None:
                LOG.warning(
                    "%s: it was reverted to a snapshot, and its header was "
                    "changed before the one of now was put back, which is "
                    "kept in image %s: see 'Troubleshooting'",
                    image.name, PREFIX + name)
                return False
            header_io.refuse_watchers(image)
            for offset, length in changes:
                lock.renew()
                image.write(offset, kept.read(offset, length))
            image.flush()
        LOG.info("%s: its header is what it was before it was reverted",
                 image.name)
    return True


def _changes(kept: base.RBDImage, image: base.RBDImage
             ) -> Optional[List[Tuple[int, int]]]:
    """Offset and length of what a roll-back has put into a header area.

    :returns: None where something else has been written as well
    """
    found: List[Tuple[int, int]] = []
    others = False
    length = kept.size() // 2
    for begin, size in _pieces(length):
        now = kept.read(begin, size)
        there = image.read(begin, size)
        if there == now:
            continue
        then = kept.read(length + begin, size)
        for at in range(0, size, _BLOCK):
            block = slice(at, at + _BLOCK)
            if there[block] == now[block]:
                continue
            if there[block] == then[block]:
                found.append((begin + at, len(now[block])))
            else:
                others = True
    return None if others and found else _joined(found)


def _joined(blocks: List[Tuple[int, int]]) -> List[Tuple[int, int]]:
    """Runs of blocks, each as long as what is read at a time, at most."""
    runs: List[Tuple[int, int]] = []
    for offset, length in blocks:
        if runs:
            begin, so_far = runs[-1]
            if begin + so_far == offset and so_far + length <= _PIECE:
                runs[-1] = begin, so_far + length
                continue
        runs.append((offset, length))
    return runs


def _pieces(length: int) -> Iterator[Tuple[int, int]]:
    for offset in range(0, length, _PIECE):
        yield offset, min(_PIECE, length - offset)


def _write(image: base.RBDImage, offset: int, data: bytes) -> None:
    """Write what is not zeros, of which a new image is made."""
    for at, length in _joined([
            (at, len(data[at:at + _BLOCK]))
            for at in range(0, len(data), _BLOCK)
            if not base.is_zero(data[at:at + _BLOCK])]):
        image.write(offset + at, data[at:at + length])
