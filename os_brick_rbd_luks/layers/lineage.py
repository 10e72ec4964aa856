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

"""What an image is a clone of, layer by layer: plain or encrypted."""

from __future__ import annotations

import contextlib
from typing import List, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import at_rest
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect


class Lineage(NamedTuple):
    """The layers below an image."""

    #: of each, the nearest first
    layers: Tuple[str, ...] = ()
    #: whether one has the journaling feature: librbd decrypts nothing then
    journaling: bool = False
    #: why some could not be looked at
    unknown: Optional[str] = None


def look(image: base.RBDImage) -> Lineage:
    """Open what is below *image*, one after the other, for reading."""
    layers: List[str] = []
    journaling = False
    try:
        with contextlib.ExitStack() as stack:
            below = image.open_parent()
            while below is not None:
                stack.enter_context(below)
                journaling = journaling or "journaling" in below.features()
                start = header_io.read_start(below)
                found = header_io.begins_as(start)
                layers.append(at_rest.PLAIN if found is detect.Format.NONE
                              else at_rest.ENCRYPTED)
                below = below.open_parent()
    except (exception.ImageError, exception.HeaderError) as error:
        return Lineage((*layers, "not known"), journaling, error.msg)
    return Lineage(tuple(layers), journaling)
