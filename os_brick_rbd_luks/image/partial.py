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

It is made under another name and gets its own when it is complete. What a
killed run leaves has that other name, so the next one knows what it is: it
says so, and removes it if it is told to.

It is open from the moment when it is made until it has its name, which tells
other runs that this one lives: nobody removes it, and nobody else fills it.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import Any, Callable, Iterator, TypeVar

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: Of the names of images that are being made, in a pool.
PREFIX = "rbd-luks-partial."

#: Of the names of files that are being made.
SUFFIX = ".rbd-luks-partial"

Store = TypeVar("Store", bound=base.ImageStore)


def final_name(name: str) -> str:
    """What an image in a pool would be called if it were complete."""
    return name[len(PREFIX):] if name.startswith(PREFIX) else name


@contextlib.contextmanager
def new(store: base.ImageStore, name: str, make: Callable[[str], Any], *,
        restart: bool = False) -> Iterator[Any]:
    """A new image, open under another name; it gets *name* at the end.

    :param make: creates, or clones, the image of the name that it is given
        and opens it, or makes nothing
    :param restart: remove what an interrupted run left of it
    :raises ImageExists: there is an image *name*
    :raises HalfMade: an interrupted run left something, and not *restart*
    :raises ImageLocked: another run is at it
    """
    half = store.partial_name(name)
    store.require_free(name)
    store.made.pop(half, None)
    image: Any = None
    try:
        image = _made(store, name, half, make, restart)
        _claim(store, half, image)
        # For messages, as the user knows it.
        image.name = image.name.replace(half, name)
        yield image
        store.rename(half, name)
    except BaseException:
        if image is not None:
            # Says why it cannot be closed, and raises nothing.
            image.__exit__(*sys.exc_info())
        discard(store, half)
        raise
    store.made.pop(half, None)
    _close(image)


def _close(image: base.Image) -> None:
    try:
        image.__exit__(None, None, None)
    except exception.ImageError as error:
        LOG.warning("%s is complete, but was not closed: %s", image.name,
                    error)


def _made(store: base.ImageStore, name: str, half: str,
          make: Callable[[str], Any], restart: bool) -> Any:
    try:
        return make(half)
    except exception.ImageExists:
        clear(store, name, restart=restart)
    try:
        return make(half)
    except exception.ImageExists:
        raise exception.ImageLocked(holders="another run") from None


def _claim(store: base.ImageStore, half: str, image: base.Image) -> None:
    try:
        image.claim()
    except exception.ImageLocked:
        # It has removed what was made here, and made it anew.
        store.made.pop(half, None)
        raise


def remove_one(store: base.ImageStore, name: str) -> None:
    """Remove an image that has nothing else to go with it."""
    store.remove(name)


def clear(store: Store, name: str, *, restart: bool,
          remove: Callable[[Store, str], None] = remove_one) -> None:
    """Refuse what an interrupted run left of an image, or remove that.

    :param name: that it was to get
    :param restart: remove it
    :param remove: does so, with all that there is only for it
    :raises ImageExists: there is an image *name*
    :raises HalfMade: there is something, and not *restart*
    :raises ImageLocked: another run is at it
    """
    half = store.partial_name(name)
    store.require_free(name)
    # Another run may just have ended.
    with contextlib.suppress(exception.ImageNotFound):
        with store.open(half, read_only=True) as image:
            full = image.name
        with exception.about(full):
            makers = store.makers(half)
            if makers:
                raise exception.ImageLocked(
                    holders=f"{', '.join(makers)}: another run, or one that "
                            "died less than 30 s ago")
        if not restart:
            raise exception.HalfMade(partial=full)
        LOG.info("%s: removing what an interrupted run left", full)
        remove(store, half)


def discard(store: base.ImageStore, name: str) -> None:
    """Remove a half-made image, without hiding why it is one.

    Only if it was made by this *store*: what somebody else made, also by the
    same name a moment later, stays.
    """
    if name not in store.made:
        return
    identity = store.made.pop(name)
    try:
        if identity is not None:
            with store.open(name, read_only=True) as image:
                if image.identity() != identity:
                    return
        store.evict(name)
    except exception.ImageNotFound:
        # It has got its own name: the signal came only then.
        return
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", name, error)
    base.remove_quietly(store, name)
