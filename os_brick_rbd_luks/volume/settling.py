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
"""Which of the keys that are noted on a volume open it: the database's only.

Whoever changes a volume's key and is killed leaves two keys that open it, and
both noted. So does a rotation, for a while.
"""

from __future__ import annotations

import dataclasses
import logging
from typing import Container, Dict, List, Optional, Sequence, Tuple

from cinder import context as cinder_context
from cinder import objects

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import rekey

LOG = logging.getLogger(__name__)

#: What the snapshots begin with that Ceph's backup driver leaves.
_OF_BACKUPS = "backup."


@dataclasses.dataclass(frozen=True)
class Settled:
    """What :func:`settle` has come to.

    :ivar present: the key that opens it
    :ivar removed: keys that are no more
    :ivar needed: keys that snapshots need
    :ivar left: keys that could not be deleted, and stay noted
    :ivar unread: keys that could not be read, so that they may open it still;
        they stay noted as well
    :ivar lost: former keys that are gone, and nothing notes their keyslots:
        their owner may have deleted them, or something else moved the volume
        meanwhile, and their passphrases open it still, if the header has
        keyslots that the present key does not open
    """

    present: str
    removed: List[str] = dataclasses.field(default_factory=list)
    needed: List[str] = dataclasses.field(default_factory=list)
    left: List[str] = dataclasses.field(default_factory=list)
    unread: List[str] = dataclasses.field(default_factory=list)
    lost: List[str] = dataclasses.field(default_factory=list)


@threads.native
def noted(volume: encrypted.Volume) -> List[str]:
    """Keys noted on the image besides the one that the database names.

    :raises RBDLuksError: it cannot be read
    """
    with volume.image(read_only=True) as image:
        return pending_keys.others(image, volume.record.encryption_key_id)


@threads.native
def is_new(volume: encrypted.Volume, seconds: float) -> bool:
    """Whether its keys were noted less than so many seconds ago.

    :raises RBDLuksError: it cannot be read
    """
    with volume.image(read_only=True) as image:
        return pending_keys.is_new(image, seconds)


def settle(volume: encrypted.Volume, former: Sequence[str] = ()) -> Settled:
    """Let none of the noted keys open *volume* but the database's.

    Whatever was killed before, this makes it complete or undoes it, by what
    the database says. Keyslots of others, as of an operator's own passphrase,
    stay. A key that a snapshot needs stays, and is noted until that is gone.

    :param former: keys that were noted, and are to go if they are not any
        more: a migration leaves notes behind
    :raises WrongPassphrase: the database's key does not open it; nothing was
        changed
    :raises PassphraseUnavailable: that key cannot be had, likewise
    :raises RBDLuksError: the image
    """
    present = volume.record.encryption_key_id
    there, marked, found_by_note = _notes(volume)
    opening = volume.passphrase()
    others = [key_id for key_id in dict.fromkeys([*there, *former])
              if key_id != present]
    found, gone = Settled(present), []
    known: Dict[str, Optional[bytes]] = {}
    for key_id in others:
        try:
            known[key_id] = (None if key_id in found_by_note
                             else volume.keys.passphrase(key_id))
        except exception.KeyNotFound:
            # What was to forget it was killed, or its owner has deleted it.
            found.removed.append(key_id)
            if key_id not in marked:
                gone.append(key_id)
        except exception.PassphraseUnavailable as error:
            LOG.warning("%s: key %s may open it still, and stays noted on "
                        "it, for it cannot be read: %s", volume.name, key_id,
                        error.reason)
            found.unread.append(key_id)
    needed = {*_remove_noted(volume, opening, known, found.unread),
              *_named(volume)}
    if gone and _has_others(volume):
        found.lost.extend(gone)
    for key_id in known:
        if key_id in needed:
            found.needed.append(key_id)
        elif volume.keys.discard(key_id, volume.record, noted=True):
            found.removed.append(key_id)
        else:
            found.left.append(key_id)
    if others:
        # The present one is noted as long as there are others.
        rekey.forget_quietly(
            volume, found.removed
            if found.needed or found.left or found.unread
            else [*others, present])
    return found


def _named(volume: encrypted.Volume) -> List[str]:
    """Keys that the database names for snapshots, whatever opens them.

    Those of a group's snapshots are as Cinder's API has read them.
    """
    return [snapshot.encryption_key_id
            for snapshot in objects.SnapshotList.get_all_for_volume(
                cinder_context.get_admin_context(), volume.record.id)]


@threads.native
def _notes(volume: encrypted.Volume
           ) -> Tuple[List[str], Container[str], Container[str]]:
    """What is to be known of it before any key is asked for.

    :returns: what :func:`noted` gives; noted keys whose keyslots are or were
        known; and those of which nobody needs the passphrase, for the header
        has that keyslot, and there is no snapshot that may need the key
    """
    with volume.image(read_only=True) as image:
        there = pending_keys.others(image, volume.record.encryption_key_id)
        marks = pending_keys.keyslots(image)
        found: List[str] = []
        if there and not any(map(_is_opened_by_key, image.snapshots())):
            present = fingerprints.all_of(header_io.read_header(image))
            found = [key_id for key_id in there
                     if marks.get(key_id) in present]
        return there, marks, found


@threads.native
def _has_others(volume: encrypted.Volume) -> bool:
    """Whether there are keyslots besides the one of the database's key."""
    with volume.image(read_only=True) as image:
        return len(header_io.read_header(image).keyslots) > 1


@threads.native
def _remove_noted(volume: encrypted.Volume, present: bytes,
                  others: Dict[str, Optional[bytes]], unread: List[str]
                  ) -> List[str]:
    """Let the passphrases of noted keys open the image no more.

    :param present: opens it, and goes on to do so
    :param others: passphrases by their keys; None where it is not asked for
    :param unread: noted keys that stay, for a snapshot may need them
    :returns: keys that a snapshot needs
    """
    with volume.pool() as pool, pool.open(volume.name) as image:
        read = {key_id: passphrase for key_id, passphrase in others.items()
                if passphrase is not None}
        rekey.shut_out(image, {volume.record.encryption_key_id: present},
                       read, unread)
        if others:
            rekey.keep_holes(pool, image)
        needed: List[str] = []
        for snapshot in filter(_is_opened_by_key, image.snapshots() if others
                               else ()):
            with pool.open(volume.name, snapshot=snapshot,
                           read_only=True) as then:
                if rekey.opens(then, present) is None:
                    needed += [key_id for key_id, passphrase in read.items()
                               if rekey.opens(then, passphrase) is not None]
    return needed


def _is_opened_by_key(snapshot: str) -> bool:
    """Whether anybody opens a snapshot by a key that Cinder knows.

    What a clone needs of its source is sealed in its own header, and a backup
    has a key of its own.
    """
    return not (snapshot.endswith(clone_snapshot.SUFFIX)
                or snapshot.startswith(_OF_BACKUPS))
