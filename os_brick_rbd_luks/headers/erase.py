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
from typing import List

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)


@header_io.names_image
def erase(image: base.Image, *, force: bool = False) -> List[int]:
    """Overwrite all keyslot areas; no passphrase opens the volume ever again.

    The areas are overwritten through RADOS. Whether old copies stay on a
    disk until they are reused is for the OSD's store and the disk to say.

    :param force: although snapshots keep the old header
    :returns: the keyslots that were destroyed
    :raises SnapshotsKeepHeader: their header would still open the volume
    :raises ImageLocked: somebody has the image open
    """
    header = header_io.read_header(image)
    snapshots = image.snapshots()
    if snapshots and not force:
        raise exception.SnapshotsKeepHeader(snapshots=", ".join(snapshots))
    numbers = [slot.number for slot in header.keyslots]
    header_io.apply(image, header.shred().plan, destructive=True)
    LOG.info("%s: all keyslots erased: %s", image.name, numbers)
    return numbers
