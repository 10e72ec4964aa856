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

"""New passphrases for a volume that may be a clone.

A plain clone has its parent's header, and its passphrase opens both. Whatever
changes its keyslots seals the parent's passphrase in it by the same write
(:mod:`.sealed`), or librbd could not read what the clone has of its parent
with the new one. That parent keeps its header: it is a snapshot.
"""

from __future__ import annotations

import contextlib
import logging
from typing import cast, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import kdfs

LOG = logging.getLogger(__name__)


def add(image: base.Image, old_passphrase: bytes, new_passphrase: bytes, *,
        opened: Optional[unlocking.Unlocked] = None,
        iterations: int = kdfs.MIN_ITERATIONS,
        argon2: Optional[kdfs.Argon2Cost] = None,
        keyslot: Optional[int] = None,
        old_keyslot: Optional[int] = None) -> keyslots.Result:
    """Do as :func:`~os_brick_rbd_luks.headers.keyslots.add`.

    :raises TooManyLayers: a clone's header has no room for what is below it
    :raises InvalidParameter: that is a passphrase of more than 65,535 bytes
    """
    return keyslots.add(
        image, old_passphrase, new_passphrase, iterations=iterations,
        argon2=argon2, keyslot=keyslot, opened=_prepared(
            image, old_passphrase, opened, old_keyslot))


def replace(image: base.Image, old_passphrase: bytes, new_passphrase: bytes,
            *, opened: Optional[unlocking.Unlocked] = None,
            iterations: int = kdfs.MIN_ITERATIONS,
            argon2: Optional[kdfs.Argon2Cost] = None,
            old_keyslot: Optional[int] = None) -> keyslots.Result:
    """Do as :func:`~os_brick_rbd_luks.headers.keyslots.replace`.

    :raises TooManyLayers: see :func:`add`
    """
    return keyslots.replace(
        image, old_passphrase, new_passphrase, iterations=iterations,
        argon2=argon2, opened=_prepared(
            image, old_passphrase, opened, old_keyslot))


def _prepared(image: base.Image, passphrase: bytes,
              opened: Optional[unlocking.Unlocked],
              keyslot: Optional[int]) -> unlocking.Unlocked:
    """*image* unlocked, and what has to be sealed in it staged."""
    opened = opened or unlocking.unlock(image, passphrase, keyslot)
    if not image.is_rbd:
        return opened
    clone = cast(base.RBDImage, image)
    below = missing(clone, opened, passphrase)
    return sealed.stage(clone, opened, below) if below else opened


def missing(image: base.RBDImage, opened: unlocking.Unlocked, passphrase: bytes
            ) -> List[bytes]:
    """What has to be sealed in *image* before its keyslots change.

    :param opened: *image*, by *passphrase*
    :returns: passphrases of the layers below, none if it has no parent, or
        has them already
    """
    header = opened.header
    with contextlib.ExitStack() as stack:
        parent = image.open_parent()
        if parent is None:
            return []
        stack.enter_context(parent)
        theirs = _header(parent)
        if theirs is None or not header.same_volume(theirs):
            # Its own header, above whatever it is.
            return []
        found = sealed.look(image, header)
        if found.count and not found.copies:
            return []
        if header.pack() != theirs.pack():
            try:
                unlocking.unlock_header(parent, theirs, passphrase)
            except exception.KeyslotError as error:
                LOG.warning("%s: not the passphrase of its parent, so librbd "
                            "of Ceph 18 and newer cannot read what it has of "
                            "it: %s", image.name, error)
                return []
    return found.passphrases(opened, passphrase) or [passphrase]


def _header(image: base.RBDImage) -> Optional[header_io.Header]:
    try:
        return header_io.read_header(image)
    except exception.HeaderError:
        return None
