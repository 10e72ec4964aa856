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

"""Copy an encrypted image as it is: cipher text and holes. No key is needed.

Backups are such copies. Programs that copy in chunks write zeros where a
volume has a hole: Cinder does, to back up a snapshot and in every restore.
librbd would decrypt these zeros into noise, so they do not reach the target:
no cipher text of a sector is all zeros.
"""

from __future__ import annotations

import logging
from typing import Callable, Optional

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import guarding
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import detect

LOG = logging.getLogger(__name__)


def refuse_clone(image: base.Image) -> None:
    """Refuse an image of which no raw copy can be read.

    :raises OperationRefused: it is a clone with a header of its own. What is
        its parent's is plain text or has another key.
    """
    _refuse_clone(image, header_io.read_start(image))


def _refuse_clone(image: base.Image, start: bytes) -> None:
    if header_io.begins_as(start) in (
            detect.Format.LUKS1_CLONE, detect.Format.LUKS2_CLONE):
        with exception.about(image.name):
            raise exception.OperationRefused(
                reason="it is a clone with a header of its own, of which "
                       "nobody could read a raw copy; flatten it first")


def back_up_volume(source: base.RBDImage, target: base.RBDImage,
                   size: int) -> None:
    """Make *target* what *source* is.

    Some holes become zeros, which :func:`restore_volume` turns into holes
    again.

    :param size: bytes of the target, at least the source's
    :raises VolumeTooSmall: it is less; the target is as it was
    """
    present = source.size()
    if present > size:
        raise exception.VolumeTooSmall(source=source.name, size=size,
                                       needed=present)
    _empty(target, size)
    _copy(source, target, present, zeros.skipped())


def restore_volume(source: base.RBDImage, target: base.RBDImage,
                   size: int) -> Optional[base.Parent]:
    """Make *target* what *source* is, with a decrypted size of its own.

    Its own data is destroyed first, whatever layout it has. Its snapshots
    stay.

    Of the source's image goes along what its guest sees, and no more. A
    payload of a fixed size keeps that: the header says it.

    :param size: decrypted bytes of the target, whole sectors, at least what
        the source's guest sees
    :raises ImageLocked: somebody else has the target open, or opens it
        meanwhile; see :mod:`~os_brick_rbd_luks.layers.guarding`
    :returns: the parent that it had: a clone becomes an independent image,
        for librbd would not open it with the keys that it knows of the parent
    :raises NotLuks: the source has no header; nothing was destroyed then
    :raises NoPayload: the source is a header alone; likewise
    :raises VolumeTooSmall: the size is less; likewise
    :raises InvalidParameter: it is not whole sectors; likewise
    :raises OperationRefused: see :func:`refuse_clone`; likewise
    """
    start = header_io.read_start(source)
    _refuse_clone(source, start)
    with exception.about(source.name):
        header = header_io.parse(start, source.size())
    present = _payload(source, header)
    if present > size:
        raise exception.VolumeTooSmall(source=source.name, size=size,
                                       needed=present)
    formatting.check_size(size, header.sector_size)
    guard = guarding.Guard(target)
    parent = _empty(target, size + header.data_offset)
    _copy(source, target, header.data_offset + present,
          zeros.of_cipher_text(header), guard.check)
    _warn_of_fixed(target, header, size)
    if header.type == "luks2":
        holes.keep(target)
    LOG.info("%s: restored from %s, %d bytes behind a data offset of %d",
             target.name, source.name, size, header.data_offset)
    return parent


def _payload(source: base.RBDImage, header: header_io.Header) -> int:
    """Bytes behind the data offset that somebody may read.

    :raises NoPayload: see
        :func:`~os_brick_rbd_luks.headers.header_io.guest_size`
    """
    if engines.is_one_run(header):
        return header_io.guest_size(source, header)
    # Only cryptsetup knows what of such a payload is where.
    return source.size() - header.data_offset


def _warn_of_fixed(image: base.RBDImage, header: header_io.Header, size: int
                   ) -> None:
    """Say so if the volume cannot be as large as it is to be."""
    seen = header_io.guest_size(image, header)
    if engines.is_one_run(header) and seen < size:
        LOG.warning("%s: its header says a fixed size, so a guest sees %d of "
                    "its %d bytes", image.name, seen, size)


def _empty(image: base.RBDImage, size: int) -> Optional[base.Parent]:
    """Give *image* a size and no data; the parent that it had."""
    parent = image.parent()
    # Discarding would leave parts of objects.
    image.resize(0)
    if parent:
        # Nothing is left to copy but what snapshots need.
        _flatten(image)
    image.resize(size)
    return parent


def cut_off(image: base.RBDImage) -> Optional[base.Parent]:
    """Let an image that was overwritten as it is be no clone.

    :returns: the parent that it had
    """
    parent = image.parent()
    if parent:
        _flatten(image)
    return parent


def _flatten(image: base.RBDImage) -> None:
    # Ceph would go on to count it as a clone.
    image.flatten()
    image.set_note(sealed.NOTE, None)


def _copy(source: base.RBDImage, target: base.RBDImage, size: int,
          policy: zeros.Policy, check: Callable[[], None] = lambda: None
          ) -> None:
    """Copy the first *size* bytes."""
    def write(offset: int, data: bytes) -> None:
        check()
        target.write(offset, data)

    copying.copy(source.read, write, size, source.extents(), policy=policy)
    target.flush()
    check()
