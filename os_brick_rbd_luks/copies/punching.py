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

"""Let a copy of an image as it is have holes where its source had them.

Programs that know no holes write zeros for them: Cinder, where it migrates a
volume through a host or restores a backup in chunks, and librbd's own copy
within objects that have data. librbd would decrypt these zeros into noise,
where a guest had its zeros.

No cipher text of a sector is all zeros, so each sector that is, was a hole:
no key is needed (:mod:`~os_brick_rbd_luks.copies.zeros`).
"""

from __future__ import annotations

import functools
import logging
from typing import Iterator, Optional, Tuple

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.luks import cipher

LOG = logging.getLogger(__name__)


def punch(source: base.RBDImage, target: base.RBDImage) -> int:
    """Make holes of all that is zeros in *source*; the bytes of them.

    Of a LUKS1 volume only if it has the note of :mod:`.layers.holes`: else
    QEMU reads it, to which holes and zeros are noise alike.

    :param target: as it is, a copy of *source*: what that has there, all
        zeros, is lost. Nobody else has it open.
    """
    if _is_for_qemu(source):
        return 0
    size, period = source.size(), target.stripe_period()
    # Whole objects: of two halves, discarded one by one, an object stays,
    # with a hole that not every OSD tells of.
    piece = period * max(copying.PIECE // period, 1)
    found = copying.each(
        size, source.extents(),
        functools.partial(_punch, source, target, piece), piece)
    holes.keep(target)
    target.flush()
    LOG.info("%s: %d bytes are holes, as in %s", target.name, found,
             source.name)
    return found


def write(target: base.RBDImage, offset: int, data: bytes) -> None:
    """Write what an image has as it is, and make holes for its zeros.

    Whatever was there before. Sectors that are not whole are written.

    :param offset: bytes of the image before it
    :raises ImageTooSmall: it does not lie within the image
    """
    size = target.size()
    if offset + len(data) > size:
        raise exception.ImageTooSmall(size=size, needed=offset + len(data))
    begin = min(-offset % cipher.SECTOR, len(data))
    end = len(data) - (len(data) - begin) % cipher.SECTOR
    whole = data[begin:end]
    for start, part in ((0, data[:begin]), (end, data[end:])):
        if part:
            target.write(offset + start, part)
    for start, part in zero_runs.runs(whole, cipher.SECTOR):
        target.write(offset + begin + start, part)
    for start, count in zero_runs.gaps(whole, cipher.SECTOR):
        target.punch(offset + begin + start, count)


def keep(target: base.RBDImage) -> None:
    """Let librbd find the holes of a LUKS2 volume; others stay as they are."""
    header = _header(target)
    if header is not None and header.type == "luks2":
        holes.keep(target)


def _is_for_qemu(source: base.RBDImage) -> bool:
    header = _header(source)
    return (header is not None and header.type == "luks1"
            and source.note(holes.NOTE) != holes.THRESHOLD)


def _header(image: base.RBDImage) -> Optional[header_io.Header]:
    try:
        return header_io.header_if_any(image)
    except exception.HeaderError as error:
        # It may be repaired; until then nobody reads anything.
        LOG.warning("%s", error)
        return None


def _punch(source: base.RBDImage, target: base.RBDImage, piece: int,
           offset: int, length: int, data_there: bool) -> int:
    found = 0
    for start, count in (_gaps(source, offset, length) if data_there
                         else ((0, length),)):
        if count == length:
            target.zero(offset, length)
        if count < piece:
            # librbd leaves the rest of an object that the image cuts off.
            target.punch(offset + start, count)
        found += count
    return found


def _gaps(source: base.RBDImage, offset: int, length: int
          ) -> Iterator[Tuple[int, int]]:
    """Where zeros are, from *offset* on, each as long as it goes on.

    A part of a stripe is looked at, at a time; but an object of which two
    parts are made holes one by one is not gone.
    """
    begin, end = 0, 0
    for at, count in base.pieces(0, length):
        data = source.read(offset + at, count)
        for start, zeros in zero_runs.gaps(data, cipher.SECTOR):
            if at + start > end:
                if end > begin:
                    yield begin, end - begin
                begin = at + start
            end = at + start + zeros
    if end > begin:
        yield begin, end - begin
