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
"""Whether an area of a volume that was never written stays zeros.

librbd's encryption reads an object that is not there as zeros. Of an object
that is there, it decrypts what the OSD gives for a hole: noise, unless the
OSD says that there is a hole. Replicated BlueStore does, when librbd asks for
it ("sparse read"), which by default it does for 64 KiB and more. Erasure-coded
pools never do.

Source: librbd ``io/ObjectRequest.cc`` (the threshold) and ``crypto``; Ceph PR
43859; tried on Ceph 16 and 18, on BlueStore, memstore and erasure coding.
"""

from __future__ import annotations

import logging
from typing import Union

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.operations import header_io
from os_brick_rbd_luks.operations import plaintext

LOG = logging.getLogger(__name__)

#: Metadata by which librbd, in QEMU as well, reads sparsely at any length.
NOTE = "conf_rbd_sparse_read_threshold_bytes"

#: Bytes; our holes are as large, and begin at multiples of it.
_GRAIN = 64 * 1024

View = Union[base.LayeredImage, plaintext.Plaintext]


def ask_for(image: base.LayeredImage) -> None:
    """Let whoever opens *image* from now on be told of its holes."""
    image.set_note(NOTE, "1")


def stay_zeros(image: base.LayeredImage, header: header_io.Header,
               view: View) -> bool:
    """Try it, on the first object of an empty payload.

    :param image: open as it is, after :func:`ask_for`
    :param view: the same as plain text, opened after that
    """
    sector, period = header.sector_size, image.stripe_period()
    middle = period // 2
    if (period < 2 * _GRAIN or view.size() < period or image.parent()
            or header.data_offset % period):
        return False
    try:
        view.write(middle, bytes(sector))
        # Where the middle is the start of an object, no hole is before it;
        # before the last sector there is one however data is striped.
        view.write(period - sector, bytes(sector))
        kept = not any(view.read(0, length).strip(b"\0")
                       for length in (sector, period - _GRAIN))
    finally:
        image.zero(header.data_offset, period)
    LOG.debug("%s: holes %s", image.name, "are kept" if kept else "are noise")
    return kept
