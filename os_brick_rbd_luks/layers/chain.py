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

"""Which key opens which layer of a clone.

A librbd that loads layers opens a clone with one passphrase for each layer
that has another one than the layer above it: the clone's own first, then its
parents'. Image metadata remembers the key manager's ids of the keys of the
layers below; never a key. librbd copies metadata to clones, so the note says
which image it is of.
"""

from __future__ import annotations

import contextlib
import json
from typing import List, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

#: The metadata's key on an image.
NOTE = "rbd_luks.parent_keys"

#: A layer whose passphrase is not one of a key manager's.
UNKNOWN = ""


def read(image: base.RBDImage) -> List[str]:
    """Key ids of the encrypted layers below *image*, the nearest first.

    Empty when its own passphrase, or none, is all they need, or when it has
    no parent any more. An empty id is a passphrase that no key manager has.

    :raises OperationRefused: the note is not one of ours, or was copied from
        an image that this one is a plain clone of
    """
    text = image.note(NOTE)
    if text is None or image.parent() is None:
        return []
    with exception.about(image.name):
        owner, keys = _parse(NOTE, text)
        if keys and owner != _id(image):
            raise exception.OperationRefused(
                reason=f"its metadata {NOTE} is of the image that it is a "
                       "plain clone of, so which keys its layers need is not "
                       "known; flatten it, or clone with 'rbd-luks clone'")
    return keys


def noted(image: base.RBDImage, note: str = NOTE) -> List[str]:
    """What is noted on *image* itself; a copy of another's note is nothing.

    :param note: the metadata's key
    :raises OperationRefused: the note is not one of ours
    """
    text = image.note(note)
    if text is None:
        return []
    with exception.about(image.name):
        owner, keys = _parse(note, text)
    return keys if owner == _id(image) else []


def _parse(note: str, text: str) -> Tuple[Optional[str], List[str]]:
    owner, keys = None, None
    with contextlib.suppress(KeyError, RecursionError, TypeError,
                             ValueError):
        found = json.loads(text)
        owner, keys = found["image"], found["keys"]
    if not isinstance(keys, list) or not all(
            isinstance(key_id, str) for key_id in keys):
        raise exception.OperationRefused(
            reason=f"its metadata {note} is not a note of key ids; put it "
                   "right or flatten the image, and remove it with 'rbd "
                   "image-meta remove'")
    return owner, keys


def _id(image: base.RBDImage) -> str:
    return image.identity().partition("@")[0]


def needed(image: base.RBDImage) -> List[str]:
    """Those of :func:`read` that the librbd of *image* asks for.

    One that loads no layers reads what is below with the image's own
    passphrase.
    """
    return read(image) if image.librbd.loads_layers else []


def write(image: base.RBDImage, keys: List[str]) -> None:
    """Remember the key ids of the layers below *image*."""
    write_note(image, NOTE, keys)


def write_note(image: base.RBDImage, note: str, keys: List[str]) -> None:
    """Write, or remove, a *note* of key ids that is of *image* alone."""
    image.set_note(note, json.dumps(
        {"image": _id(image), "keys": keys}) if keys else None)


def below(parent: base.RBDImage, key_id: Optional[str]) -> List[str]:
    """What a clone of *parent* has to remember.

    :param parent: an encrypted image, or a snapshot of one
    :param key_id: of the passphrase that opens *parent* itself
    """
    return [key_id or UNKNOWN, *read(parent)]
