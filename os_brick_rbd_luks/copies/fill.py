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

"""Write encrypted zeros where an encrypted image has no data.

What librbd shows of a LUKS2 volume as zeros may be a hole. A raw copy that
knows no holes, as most backups are, has zero bytes there, and those decrypt to
noise. An image that was filled reads the same when it was copied.

No cipher text of a sector is all zeros, so such a sector is a hole, whether
Ceph knows that or not. What holes are for whom says
:mod:`~os_brick_rbd_luks.layers.holes`.
"""

from __future__ import annotations

import functools
import logging

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import guarding
from os_brick_rbd_luks.layers import zero_runs

LOG = logging.getLogger(__name__)


def fill_holes(store: base.Pool, name: str, passphrase: bytes) -> int:
    """Let a raw copy of an image be complete; the bytes written.

    Afterwards the image takes the space of its whole size. Nothing is written
    to a LUKS1 volume: holes are noise to QEMU before and after a copy.

    :raises ImageLocked: somebody has it open, or opens it meanwhile, so that
        a sector may get data between our look and our write; see
        :mod:`~os_brick_rbd_luks.layers.guarding`
    :raises OperationRefused: it is a clone with a header of its own; what is
        its parent's is plain text or has another key
    """
    with store.open(name) as image, exception.about(image.name):
        header = header_io.read_header(image)
        if header.type == "luks1":
            return 0
        if header.clone:
            raise exception.OperationRefused(
                reason="a raw copy of a clone with a header of its own is "
                       "never complete; flatten it first")
        header_io.refuse_watchers(image)
        with store.open(name) as other:
            view = guarding.over(decryption.open_view(
                other, header, passphrase), other)
            begin = header.data_offset
            written = copying.each(
                view.size(), ((at - begin, length) for at, length
                              in image.extents() if at + length > begin),
                functools.partial(_fill, image, header, view))
            view.flush()
        LOG.info("%s: %d bytes of holes filled", image.name, written)
    return written


def _fill(image: base.RBDImage, header: header_io.Header,
          view: decryption.View, offset: int, length: int, data_there: bool
          ) -> int:
    """Fill the holes of a piece of the payload; the bytes written."""
    data = (image.read(header.data_offset + offset, length) if data_there
            else bytes(length))
    written = 0
    for start, count in zero_runs.gaps(data, header.sector_size):
        view.write(offset + start, bytes(count))
        written += count
    return written
