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

"""How an image is opened, so that closing it soon does no harm.

librbd tells of the end of an open before the thread that tells has let go of
the image: it still takes a lock inside it (``ImageState.cc``,
``complete_action_unlock``). Whoever closes the image before that thread goes
on lets it lock memory that is freed: the process ends with "Invalid
argument", a damaged heap or SIGSEGV, or the connection hangs for ever. An
open of a snapshot ends in such a thread if there is an object map, and so
does one of a clone, whose parent is a snapshot.

That thread runs callbacks of librados, one after the other
(``RadosClient.h``, ``finish_strand``). So one more callback, which is waited
for, comes when it has let go. Images opened for writing need none: to end
their watch, ``close`` waits for one itself.

``tools/stress-librbd`` shows both; figures are in the operator's guide.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any, List, Optional, Tuple, TYPE_CHECKING

from os_brick_rbd_luks.image import librbd

if TYPE_CHECKING:
    import rados
    import rbd


def open_image(ioctx: rados.Ioctx, name: str, snapshot: Optional[str] = None,
               read_only: bool = False) -> rbd.Image:
    """Open an image, or a snapshot of it.

    :raises rbd.Error: it cannot be opened
    :raises rados.Error: the connection is of no use
    """
    return _opened(ioctx, read_only, name=name, snapshot=snapshot)


def open_by_id(ioctx: rados.Ioctx, image_id: str) -> rbd.Image:
    """Open an image for reading that may be in the trash.

    :raises rbd.Error: it cannot be opened
    :raises rados.Error: the connection is of no use
    """
    return _opened(ioctx, True, image_id=image_id)


def _opened(ioctx: rados.Ioctx, read_only: bool, **which: Any) -> rbd.Image:
    opened: List[rbd.Image] = []
    try:
        # One call of C: no signal's handler comes between the open and the
        # list, so that an image is either not open, or closed below.
        opened.extend(itertools.starmap(functools.partial(
            librbd.bindings().Image, ioctx, read_only=read_only, **which),
            ((),)))
        image, = opened
        if read_only:
            settle(ioctx, image)
        return image
    except BaseException:
        # To close it after the connection would be worse; and as long as it
        # is open, it cannot be removed.
        for image in opened:
            image.close()
        raise


def open_layer(ioctx: rados.Ioctx, image_id: str, snapshot: str,
               clone_id: str) -> Tuple[rbd.Image, Optional[int]]:
    """Open a snapshot that something is a clone of, for reading.

    By the image's id, for one in the trash has no name; and a snapshot that
    was removed lives on for its clones, by a name in Ceph's trash. Who opened
    the clone before that knows the old name only.

    :param clone_id: of the image that is a clone of it
    :returns: the image, and the snapshot's id
    :raises rbd.Error: it cannot be opened
    :raises rados.Error: the connection is of no use
    """
    image = open_by_id(ioctx, image_id)
    try:
        number = _find(image, snapshot, clone_id)
        if number is None:
            # What librbd says of a snapshot that is not there.
            image.set_snap(snapshot)
        else:
            image.set_snap_by_id(number)
        settle(ioctx, image)
    except BaseException:
        image.close()
        raise
    return image, number


def _find(image: rbd.Image, snapshot: str, clone_id: str) -> Optional[int]:
    """The id of the snapshot of that name, or that had it, with that clone."""
    removed = []
    for found in image.list_snaps():
        if found["name"] == snapshot:
            return int(found["id"])
        if found.get("trash", {}).get("original_name") == snapshot:
            removed.append(int(found["id"]))
    for number in removed:
        image.set_snap_by_id(number)
        if any(child["id"] == clone_id for child in image.list_children2()):
            return number
    return None


def settle(ioctx: rados.Ioctx, image: rbd.Image) -> None:
    """Wait until librbd has let go of *image*: one round trip to an OSD.

    What is found does not matter. A time-out ends the wait as well.
    """
    # One of RBD's first format has no id, nor any header of that name.
    key = ("rbd_directory" if image.old_format()
           else f"rbd_header.{image.id()}")
    completion = ioctx.aio_stat(key, lambda *_found: None)
    completion.wait_for_complete_and_cb()
