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

"""Copy-on-write clones with a passphrase, or a volume key, of their own.

``rekeyed`` gives a passphrase of its own to the clone's copy of its source's
header: any Ceph can do that, both have one volume key. ``own_header`` gives
the clone a header and a volume key of its own, over a plain or an encrypted
source; only librbd of Ceph 18 and newer reads such a clone.

Source: librbd ``crypto/LoadRequest.cc`` (a passphrase for each layer) and
``crypto/luks/Magic.cc``.
"""

from __future__ import annotations

import contextlib
import logging
from typing import Iterator, List, Optional

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import sealing

LOG = logging.getLogger(__name__)


def rekeyed(store: base.Pool, parent: base.Parent, name: str,
            old_passphrase: bytes, new_passphrase: bytes, *,
            size: Optional[int] = None, flatten: bool = False,
            options: formatting.Options = formatting.Options(),
            old_keyslot: Optional[int] = None,
            restart: bool = False) -> header_io.Header:
    """Clone an encrypted snapshot, and let only *new_passphrase* open it.

    :param store: where the clone is made
    :param size: decrypted bytes, at least the source's; the source's when
        None, and what the source's image has more than whole sectors stays
    :param flatten: copy all data, so that nobody needs *old_passphrase* again
    :param options: the KDF's cost; all else is the source's
    :param old_keyslot: the only one to try *old_passphrase* on
    :param restart: see :func:`clear`
    :raises WrongPassphrase: *old_passphrase* does not open the source
    :raises InvalidParameter: *size* is less than the source's, or more of a
        LUKS2 volume that is not flattened, before Ceph 18; or
        *old_passphrase* has more than 65,535 bytes, which the clone has to
        keep unless it is flattened
    :raises OperationRefused: the source is a clone of LUKS2, before Ceph 18,
        and is not flattened; or *size* is more, and the header has a payload
        that we do not know
    :raises TooManyLayers: its header has no room for the passphrases of all
        layers below it
    """
    clear(store, name, restart=restart)
    with store.open_snapshot(parent) as source:
        opened = unlocking.unlock(source, old_passphrase, old_keyslot)
        decrypted = header_io.guest_size(source, opened.header)
        below = _below(source, opened, old_passphrase)
        is_clone = source.parent() is not None
    if not flatten:
        sealing.check(below)
    wanted = _wanted(decrypted, size, opened.header.sector_size)
    if wanted != decrypted:
        _refuse_odd(opened.header)
    if not flatten and engines.fails_on_deep_clones(opened.header,
                                                    store.librbd):
        _refuse_deep(is_clone, decrypted, wanted, store.librbd)
    with _made(store, parent, name) as image:
        if wanted != decrypted:
            image.resize(wanted + opened.header.data_offset)
        # The clone has the source's header, which is opened already.
        opened = sealed.stage(image, opened, [] if flatten else below)
        header = keyslots.replace_all_in_new(
            image, opened, new_passphrase, iterations=options.iterations,
            argon2=options.argon2)
        if flatten and header.clone:
            # As it is, what is below is of another volume key, or plain.
            flattening.encrypting(store, store.partial_name(name),
                                  new_passphrase, below, alone=True)
        elif flatten:
            image.flatten()
        else:
            holes.keep_source(store, parent)
    return header


def _below(source: base.RBDImage, opened: unlocking.Unlocked,
           passphrase: bytes) -> List[bytes]:
    """What opens the layers below a clone of *source*.

    :param opened: *source*, by *passphrase*
    """
    return [passphrase, *sealed.look(source, opened.header).passphrases(
        opened, passphrase)]


def _refuse_odd(header: header_io.Header) -> None:
    """Refuse another size than the source's where the header may say one."""
    odd = engines.odd_payload(header)
    if odd:
        raise exception.OperationRefused(
            reason=f"neither librbd nor this package knows such a payload "
                   f"({odd}), so a clone has the size of its source; leave "
                   "the size out")


def _refuse_odd_below(header: header_io.Header, size: int) -> None:
    """Refuse a source that librbd, which alone opens the clone, cannot read.

    :param size: of the source's image
    """
    odd = engines.odd_payload(header, size)
    if odd:
        raise exception.OperationRefused(
            reason=f"librbd, which alone opens a clone with a header of its "
                   f"own, does not know the payload of its source ({odd}); "
                   "let the clone have the source's key (--own-key)")


def _refuse_deep(is_clone: bool, decrypted: int, wanted: int,
                 librbd: capabilities.Librbd) -> None:
    if is_clone:
        raise exception.OperationRefused(
            reason="its source is a clone, and librbd of Ceph "
                   f"{librbd.release} fails on clones of clones; flatten the "
                   "clone (--flatten, flatten=True)")
    if wanted != decrypted:
        raise exception.InvalidParameter(
            name="size", value=wanted, reason="is more than the source has, "
            f"and librbd of Ceph {librbd.release} cannot read what a clone "
            "has more than its source; flatten the clone (--flatten, "
            "flatten=True)")


def own_header(store: base.Pool, parent: base.Parent, name: str,
               new_passphrase: bytes, options: formatting.Options, *,
               old_passphrase: Optional[bytes] = None,
               size: Optional[int] = None,
               old_keyslot: Optional[int] = None,
               restart: bool = False) -> header_io.Header:
    """Clone a snapshot, and give the clone a header and volume key.

    :param options: of the clone's header
    :param old_passphrase: of an encrypted source, which has to open it
    :param size: decrypted bytes, at least the source's; the source's when
        None. Where the source is no whole sectors of the clone, these are
        rounded up, as in a copy
    :param old_keyslot: see :func:`rekeyed`
    :param restart: see :func:`clear`
    :raises UnsupportedCeph: librbd here is older than Ceph 18
    :raises WrongPassphrase: *old_passphrase* does not open the source
    :raises InvalidParameter: the source is encrypted, and no passphrase of
        it is given, or one of more than 65,535 bytes
    :raises OperationRefused: the source has a payload that librbd does not
        know
    """
    formatting.check(new_passphrase, options)
    store.librbd.require_layers("a clone with a header of its own")
    clear(store, name, restart=restart)
    below: List[bytes] = []
    with store.open_snapshot(parent) as source:
        header = header_io.header_if_any(source)
        shared = 0
        if header is not None:
            if old_passphrase is None:
                raise exception.InvalidParameter(
                    name="passphrase of the source", value="(none)",
                    reason=f"is needed, because {parent} is encrypted")
            opened = unlocking.unlock_header(source, header, old_passphrase,
                                             old_keyslot)
            _refuse_odd_below(header, source.size())
            shared = header.data_offset
            below = _below(source, opened, old_passphrase)
            sealing.check(below)
        # What is no whole sector counts: to cut it off is to cut an object.
        payload = source.size() - shared
        decrypted = (header_io.guest_size(source, header) if header
                     else payload)
        period = source.stripe_period()
    offset = formatting.data_offset(period, options)
    sector = formatting.sector_size(options)
    wanted = max(_wanted(decrypted, size, sector),
                 keymaterial.round_up(payload, sector))
    if wanted + offset < payload + shared and wanted % period:
        # Cutting an object makes librbd copy up what is left of it, which is
        # cipher text of another layer.
        raise exception.InvalidParameter(
            name="size", value=wanted,
            reason=f"is not a multiple of {period} bytes, as it has to be for "
                   f"{options.type} over a source with a larger header")
    padding = max(offset - shared, 0)
    if padding:
        # The base is a layer, too, with the source's header; the last
        # passphrase is for all that follows.
        below = below[:1] + below if len(below) > 1 else below
    try:
        with _made(store, parent, name, padding) as image:
            if image.size() != wanted + offset:
                image.resize(wanted + offset)
            made = formatting.format_clone(image, new_passphrase, options)
            header = (sealed.write(image, made, below) if below
                      else made.header)
            if shared:
                holes.keep_source(store, parent)
    except BaseException:
        if padding:
            with contextlib.suppress(exception.RBDLuksError):
                bases.release(store, bases.of(store, parent, padding))
        raise
    return header


def _wanted(decrypted: int, size: Optional[int], sector: int) -> int:
    """The decrypted size of a clone.

    :param sector: bytes of the sectors of its payload
    """
    if size is None or size == decrypted:
        return decrypted
    if size < decrypted:
        raise exception.InvalidParameter(
            name="size", value=size,
            reason=f"is less than the {decrypted} bytes of the source")
    formatting.check_size(size, sector)
    return size


@contextlib.contextmanager
def _made(store: base.Pool, parent: base.Parent, name: str, padding: int = 0
          ) -> Iterator[base.RBDImage]:
    """A new clone; it gets its name when it is complete.

    :param padding: bytes that its parent is to have more than *parent*
    """
    def make(half: str) -> base.RBDImage:
        if padding:
            return bases.clone(store, parent, padding, half)
        return store.clone(parent, half)

    with exception.about(f"clone {name}"), partial.new(
            store, name, make) as image:
        # librbd copies the parent's metadata.
        for note in (bases.NOTE, sealed.NOTE):
            image.set_note(note, None)
        holes.keep(image)
        yield image


def clear(store: base.Pool, name: str, *, restart: bool) -> None:
    """Refuse what an interrupted run left of a clone, or remove that.

    With its padded base and the snapshot that was taken for it. To be called
    before that snapshot is taken again.

    :param name: of the clone that is to be made
    :param restart: remove it
    :raises ImageExists: there is an image *name*
    :raises HalfMade: there is something, and not *restart*
    :raises ImageLocked: another run is at it
    """
    partial.clear(store, name, restart=restart, remove=remove)


def remove(store: base.Pool, name: str) -> None:
    """Remove an image, and what there is only for it.

    That is its padded base, if no other clone has it, and the snapshot that
    was taken to make this clone, if nothing else was made of it.

    :param name: also one that a half-made clone has
    :raises ImageLocked: it is open, or has snapshots or clones
    """
    with store.open(name, read_only=True) as image:
        parent = image.parent()
    source = bases.below(store, parent)
    store.remove(name)
    bases.release(store, parent)
    clone_snapshot.release(store, source, partial.final_name(name))
