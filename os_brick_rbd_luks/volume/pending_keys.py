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
"""Keys of a volume that changes its key, until only one is left.

Cinder knows one key id of each volume. While another takes its place both are
noted on the image itself: whoever removes the image deletes them, if the
service was killed in between, and a key that could not be deleted is tried
again then. librbd copies metadata to clones, so the note says which image it
is of.
"""

from __future__ import annotations

import contextlib
import json
import time
from typing import Any, Dict, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

#: The metadata's key on an image.
NOTE = "rbd_luks.pending_keys"


def read(image: base.RBDImage) -> List[str]:
    """Key ids that are deleted with *image*.

    :raises OperationRefused: the note is not one of ours
    """
    keys: List[str] = _note(image)["keys"]
    return keys


def others(image: base.RBDImage, key_id: Optional[str]) -> List[str]:
    """Key ids that are noted besides the one that the database names.

    :raises OperationRefused: likewise
    """
    return [noted for noted in read(image) if noted != key_id]


def keyslots(image: base.RBDImage) -> Dict[str, str]:
    """Keyslots that noted keys open, or opened, by those.

    Who adds a keyslot says so, and who begins to erase one says so before:
    half erased, or when its key is gone, no passphrase finds it.

    :returns: their :mod:`~os_brick_rbd_luks.headers.fingerprints`
    :raises OperationRefused: likewise
    """
    found: Dict[str, str] = _note(image).get("keyslots", {})
    return found


def since(image: base.RBDImage) -> int:
    """When a key was noted last: seconds since 1970, 0 if nobody knows.

    :raises OperationRefused: likewise
    """
    found = _note(image).get("since")
    return found if isinstance(found, int) else 0


def is_new(image: base.RBDImage, seconds: float) -> bool:
    """Whether a key was noted less than so many seconds ago.

    :raises OperationRefused: likewise
    """
    return 0 <= time.time() - since(image) < seconds


def _note(image: base.RBDImage) -> Dict[str, Any]:
    nothing: Dict[str, Any] = {"keys": []}
    text = image.note(NOTE)
    if text is None:
        return nothing
    found: Any = None
    with contextlib.suppress(RecursionError, ValueError):
        found = json.loads(text)
    if not (isinstance(found, dict) and isinstance(found.get("keys"), list)
            and all(isinstance(key_id, str) for key_id in found["keys"])
            and isinstance(found.get("keyslots", {}), dict)):
        with exception.about(image.name):
            raise exception.OperationRefused(
                reason=f"its metadata {NOTE} is not a note of key ids; put "
                       "it right, or remove it with 'rbd image-meta remove'")
    return found if found.get("image") == base.image_id(image) else nothing


def write(image: base.RBDImage, keys: List[str],
          keyslots: Optional[Dict[str, str]] = None, since: int = 0) -> None:
    """Note *keys* on *image*, in the place of all that were noted.

    :param keyslots: those that they open; as they were noted when None
    :param since: when; likewise when 0
    """
    before = _note(image)
    known = before.get("keyslots", {}) if keyslots is None else keyslots
    when = since or before.get("since")
    kept = {key_id: known[key_id] for key_id in keys if key_id in known}
    image.set_note(NOTE, json.dumps(
        {"image": base.image_id(image), "keys": keys,
         **({"since": when} if when else {}),
         **({"keyslots": kept} if kept else {})}) if keys else None)
