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
from typing import List

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
    :raises NotLuks: there is no header
    :raises OperationRefused: there is one that we cannot use
    :raises ImageLocked: somebody has the image open
    """
    earlier = image.history()
    start = header_io.read_start(image, second_copy=True)
    numbers: List[int] = []
    try:
        header = header_io.parse(start, image.size(), second_copy=True,
                                 backup=True)
        numbers = [slot.number for slot in header.keyslots]
        plan = header.shred().plan
    except exception.NotLuks:
        raise
    except exception.HeaderError as error:
        if not force:
            raise exception.OperationRefused(
                reason=f"its header cannot be used ({error.msg}); to destroy "
                       "the volume nevertheless, insist with --force "
                       "(force=True)") from error
        overwrite(image)
        return numbers
    if earlier and not force:
        raise exception.SnapshotsKeepHeader(snapshots=", ".join(earlier))
    header_io.apply(image, plan, destructive=True)
    LOG.info("%s: all keyslots erased: %s", image.name, numbers)
    return numbers


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
