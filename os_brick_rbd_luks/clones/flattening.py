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
from typing import Optional, Sequence, Tuple

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import written_zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import flatten_note
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import guarding
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import whole

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
    :raises ImageLocked: it has a LUKS1 header of its own, and somebody has it
        open
    """
    with store.open(name) as image:
        if image.parent() is None:
            return
        if needs_keys(image):
            image.librbd.require_layers(
                "flattening a clone with a header of its own")
            encrypting(store, name, passphrase, decryption.below(
                image, header_io.read_header(image), passphrase))
        else:
            image.flatten()
    # Reopened, for its metadata is that of the image as it is.
    with store.open(name) as image:
        sealed.forget(image)
    LOG.info("%s/%s: flattened", store.name, name)


def encrypting(store: base.Pool, name: str, passphrase: bytes,
               passphrases_below: Sequence[bytes], *, alone: bool = False
               ) -> None:
    """Flatten a clone with a header of its own.

    librbd writes the header back as it was when it read it, so nobody changes
    the header meanwhile (:mod:`~os_brick_rbd_luks.headers.flatten_note`). One
    who does not know of that may have: in the end, *passphrase* opens the
    volume, or an error says that it does not.

    :param passphrases_below: see
        :meth:`~os_brick_rbd_luks.image.base.RBDImage.load_encryption`
    :param alone: nobody else knows the image, but who is making it: with a
        handle that has written, and has librbd's exclusive lock for it
    :raises WrongPassphrase: one of them is
    :raises FlattenUnderway: another client does it
    :raises ChangedWhileFlattened: it is flattened, and another passphrase
        opens it now
    :raises ImageLocked: its header is of LUKS1, and somebody else has it open
        (:mod:`~os_brick_rbd_luks.clones.written_zeros`)
    """
    # Once more, as it is: the other is plain text.
    with store.open(name) as raw, exception.about(raw.name):
        begun = False
        try:
            with store.open(name) as image:
                with raw.lock():
                    header = header_io.read_header(raw)
                    areas = header_backup.read_areas(raw, header)
                    # By the one that is to flatten: librbd lets whoever has
                    # its exclusive lock do that. Of one of ours without the
                    # encryption, it would be a copy of another cipher text.
                    flatten_note.begin(image)
                    begun = True
                # QEMU opens it next, to which holes are noise.
                guard = (guarding.Guard(image) if header.type == "luks1"
                         else None)
                if alone and not guard:
                    image.keep_others_out()
                image.load_encryption(header.type, passphrase,
                                      *passphrases_below)
                if guard:
                    written_zeros.write(image, guard)
                image.flatten()
        except BaseException:
            try:
                if begun:
                    _end(raw, header, areas, None)
            except exception.RBDLuksError as error:
                # Not to hide the one that was first.
                LOG.warning("%s: its header was not looked at after a flatten "
                            "that failed: %s", raw.name, error)
            raise
        _end(raw, header, areas, passphrase)


def _end(image: base.RBDImage, before: header_io.Header, areas: whole.Areas,
         passphrase: Optional[bytes]) -> None:
    """Look at the header when all is done, and take the note away.

    :param before: what it was
    :param areas: its keyslots' areas
    :param passphrase: None if the flatten failed
    """
    with image.lock() as lock:
        try:
            found, reason = _judge(image, before, areas)
            if reason:
                LOG.warning("%s: its header was damaged while it was "
                            "flattened (%s); put back as it was", image.name,
                            reason)
                header_io.write_locked(
                    image, lock, header_backup.plan_over_nothing(
                        before if passphrase is None else before.unmarked(),
                        areas, header_io.read_start(image,
                                                    second_copy=True)))
            elif found is not None and passphrase is not None:
                _require(image, found, passphrase)
        finally:
            flatten_note.end(image)


def _judge(image: base.RBDImage, before: header_io.Header,
           areas: whole.Areas) -> Tuple[Optional[header_io.Header], str]:
    """The header if somebody changed it, or else why it is damaged, if so."""
    try:
        found = header_io.read_header(image)
    except exception.HeaderError as error:
        return None, error.msg
    if not found.same_volume(before) or found.keyslots != before.keyslots:
        return found, ""
    if header_backup.read_areas(image, found) != areas:
        return None, "the keyslots are others"
    return None, ""


def _require(image: base.RBDImage, header: header_io.Header,
             passphrase: bytes) -> None:
    try:
        unlocking.unlock_header(image, header, passphrase)
    except exception.KeyslotError as error:
        raise exception.ChangedWhileFlattened() from error
    LOG.warning("%s: somebody changed its header while it was flattened",
                image.name)


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
