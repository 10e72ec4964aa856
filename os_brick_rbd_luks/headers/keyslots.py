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

"""Add, replace and remove passphrases.

A volume key does not change by this: snapshots and clones made earlier keep
the header of their time, and with it the passphrases of their time.

*opened* is what :func:`~os_brick_rbd_luks.headers.unlocking.unlock` gave for
the old passphrase, of those who had to look before: it saves a second read
and a second KDF, which may take seconds. The header is compared under the
lock in any case, so one that changed meanwhile is refused.
"""

from __future__ import annotations

import logging
from typing import Iterable, List, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import passphrase_advice
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import kdfs

LOG = logging.getLogger(__name__)


class Result(NamedTuple):
    """What was done to the keyslots."""

    #: the keyslot that was filled, None if none was
    added: Optional[int]
    #: the keyslot that was erased, None if none was
    removed: Optional[int]
    #: what still opens as before, see
    #: :meth:`~os_brick_rbd_luks.image.base.Image.history`
    stale_snapshots: List[str]
    #: keyslots that the passphrase that was to go still opens
    still_opened: Tuple[int, ...] = ()
    #: keyslots that it may open: to try them was too dear
    not_tried: Tuple[int, ...] = ()


@header_io.names_image
def add(image: base.Image, old_passphrase: bytes, new_passphrase: bytes, *,
        opened: Optional[unlocking.Unlocked] = None,
        iterations: int = kdfs.MIN_ITERATIONS,
        argon2: Optional[kdfs.Argon2Cost] = None,
        keyslot: Optional[int] = None,
        old_keyslot: Optional[int] = None) -> Result:
    """Let *new_passphrase* open the volume as well.

    :param opened: see above
    :param old_keyslot: the only one to try *old_passphrase* on
    :param iterations: of PBKDF2
    :param argon2: use Argon2id at that cost instead, in LUKS2
    :param keyslot: the one to fill; the first free one when None
    :raises WrongPassphrase: *old_passphrase* opens no keyslot
    :raises HeaderChanged: it is not the one that was opened any more
    :raises NoFreeKeyslot, KeyslotInUse: see the header's ``add``
    """
    opened = opened or unlocking.unlock(image, old_passphrase, old_keyslot)
    change = opened.header.add(opened.volume_key, new_passphrase,
                               iterations=iterations, argon2=argon2,
                               keyslot=keyslot)
    header_io.apply(image, change.plan)
    LOG.info("%s: keyslot %d added", image.name, change.keyslot)
    passphrase_advice.say(image.name, change.header, new_passphrase)
    return Result(change.keyslot, None, [])


@header_io.names_image
def replace(image: base.Image, old_passphrase: bytes, new_passphrase: bytes,
            *, opened: Optional[unlocking.Unlocked] = None,
            iterations: int = kdfs.MIN_ITERATIONS,
            argon2: Optional[kdfs.Argon2Cost] = None,
            old_keyslot: Optional[int] = None) -> Result:
    """Put *new_passphrase* in the place of *old_passphrase*.

    In one keyslot: the result says which others *old_passphrase* opens, too,
    as far as it is cheap to tell.

    :param opened: see above
    :param old_keyslot: the only one to try *old_passphrase* on
    :param iterations: of PBKDF2
    :param argon2: use Argon2id at that cost instead, in LUKS2
    :raises WrongPassphrase: *old_passphrase* opens no keyslot
    :raises HeaderChanged: see :func:`add`
    :raises NoFreeKeyslot: the new one needs one until the old one is erased
    """
    opened = opened or unlocking.unlock(image, old_passphrase, old_keyslot)
    change = opened.header.replace(opened.keyslot, opened.volume_key,
                                   new_passphrase, iterations=iterations,
                                   argon2=argon2)
    also = unlocking.also_opened(image, opened, old_passphrase)
    header_io.apply(image, change.plan)
    LOG.info("%s: keyslot %d replaced by keyslot %d", image.name,
             opened.keyslot, change.keyslot)
    passphrase_advice.say(image.name, change.header, new_passphrase)
    return Result(change.keyslot, opened.keyslot, image.history(), *also)


@header_io.names_image
def replace_all(image: base.Image, old_passphrase: bytes,
                new_passphrase: bytes, *,
                opened: Optional[unlocking.Unlocked] = None,
                iterations: int = kdfs.MIN_ITERATIONS,
                argon2: Optional[kdfs.Argon2Cost] = None,
                old_keyslot: Optional[int] = None) -> header_io.Header:
    """Let *new_passphrase*, and no other, open the volume.

    For a clone, whose source's passphrases are other people's.

    :param opened: see above; of a clone also what opened its source
    :param old_keyslot: the only one to try *old_passphrase* on
    :raises WrongPassphrase: *old_passphrase* opens no keyslot
    :raises HeaderChanged: see :func:`add`
    :raises NoFreeKeyslot: the new one needs one until the others are erased
    """
    opened = opened or unlocking.unlock(image, old_passphrase, old_keyslot)
    others = [slot.number for slot in opened.header.keyslots]
    added = opened.header.add(opened.volume_key, new_passphrase,
                              iterations=iterations, argon2=argon2)
    erased = added.header.erase(others)
    header_io.apply(image, added.plan.then(erased.plan))
    LOG.info("%s: keyslot %d took the place of %s", image.name,
             added.keyslot, others)
    passphrase_advice.say(image.name, erased.header, new_passphrase)
    return erased.header


@header_io.names_image
def replace_all_in_new(image: base.Image, opened: unlocking.Unlocked,
                       new_passphrase: bytes, *,
                       iterations: int = kdfs.MIN_ITERATIONS,
                       argon2: Optional[kdfs.Argon2Cost] = None
                       ) -> header_io.Header:
    """Do as :func:`replace_all` to a clone that was just made.

    Nobody else knows it, and it has its name when this is done: the new
    keyslot needs no free one, and the header is written once.

    :param opened: the source of the clone
    :raises HeaderChanged: the clone has another header than its source had
    """
    others = [slot.number for slot in opened.header.keyslots]
    erased = opened.header.erase(others)
    # Another snapshot may have got the name of the one that was opened.
    header_io.compare(image, erased.plan.expected)
    added = erased.header.add(opened.volume_key, new_passphrase,
                              iterations=iterations, argon2=argon2)
    header_io.write_new(image, erased.plan, added.plan)
    LOG.info("%s: keyslot %d took the place of %s", image.name,
             added.keyslot, others)
    passphrase_advice.say(image.name, added.header, new_passphrase)
    return added.header


@header_io.names_image
def remove_others(image: base.Image, passphrase: bytes,
                  keyslot: Optional[int] = None) -> Result:
    """Remove all keyslots but the one that *passphrase* opens.

    With :func:`add` before, what :func:`replace_all` does in two steps:
    whoever stores the passphrase can change it between them.

    :param keyslot: the one that it opens, if that is known: no other is tried
    :raises WrongPassphrase: *passphrase* opens none, or not that one
    :raises KeyslotNotFound: there is none of that number
    """
    opened = unlocking.unlock(image, passphrase, keyslot)
    remove_besides(image, opened, [slot.number for slot
                                   in opened.header.keyslots])
    return Result(None, None, image.history())


@header_io.names_image
def remove_besides(image: base.Image, opened: unlocking.Unlocked,
                   numbers: Iterable[int]) -> None:
    """Remove keyslots, but not the one that was opened.

    :raises HeaderChanged: it is not the one that was opened any more
    """
    others = [number for number in numbers if number != opened.keyslot]
    if others:
        header_io.apply(image, opened.header.erase(others).plan)
        LOG.info("%s: keyslots %s removed; %d opens it", image.name, others,
                 opened.keyslot)


@header_io.names_image
def remove(image: base.Image, passphrase: bytes,
           keyslot: Optional[int] = None) -> Result:
    """Remove the keyslot that *passphrase* opens.

    One: the result says which others it opens, as :func:`replace` does.

    :param keyslot: the only one to try it on
    :raises WrongPassphrase: it opens none
    :raises LastKeyslot: nothing would open the volume any more
    """
    opened = unlocking.unlock(image, passphrase, keyslot)
    also = unlocking.also_opened(image, opened, passphrase)
    return _remove(image, opened.header, opened.keyslot, also)


@header_io.names_image
def remove_number(image: base.Image, keyslot: int,
                  passphrase: Optional[bytes],
                  passphrase_keyslot: Optional[int] = None) -> Result:
    """Remove a keyslot whose passphrase may be lost.

    :param passphrase: opens another keyslot, as proof that the volume stays
        usable; None to do without the proof
    :param passphrase_keyslot: the only one to try it on
    :raises WrongPassphrase: *passphrase* opens no other keyslot
    :raises KeyslotNotFound: *keyslot* is not in use
    :raises LastKeyslot: nothing would open the volume any more
    """
    header = header_io.read_header(image)
    header.keyslot(keyslot)
    others = [slot.number for slot in header.keyslots
              if slot.number != keyslot and slot.usable]
    if not others:
        raise exception.LastKeyslot(keyslot=keyslot)
    if passphrase_keyslot == keyslot:
        raise exception.InvalidParameter(
            name="keyslot of the passphrase", value=keyslot,
            reason="is the one to be removed; another one is the proof that "
                   "the volume stays usable")
    if passphrase is not None:
        _prove(image, header, passphrase, others, passphrase_keyslot)
    return _remove(image, header, keyslot)


def _prove(image: base.Image, header: header_io.Header, passphrase: bytes,
           keyslots: List[int], only: Optional[int]) -> None:
    if only is not None:
        unlocking.unlock_header(image, header, passphrase, only)
        return
    for number in keyslots:
        try:
            unlocking.unlock_header(image, header, passphrase, number)
        except exception.WrongPassphrase:
            continue
        return
    raise exception.WrongPassphrase()


def _remove(image: base.Image, header: header_io.Header, keyslot: int,
            also: unlocking.Also = unlocking.Also()) -> Result:
    if not any(slot.number != keyslot and slot.usable
               for slot in header.keyslots):
        raise exception.LastKeyslot(keyslot=keyslot)
    header_io.apply(image, header.erase([keyslot]).plan)
    LOG.info("%s: keyslot %d removed", image.name, keyslot)
    return Result(None, keyslot, image.history(), *also)
