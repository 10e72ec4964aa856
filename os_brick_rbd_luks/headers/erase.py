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

"""Destroy a volume by destroying every keyslot (crypto-shred)."""

from __future__ import annotations

import logging
import os
from typing import List, NamedTuple, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import plans

LOG = logging.getLogger(__name__)

#: Bytes before the payload of a LUKS2 volume as all programs make it; LUKS1
#: has less.
_USUAL = 16 * 1024 * 1024
_PIECE = 4 * 1024 * 1024


@header_io.names_image
def erase(image: base.Image, *, force: bool = False) -> List[int]:
    """Overwrite all keyslot areas; no passphrase opens the volume ever again.

    The areas are overwritten through RADOS. Whether old copies stay on a
    disk until they are reused is for the OSD's store and the disk to say.

    :param force: although snapshots keep the old header, or it cannot be used
        and the area of a usual one is to be overwritten
    :returns: the keyslots that were destroyed
    :raises SnapshotsKeepHeader: their header would still open the volume
    :raises NothingToErase: there is no header
    :raises OperationRefused: there is one that we cannot use
    :raises ImageLocked: somebody has the image open
    """
    found = check(image, force=force)
    if found is None:
        overwrite(image)
        return []
    header_io.apply(image, found.plan, destructive=True)
    LOG.info("%s: all keyslots erased: %s", image.name, found.keyslots)
    return found.keyslots


class Found(NamedTuple):
    """A header that can be erased."""

    #: numbers of those in use
    keyslots: List[int]
    plan: plans.Plan


@header_io.names_image
def check(image: base.Image, *, force: bool = False) -> Optional[Found]:
    """Raise what :func:`erase` would before it writes anything.

    :param force: see :func:`erase`
    :returns: what is to be done, None where the header cannot be used and
        *force* is given
    :raises NothingToErase: there is no header
    :raises SnapshotsKeepHeader: see :func:`erase`
    :raises OperationRefused: see :func:`erase`
    """
    earlier = image.history()
    start = header_io.read_start(image, second_copy=True)
    try:
        header = header_io.parse(start, image.size(), second_copy=True,
                                 backup=True)
        found = Found([slot.number for slot in header.keyslots],
                      header.shred().plan)
    except exception.NotLuks as error:
        raise exception.NothingToErase() from error
    except exception.HeaderError as error:
        if not force:
            raise exception.OperationRefused(
                reason=f"its header cannot be used ({_ailment(error)}); to "
                       "destroy the volume nevertheless, insist with --force "
                       "(force=True)") from error
        return None
    if earlier and not force:
        raise exception.SnapshotsKeepHeader(snapshots=", ".join(earlier))
    return found


def _ailment(error: exception.HeaderError) -> str:
    """What is wrong with a header, without what would save it."""
    if isinstance(error, exception.NoPayload):
        return (f"the image ends at byte {error.size}, before byte "
                f"{error.data_offset}, where its data would begin")
    return error.msg.partition("; ")[0]


@header_io.names_image
def overwrite(image: base.Image) -> None:
    """Overwrite where a usual header and its keyslots are, whatever is there.

    For what is to be destroyed and has no header that says where they are.

    :raises ImageLocked: somebody has the image open
    """
    start = image.read(0, _PIECE)
    end = min(image.size(), _USUAL)
    header_io.apply(image, plans.Plan((plans.Write(0, start),), (tuple(
        plans.Write(at, os.urandom(min(_PIECE, end - at)))
        for at in range(0, end, _PIECE)),)), destructive=True)
    LOG.info("%s: the first %d bytes overwritten", image.name, end)
