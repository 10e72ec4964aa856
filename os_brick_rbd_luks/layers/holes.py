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

"""Holes in the objects of encrypted images: zeros, not noise.

librbd decrypts what an object has and leaves its holes zeros, if the OSD says
where they are. It asks for that only in reads of at least
``rbd_sparse_read_threshold_bytes``, 64 KiB by default. Smaller ones, those
before a write of half a sector among them, get zeros and decrypt them into
noise. With a threshold of one byte no read is too small. OSDs know the holes
of objects in replicated pools, not in erasure-coded ones.

An image's metadata sets the option for whoever opens it, librbd inside QEMU
included. Each layer of a clone is read by the metadata of its own image.

Source: librbd ``io/ObjectRequest.cc`` (``ObjectReadRequest::read_object``) and
``crypto/CryptoObjectDispatch.cc``; Ceph's own tests of encryption set the
option to 1, too: https://tracker.ceph.com/issues/67402
"""

from __future__ import annotations

import logging

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import plaintext

LOG = logging.getLogger(__name__)

#: The metadata's key, and its value in bytes. Not 0, which means an object.
NOTE = "conf_rbd_sparse_read_threshold_bytes"
THRESHOLD = "1"


def keep(image: base.RBDImage) -> None:
    """Let holes in the objects of an encrypted *image* read as zeros."""
    if image.note(NOTE) != THRESHOLD:
        image.set_note(NOTE, THRESHOLD)


def keep_source(store: base.Pool, parent: base.Parent) -> None:
    """Do as :func:`keep` to the encrypted image that a clone is made of.

    Until it is overwritten, a clone's data is read by the source's metadata.
    One that we may not change, or that is in another pool, stays as it is.

    :param store: of the clone
    """
    with store.open_snapshot(parent) as source:
        if source.note(NOTE) == THRESHOLD:
            return
    try:
        if store.parent(parent.image, parent.snapshot) == parent:
            with store.open(parent.image) as image:
                keep(image)
            return
    except (exception.ImageAccessDenied, exception.ImageReadOnly) as error:
        LOG.debug("%s: %s", parent, error)
    LOG.warning(
        "%s: holes in it may read as noise, in its clones as well; let its "
        "owner set rbd_sparse_read_threshold_bytes to %s with 'rbd config "
        "image set'", parent, THRESHOLD)


def stay_zeros(image: base.RBDImage, header: header_io.Header,
               view: decryption.View) -> bool:
    """Try whether an OSD tells of holes, on an empty volume's first object.

    :param image: open as it is, after :func:`keep`
    :param view: the same as plain text, opened after that
    """
    sector, period = header.sector_size, image.stripe_period()
    middle = period // 2
    if isinstance(view, plaintext.Plaintext):
        # It takes all zeros for holes, whatever OSDs tell librbd.
        return False
    if (period <= 2 * base.GRAIN or view.size() < period or image.parent()
            or header.data_offset % period):
        return False
    try:
        view.write(middle, bytes(sector))
        # Where the middle is the start of an object, no hole is before it;
        # before the last sector there is one: of a stripe unit that is an
        # object, in the unit itself. Smaller ones follow one another in the
        # first object, where the middle is the start of one. A period of two
        # grains would be read up to its middle only.
        view.write(period - sector, bytes(sector))
        kept = (base.is_zero(view.read(0, sector)) and base.holds_zeros(
            view.read, max(period - base.PIECE, 0), period - base.GRAIN))
    finally:
        image.zero(header.data_offset, period)
    LOG.debug("%s: holes %s", image.name, "are kept" if kept else "are noise")
    return kept
