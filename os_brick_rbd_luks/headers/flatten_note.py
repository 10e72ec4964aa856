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

"""A note that an image is being flattened with its encryption loaded.

At the end of such a flatten librbd reads all bytes before the payload, and
writes them back with the mark of a clone taken away (``FlattenRequest`` in
librbd's ``crypto/luks``, of Ceph 18 and newer). A header that is changed in
between is undone, or mixed with the old one. So whoever flattens says so under
the header's lock, and nobody changes a header while a live client says so.

The note names the watch of the client that flattens. Ceph ends a watch within
30 s of its client's death, or at once when the client is blocklisted: then
the note is one that a killed flatten left behind, and counts no more. So
nobody has to insist, and nobody can against a flatten that is alive.
"""

from __future__ import annotations

import logging
import time
from typing import cast

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: The metadata's key on an image.
NOTE = "rbd_luks.flattening"

_SINCE = " since "


def refuse(image: base.Image) -> None:
    """Refuse to change the header of an image that is being flattened.

    Ask under the header's lock.

    :raises FlattenUnderway: a client says so that is alive
    """
    if not image.is_rbd:
        return
    image = cast(base.RBDImage, image)
    # librbd takes the parent away behind its last write of the header.
    if image.parent() is None:
        return
    text = image.note(NOTE)
    if text is None:
        return
    watch, _since, moment = text.partition(_SINCE)
    if image.has_watch(watch):
        raise exception.FlattenUnderway(
            client=watch, since=moment, address=watch.rpartition(" ")[2])
    LOG.info("%s: a flatten by %s, begun %s, was cut off", image.name, watch,
             moment)


def begin(image: base.RBDImage) -> None:
    """Say that this client flattens *image*, under the header's lock.

    :param image: open for writing until :func:`end`
    :raises FlattenUnderway: another one does
    """
    refuse(image)
    moment = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    image.set_note(NOTE, f"{image.own_watch()}{_SINCE}{moment}")


def end(image: base.RBDImage) -> None:
    """Take the note away."""
    image.set_note(NOTE, None)
