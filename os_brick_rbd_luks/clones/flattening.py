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
"""Copy what a clone has of its parent, without mixing what is encrypted.

librbd copies a parent's data as it is, unless the clone's encryption is
loaded. That is right where the layers share a volume key. Where the clone has
a header of its own, the parent's data has to be encrypted with its volume key
on the way.
"""

from __future__ import annotations

import logging
from typing import Optional

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import sealed

LOG = logging.getLogger(__name__)


def needs_keys(image: base.RBDImage) -> bool:
    """Whether *image* is a clone that only its passphrases can flatten."""
    if image.parent() is None:
        return False
    try:
        return header_io.read_header(image).clone
    except exception.NotLuks:
        return False


def flatten(store: base.Pool, name: str, passphrase: bytes) -> None:
    """Make an encrypted clone independent of its parent.

    :param passphrase: the image's own
    :raises UnsupportedCeph: it has a header of its own, and librbd here is
        older than Ceph 18
    """
    with store.open(name) as image:
        if image.parent() is None:
            return
        if needs_keys(image):
            _load(image, passphrase)
        image.flatten()
    # Reopened, for its metadata is that of the image as it is.
    with store.open(name) as image:
        sealed.forget(image)
    LOG.info("%s/%s: flattened", store.name, name)


def _load(image: base.RBDImage, passphrase: bytes) -> None:
    header = header_io.read_header(image)
    image.librbd.require_layers("flattening a clone with a header of its own")
    image.load_encryption(header.type, passphrase,
                          *decryption.below(image, header, passphrase))


def release_parents(store: base.Pool, parent: Optional[base.Parent],
                    name: str) -> None:
    """Remove what there was only for a clone that has no parent any more.

    Its padded base, the snapshot it was made of, and images further up that
    were kept for their clones alone.

    :param name: of the clone, which was removed or flattened
    """
    kept = clone_snapshot.KEPT
    while parent is not None:
        source = bases.below(store, parent)
        bases.release(store, parent)
        if (not clone_snapshot.release(store, source, name)
                or source is None or not source.image.endswith(kept)):
            return
        if source != store.parent(source.image, source.snapshot):
            return
        with store.open(source.image, read_only=True) as image:
            if image.snapshots():
                return
            parent = image.parent()
        LOG.info("%s: removed, for its last clone is gone", source.image)
        store.remove(source.image)
        name = source.image[:-len(kept)]
