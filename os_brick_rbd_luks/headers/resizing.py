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

"""Give a volume another size: what is asked for is what a guest sees.

The image becomes that plus the data offset. The header stays as it is: the
payload of a volume reaches to the end of the image.

Source: librbd ``operation/TrimRequest.cc`` for shrinking; what is said here of
librbd was tried on Ceph 16 and 18.
"""

from __future__ import annotations

import logging
from typing import cast

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)


@header_io.names_image
def resize(image: base.Image, size: int, *, force: bool = False
           ) -> header_io.Header:
    """Make the decrypted size of *image* exactly *size*.

    Growing works while others have the image open. A guest sees it once its
    hypervisor is told; what has no data yet is as in a new volume.

    :param size: bytes, a multiple of the header's sector size
    :param force: although what is behind the new end gets lost
    :returns: the header, which is as it was
    :raises InvalidParameter: *size* is not as said
    :raises WouldShrink: the volume is larger, and *force* is not given
    :raises ImageLocked: it is larger, and somebody has it open
    :raises OperationRefused: it has a payload that we do not know, or see
        ``_check_clone`` and ``_grow``
    """
    # The data offset is not to change meanwhile.
    with image.lock():
        header = header_io.read_header(image)
        # What the image has more than whole sectors is nothing to a guest.
        present = header_io.guest_size(image, header)
        if size == present:
            return header
        _check(header, size)
        if size > present:
            _grow(image, size, header.data_offset)
        elif not force:
            raise exception.WouldShrink(present=present, size=size)
        else:
            header_io.refuse_watchers(image)
            _check_clone(image, header, size + header.data_offset)
            image.resize(size + header.data_offset)
        LOG.info("%s: decrypted size changed from %d to %d bytes",
                 image.name, present, size)
    return header


@header_io.names_image
def resize_plain(image: base.Image, size: int) -> None:
    """Make an image that is not encrypted *size* bytes large.

    What is behind a nearer end gets lost. Whatever the image begins with is
    its guest's.

    :raises ImageLocked: it is larger, and somebody has it open
    """
    if size < image.size():
        header_io.refuse_watchers(image)
    if size != image.size():
        image.resize(size)


def _check(header: header_io.Header, size: int) -> None:
    formatting.check_size(size, header.sector_size)
    odd = engines.odd_payload(header)
    if odd:
        raise exception.OperationRefused(
            reason=f"neither librbd nor this package knows such a payload "
                   f"({odd}), so its size stays; resize it with cryptsetup")


def _grow(image: base.Image, size: int, offset: int) -> None:
    """Grow *image* to *size* and *offset*, whoever has it open.

    librbd lets the client that writes to the image do the work. Of Ceph 18,
    and with the encryption loaded, that one adds the data offset to what it
    is asked for. Nobody can know which kind it is, so the decrypted size is
    asked for first: the one kind is done then, and the other has grown by
    less than it should.

    :raises OperationRefused: somebody has it open, and to others that size
        would be a smaller one
    :raises ImageIOError: the writer came or went meanwhile
    """
    wanted = size + offset
    if image.watchers():
        if size <= image.size():
            raise exception.OperationRefused(
                reason="while somebody has it open it can grow only by more "
                       f"than {offset} bytes, its data offset; grow it by "
                       "more, or when nobody has it open")
        image.resize(size)
    if image.size() != wanted:
        image.resize(wanted)
    found = image.size()
    if found != wanted:
        raise exception.ImageIOError(
            action=f"resize the image to {wanted} bytes",
            reason=f"it has {found} bytes now, for another client began or "
                   "ended to use it meanwhile; resize it again")


def _is_clone(image: base.Image) -> bool:
    return (image.is_rbd
            and cast(base.RBDImage, image).parent() is not None)


def _check_clone(image: base.Image, header: header_io.Header, size: int
                 ) -> None:
    """Refuse to shrink a clone so that its guest would read noise.

    librbd copies what it cuts out of an object, and what snapshots still
    need, from the parent as it is. That is cipher text of another volume key,
    or plain text, to a clone with a header of its own. Where the parent has
    nothing either, the object that is cut is there from then on, and empty:
    of LUKS2 that was zeros and becomes noise where OSDs do not tell of holes.

    :param size: bytes of the image
    :raises OperationRefused: there are snapshots, or an object to cut
    """
    snapshots = image.history() if header.clone else ()
    if snapshots:
        raise exception.OperationRefused(
            reason="shrinking a clone with a header of its own would damage "
                   f"its snapshots {', '.join(snapshots)}; remove them first")
    period = image.stripe_period()
    if size % period and (header.clone or header.type == "luks2"
                          and _is_clone(image)):
        raise exception.OperationRefused(
            reason="shrinking a clone damages the object that is cut; choose "
                   f"a size that is, with {header.data_offset} bytes for the "
                   f"header, a multiple of {period} bytes, or flatten it "
                   "first")
