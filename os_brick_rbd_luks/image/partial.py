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
"""A new image that appears complete or not at all.

It is filled under another name and gets its own in the end. What a killed run
leaves has that other name, so the next one knows what it is.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Any, Callable, Iterator

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: Of the names of images that are being filled.
PREFIX = "rbd-luks-partial."


@contextlib.contextmanager
def new(store: base.Pool, name: str, make: Callable[[str], None], *,
        restart: bool = False) -> Iterator[str]:
    """The name under which a new image is filled; it gets *name* at the end.

    :param make: creates the image of that name, or nothing
    :param restart: remove what an interrupted run left of it
    :raises ImageExists: there is an image *name*
    :raises HalfMade: an interrupted run left something, and not *restart*
    :raises ImageLocked: another run is at it
    """
    partial = PREFIX + name
    if _exists(store, name):
        raise exception.ImageExists(what=f"image {store.name}/{name}")
    if _exists(store, partial):
        _refuse_running(store, partial)
        if not restart:
            raise exception.HalfMade(partial=f"{store.name}/{partial}")
        LOG.info("%s/%s: removing what an interrupted run left", store.name,
                 partial)
        store.remove(partial)
    make(partial)
    try:
        yield partial
        store.rename(partial, name)
    except BaseException:
        discard(store, partial)
        raise


def _exists(store: base.Pool, name: str) -> bool:
    try:
        store.open(name, read_only=True).__exit__()
    except exception.ImageNotFound:
        return False
    return True


def _refuse_running(store: base.Pool, name: str) -> None:
    with store.open(name, read_only=True) as image, \
            exception.about(image.name):
        holders = image.watchers()
        if holders:
            raise exception.ImageLocked(
                holders=f"{', '.join(holders)}: another run, or one that "
                        "died less than 30 s ago")


def create(store: base.Pool, name: str, size: int,
           **image_options: Any) -> None:
    """Create an empty image; it is not there if that fails at its end."""
    image = store.create(name, size, **image_options)
    try:
        image.__exit__(None, None, None)
    except BaseException:
        base.remove_quietly(store, name)
        raise


def discard(store: base.Pool, name: str) -> None:
    """Remove a half-made image, without hiding why it is one."""
    try:
        store.evict(name)
    except exception.ImageNotFound:
        # It has got its own name: the signal came only then.
        return
    except exception.RBDLuksError as error:
        LOG.debug("%s/%s: %s", store.name, name, error)
    base.remove_quietly(store, name)
