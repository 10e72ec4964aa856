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

"""A passphrase to the keyslot it opens and the volume key."""

from __future__ import annotations

import dataclasses
import logging
from typing import NamedTuple, Optional, Sequence, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import derivations
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks import limits

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Unlocked:
    """An opened volume."""

    header: header_io.Header
    #: the keyslot that the passphrase opened
    keyslot: int
    volume_key: bytes = dataclasses.field(repr=False)


@header_io.names_image
def unlock(image: base.Image, passphrase: bytes,
           keyslot: Optional[int] = None) -> Unlocked:
    """Open *image* with *passphrase*; nothing is written.

    :param keyslot: try this one only
    :raises WrongPassphrase: it opens none of them
    :raises IgnoredKeyslots: it opens none that was tried; some are only tried
        when they are named
    :raises CorruptHeader: all keyslots are damaged
    :raises HeaderLimitExceeded: it opens none of those that do not cost too
        much, by the header's limits or by those of this process (see
        :mod:`~os_brick_rbd_luks.headers.derivations`)
    :raises KeyslotsNotTried: it opens none of those that can be tried within
        a minute, best first
    :raises UnsupportedHeader: all are of a kind that we do not know
    :raises UnboundKeyslots: all are for another key than the volume's
    :raises WrongKeyslot: it does not open *keyslot*
    :raises KeyslotNotFound: *keyslot* is not in use, or none is
    """
    return unlock_header(image, header_io.read_header(image), passphrase,
                         keyslot)


@header_io.names_image
def unlock_header(image: base.Image, header: header_io.Header,
                  passphrase: bytes, keyslot: Optional[int] = None
                  ) -> Unlocked:
    """As :func:`unlock`, with the header that was just read from *image*."""
    slots = ([header.keyslot(keyslot)] if keyslot is not None
             else list(header.keyslots))
    if not slots:
        raise exception.KeyslotNotFound(keyslot="0 (or any other)")
    _refuse_unbound(slots)
    # Priority 0 is for those who name the keyslot.
    ignored = [slot for slot in slots if slot.usable and not slot.priority
               and keyslot is None]
    tried = sorted((slot for slot in slots if slot.usable
                    and slot not in ignored),
                   key=lambda slot: (-slot.priority, slot.cost))
    dear = [slot for slot in tried if not derivations.affords(slot.kdf)]
    # Where none is usable, the first one says why: of those that could be.
    tried = ([slot for slot in tried if slot not in dear]
             if tried or ignored else sorted(
                 slots, key=lambda slot: slot.other_key))
    spent = 0
    for index, slot in enumerate(tried):
        spent += slot.cost + header.digest_iterations
        if index and spent > limits.MAX_TOTAL_ITERATIONS:
            raise exception.KeyslotsNotTried(
                keyslots=_numbers(tried[index:]))
        try:
            key = _try(image, header, slot, passphrase)
        except exception.WrongPassphrase:
            continue
        LOG.debug("%s: keyslot %d opened", image.name, slot.number)
        return Unlocked(header, slot.number, key)
    for slot in dear:
        # One of them may be the right one.
        derivations.check(slot.kdf)
    if keyslot is not None:
        raise exception.WrongKeyslot(keyslot=keyslot)
    if ignored:
        raise exception.IgnoredKeyslots(keyslots=_numbers(ignored))
    raise exception.WrongPassphrase()


def _refuse_unbound(slots: Sequence[keyslot_views.Keyslot]) -> None:
    if all(slot.other_key for slot in slots):
        raise exception.UnboundKeyslots(
            what=f"keyslot{'s' if len(slots) > 1 else ''} {_numbers(slots)}")


def _numbers(slots: Sequence[keyslot_views.Keyslot]) -> str:
    return ", ".join(str(slot.number) for slot in slots)


def _try(image: base.Image, header: header_io.Header,
         slot: keyslot_views.Keyslot, passphrase: bytes) -> bytes:
    """The volume key that one keyslot gives, when a place is free for that.

    :raises WrongPassphrase: it does not open this one
    """
    area = image.read(slot.offset, slot.length)
    with derivations.place(slot.kdf):
        return header.open_keyslot(slot.number, area, passphrase)


#: What a try may cost, and all that :func:`also_opened` tries, in about
#: microseconds: see :attr:`~.keyslot_views.Keyslot.cost`.
CHEAP = 1_000_000


class Also(NamedTuple):
    """Where else a passphrase opens a volume."""

    opened: Tuple[int, ...] = ()
    #: keyslots that cost too much, or are none of ours, to be tried
    not_tried: Tuple[int, ...] = ()


def also_opened(image: base.Image, opened: Unlocked, passphrase: bytes
                ) -> Also:
    """Try a passphrase on the other keyslots, as far as that is cheap.

    :param opened: what it gave
    """
    found, not_tried, spent = [], [], 0
    for slot in sorted(opened.header.keyslots, key=lambda slot: slot.cost):
        if slot.number == opened.keyslot or slot.damage or not slot.bound:
            continue
        spent += slot.cost + opened.header.digest_iterations
        if (slot.foreign or spent > CHEAP
                or not derivations.affords(slot.kdf)):
            not_tried.append(slot.number)
            continue
        try:
            _try(image, opened.header, slot, passphrase)
        except exception.WrongPassphrase:
            continue
        found.append(slot.number)
    return Also(tuple(sorted(found)), tuple(sorted(not_tried)))
