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
"""Copy a volume into an image where its payload is aligned.

librbd of Ceph 18 and newer opens no volume whose payload is not aligned to
the stripe period, as that of every volume of Cinder's own driver. The cipher
text is moved as it is, with the volume key and all keyslots: a sector's IV
counts from the start of the payload.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import keymaterial

LOG = logging.getLogger(__name__)


def realign(volume: sources.RawSource, store: base.Pool, name: str, *,
            restart: bool = False, report: Optional[progress.Report] = None,
            **image_options: Any) -> header_io.Header:
    """Copy *volume* to a new image *name*; no passphrase is needed.

    :param restart: see :func:`~os_brick_rbd_luks.image.partial.new`
    :param image_options: for the store: object size, features, ...
    :raises OperationRefused: it is aligned already
    :raises UnsupportedHeader: a payload that cannot be moved
    :raises InvalidParameter: see
        :func:`~os_brick_rbd_luks.headers.formatting.refuse_striping`
    """
    with exception.about(volume.name):
        header = volume.parsed()
        offset = _aligned(header, store.stripe_period(**image_options))
        if header.data_offset == offset:
            raise exception.OperationRefused(
                reason=f"its payload is aligned already, at {offset} bytes; "
                       "copy it with 'rbd cp'")
        # Before anything is made.
        header.relocate(offset)
        size = volume.size - header.data_offset
        areas = header_backup.read_areas(volume.image, header)

    with partial.new(store, name, lambda half: store.create(
            half, offset + size, **image_options), restart=restart
            ) as image, exception.about(f"{store.name}/{name}"):
        begin = header.data_offset
        # A pool may have defaults of its own for the striping.
        formatting.refuse_striping(image, header.type)
        actual = _aligned(header, image.stripe_period())
        if actual != offset:
            image.resize(actual + size)
        moved = header.relocate(actual)
        noted = volume.image.note(holes.NOTE) is not None
        # What was an object that nobody had written shares one with data now.
        if noted or header.type == "luks2":
            holes.keep(image)
        copying.copy(
            volume.reader(lambda at, length: volume.image.read(begin + at,
                                                               length)),
            lambda at, data: image.write(actual + at, data), size,
            ((at - begin, length) for at, length in volume.image.extents()
             if at + length > begin), policy=zeros.of_cipher_text(
                header, begin, noted=noted), report=report)
        # Without a header it is no volume, so that comes last.
        header_io.write_new(image, header_backup.plan_over_nothing(
            moved, areas, bytes(detect.START)))
        volume.verify()
    LOG.info("%s: copied to %s/%s with the payload at %d bytes", volume.name,
             store.name, name, moved.data_offset)
    return moved


def _aligned(header: header_io.Header, stripe_period: int) -> int:
    """Where the payload gets: as in a new volume, behind all keyslots."""
    least = formatting.data_offset(stripe_period,
                                   formatting.Options(type=header.type))
    return max(least, keymaterial.round_up(header.keyslots_end,
                                           stripe_period))
