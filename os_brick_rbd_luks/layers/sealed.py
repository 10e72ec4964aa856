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

"""The passphrases of the layers below a clone: sealed in its own header.

A librbd that loads layers opens a clone with one passphrase for each layer:
the clone's own first, then its parents'; the last one is for all that follow.
A clone that was given a passphrase of its own has those of the layers below
in its header, sealed under its volume key: in a token of LUKS2, and for
LUKS1, which has no room, in the image's metadata. Whoever opens the clone has
them, nobody else, and no key manager is asked.

A plain clone has a copy of its parent's header, and of what is sealed in it.
That its parent has the very same tells so: the clone's own passphrase opens
the parent, too, and what is sealed is for the layers below that.

Source: librbd ``crypto/LoadRequest.cc``, which refuses more passphrases than
there are layers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from typing import Any, List, Mapping, Optional, Sequence

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import sealing

#: The metadata's key on an image with LUKS1. librbd copies metadata to
#: clones, so they say which image they are of.
NOTE = "rbd_luks.layers"


@dataclasses.dataclass(frozen=True)
class Below:
    """What librbd asks for to read what a clone has of its parents."""

    #: passphrases besides the clone's own
    count: int = 0
    #: of them, so many are the clone's own once more
    copies: int = 0
    #: where the others are sealed
    token: Optional[Mapping[str, Any]] = None

    def passphrases(self, opened: unlocking.Unlocked, passphrase: bytes
                    ) -> List[bytes]:
        """They themselves, the nearest layer's first.

        :param opened: the clone, by *passphrase*
        :raises LayersNotReadable: what is sealed was changed
        """
        if self.token is None:
            return []
        found = sealing.unseal(self.token, opened.volume_key,
                               opened.header.uuid)
        return [*[passphrase] * self.copies, *found][:self.count]


#: All that librbd asks for is the image's own passphrase.
NONE = Below()


def look(image: base.RBDImage, header: header_io.Header) -> Below:
    """What the layers below *image* need; nothing is decrypted.

    :param header: of *image*
    :raises LayersNotReadable: what is sealed is not of our form
    :raises UnsupportedHeader: it is of a later version
    """
    with exception.about(image.name):
        if _has_none(header) or image.parent() is None:
            return NONE
        token = _of(image, header)
        if token is None:
            return NONE
        number = sealing.count(token)
        with contextlib.ExitStack() as stack:
            layers = _Layers(stack, image)
            copies = _copies(layers, image, header, token)
            # Fewer layers than it was made for, where one was flattened.
            found = next((depth for depth in range(number, 0, -1)
                          if layers.reach(copies + depth)), 0)
        return Below(copies + found, copies, token) if found else NONE


def needed(image: base.RBDImage, header: header_io.Header) -> Below:
    """What :func:`look` says, if the librbd of *image* asks for it.

    One that loads no layers reads what is below with the image's own
    passphrase.
    """
    return look(image, header) if image.librbd.loads_layers else NONE


class _Layers:
    """The layers below an image, opened as far as they are looked at."""

    def __init__(self, stack: contextlib.ExitStack, image: base.RBDImage
                 ) -> None:
        self._stack = stack
        self._opened = [image]
        self._ended = False

    def at(self, depth: int) -> Optional[base.RBDImage]:
        """That layer, None below the lowest; 1 is the nearest."""
        while len(self._opened) <= depth and not self._ended:
            below = self._opened[-1].open_parent()
            if below is None:
                self._ended = True
            else:
                self._opened.append(self._stack.enter_context(below))
        return self._opened[depth] if depth < len(self._opened) else None

    def reach(self, depth: int) -> bool:
        """Whether there are so many."""
        return self.at(depth) is not None


def _copies(layers: _Layers, image: base.RBDImage, header: header_io.Header,
            token: Mapping[str, Any]) -> int:
    """How many layers next below have what *image* is a copy of."""
    depth = 0
    if isinstance(header, luks2.Luks2Header):
        while True:
            layer = layers.at(depth + 1)
            if layer is None or _token_of(layer) != token:
                return depth
            depth += 1
    owner = _note(image)["image"]
    layer = image
    while layer is not None and base.image_id(layer) != owner:
        depth += 1
        layer = layers.at(depth)
    # Of an image that is not among them, it was copied with its metadata.
    return depth if layer is not None else 0


def _has_none(header: header_io.Header) -> bool:
    """Whether the header itself says that nothing is sealed."""
    return (isinstance(header, luks2.Luks2Header)
            and tokens.read(header) is None)


def _of(image: base.RBDImage, header: header_io.Header
        ) -> Optional[Mapping[str, Any]]:
    if isinstance(header, luks2.Luks2Header):
        return tokens.read(header)
    note = _note(image)
    return note["token"] if note else None


def _token_of(layer: base.RBDImage) -> Optional[Mapping[str, Any]]:
    try:
        header = header_io.read_header(layer)
    except exception.HeaderError:
        # librbd has no use for it, either; it is no copy in any case.
        return None
    return (tokens.read(header) if isinstance(header, luks2.Luks2Header)
            else None)


def _note(image: base.RBDImage) -> Any:
    text = image.note(NOTE)
    if text is None:
        return None
    with contextlib.suppress(RecursionError, ValueError):
        found = json.loads(text)
        if (isinstance(found, dict) and isinstance(found.get("image"), str)
                and isinstance(found.get("token"), dict)):
            return found
    raise exception.LayersNotReadable(
        token=NOTE, reason="in the image's metadata is none of ours")


# What a clone that gets a passphrase of its own has to have


def stage(image: base.RBDImage, opened: unlocking.Unlocked,
          below: Sequence[bytes]) -> unlocking.Unlocked:
    """Seal *below* in a header that is about to be changed.

    In LUKS2 the change goes out with the next one that is made of what is
    given back; in LUKS1 the image's metadata are written now.

    :param opened: *image*, unlocked
    :param below: passphrases of the layers below it, the nearest first; none
        to remove what is sealed
    :raises InvalidParameter: one is longer than 65,535 bytes
    :raises TooManyLayers: its metadata have no room for them
    """
    token = (sealing.seal(below, opened.volume_key, opened.header.uuid)
             if below else None)
    if isinstance(opened.header, luks2.Luks2Header):
        return dataclasses.replace(
            opened, header=tokens.put(opened.header, token))
    image.set_note(NOTE, json.dumps(
        {"image": base.image_id(image), "token": token}) if token else None)
    return opened


def write(image: base.RBDImage, opened: unlocking.Unlocked,
          below: Sequence[bytes]) -> header_io.Header:
    """Seal *below* in a header that is not changed besides.

    :param opened: see :func:`stage`
    :returns: the header
    :raises InvalidParameter: see :func:`stage`
    :raises TooManyLayers: its metadata have no room for them
    """
    changed = stage(image, opened, below).header
    if isinstance(changed, luks2.Luks2Header):
        header_io.apply(image, changed.plan(changed.stages()))
        changed = dataclasses.replace(changed, ailment=None, found=None)
    return changed


def forget(image: base.RBDImage) -> None:
    """Remove what is sealed for layers that are no more.

    :param image: without a parent
    """
    image.set_note(NOTE, None)
    header = header_io.read_header(image)
    if isinstance(header, luks2.Luks2Header) and tokens.read(header):
        header_io.apply(image, tokens.change(header, None).plan)
