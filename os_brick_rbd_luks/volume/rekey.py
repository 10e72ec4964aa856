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
"""Give a volume a passphrase of its own, or a new one.

Cinder's API gives a clone a copy of its source's key. At every moment the key
id in Cinder's database opens the volume: the new passphrase is added, the
database changed, and only then is the old passphrase removed. All keys that
exist meanwhile are noted on the image, so that they go with it when the
service is killed in between.

:func:`own_key` does all of that at once. :func:`begin` leaves the old
passphrase beside the new one, for those who have read the database just
before; :mod:`~os_brick_rbd_luks.volume.settling` removes it later.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import (Any, Callable, Container, Iterable, List, Mapping,
                    Optional, Protocol)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.layers import holes
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import pending_keys
from os_brick_rbd_luks.volume import volume_keys

LOG = logging.getLogger(__name__)


class Stored(Protocol):
    """How the database gets a volume's new key, and its old one back."""

    def save(self, key_id: str) -> None:
        """Let the database name this key."""

    def restore(self, key_id: str) -> None:
        """Let it name the old one, whatever became of :meth:`save`.

        Whatever it raises, which of the two it names is not known.
        """


class _Record:
    """By the record that the request has."""

    def __init__(self, record: Any) -> None:
        self._record = record

    def save(self, key_id: str) -> None:
        """See :class:`Stored`."""
        self._record.encryption_key_id = key_id
        self._record.save()

    restore = save


@errors.translated()
def own_key(volume: encrypted.Volume, in_place: bool = False) -> None:
    """Replace the key of *volume* and its passphrase.

    The old key is deleted, unless a snapshot that was taken meanwhile needs
    it: what a layer below needs of it is sealed in the volume's own header.
    When anything fails, the key and the database are as before, as far as
    that can be, and the first error is raised; what the header has by then is
    for the caller, who removes the image. A key that cannot be deleted is
    named in the log.

    A key manager that has one key for all, as Cinder's for a ``fixed_key``,
    gives the same again: then there is nothing to add, and nothing to note.

    :param volume: a clone, with a key that nobody else has; it is saved
    :param in_place: nobody removes the image. Once the database has the new
        key, it keeps that, for the old one may not open the volume any more
    :raises VolumeBackendAPIException: the image, or a key
    """
    record, keys = volume.record, volume.keys
    old_id = record.encryption_key_id
    old = keys.passphrase(old_id)
    new = keys.make(record)
    if new.key_id == old_id:
        LOG.info("%s: it keeps key %s, the only one", volume.name, old_id)
        return
    change = _Change(volume, old_id, new, in_place, _Record(record))
    try:
        change.begin(old)
        stale = change.finish()
    except BaseException:
        change.undo()
        raise
    volume.announce_key()
    _tidy(volume, change.new_id, old_id, stale)


def begin(volume: encrypted.Volume, stored: Stored,
          grant: Optional[Callable[[str], None]] = None) -> str:
    """Let a new passphrase open *volume* besides, and the database name it.

    The old key is noted on the image, and opens it until that is settled. If
    anything fails, all is as before, as far as that can be.

    :param grant: called with the new key's id before anything names it: lets
        those read it who have to, or fails. None: who may read it is no
        reason to fail, as of a new volume
    :returns: the new key's id
    :raises NotRotated: the key manager has one key for all volumes
    :raises PassphraseUnavailable: the key manager
    :raises RBDLuksError: the image
    """
    record, keys = volume.record, volume.keys
    old_id = record.encryption_key_id
    old = keys.passphrase(old_id)
    new = keys.make(record)
    if new.key_id == old_id:
        raise exception.NotRotated(
            reason="the key manager has one key for all volumes")
    change = _Change(volume, old_id, new, True, stored)
    try:
        if grant:
            grant(new.key_id)
        change.begin(old)
    except BaseException:
        change.undo()
        raise
    volume.announce_key(is_shared=grant is not None)
    return change.new_id


class _Change:
    """A volume's change from one key to another, and the way back."""

    def __init__(self, volume: encrypted.Volume, old_id: str,
                 new: volume_keys.Made, in_place: bool, stored: Stored
                 ) -> None:
        self.new_id, self._new = new.key_id, new.passphrase
        self._volume, self._old_id = volume, old_id
        self._in_place, self._stored = in_place, stored
        self._keyslot: Optional[int] = None
        self._old = b""
        #: whether the header may have the new key, and the database, and
        #: whether that has
        self._adding = self._saving = self._saved = False

    def begin(self, old: bytes) -> None:
        """Let the new passphrase open it, and the database name it."""
        volume, self._old = self._volume, old
        if self._new is None:
            # At once: of a service killed before that, a key is left.
            _note(volume, [self.new_id, self._old_id])
            self._new = volume.keys.passphrase(self.new_id)
        self._adding = True
        self._keyslot = _add(volume, {
            self._old_id: old, self.new_id: self._new}, self._in_place)
        self._saving = True
        self._stored.save(self.new_id)
        self._saved = True

    def finish(self) -> List[str]:
        """Let no other open it.

        :returns: snapshots that only the old one opens
        """
        assert self._new is not None  # noqa: S101
        return _finish(self._volume, self._new, self._keyslot)

    def undo(self) -> None:
        """Be as before, as far as that can be, and raise nothing more."""
        if self._saved and self._in_place:
            return
        if self._saving and not self._is_restored():
            return
        if self._in_place:
            # The error may be the connection's.
            self._volume.session.reset()
            if self._adding and not self._is_removed():
                return
        keys, record = self._volume.keys, self._volume.record
        if (keys.discard(self.new_id, record, noted=self._in_place)
                and self._in_place):
            forget_quietly(self._volume, [self.new_id, self._old_id])

    def _is_restored(self) -> bool:
        """Whether the database has the old key again."""
        volume = self._volume
        try:
            self._stored.restore(self._old_id)
        except Exception as error:  # whatever the database's driver raises
            LOG.warning("%s: whether Cinder has key %s or %s for it is not "
                        "known (%s), so both are left", volume.name,
                        self._old_id, self.new_id, error)
            return False
        return True

    def _is_removed(self) -> bool:
        """Whether the new passphrase does not open the image, any more.

        What has added it may have failed, and have done it all the same.
        """
        try:
            _remove(self._volume, {self._old_id: self._old},
                    {self.new_id: self._new or b""})
        except exception.RBDLuksError as error:
            LOG.warning("%s: key %s, which is of no use, may open it, and "
                        "stays noted on it: %s", self._volume.name,
                        self.new_id, error)
            return False
        return True


def _tidy(volume: encrypted.Volume, new_id: str, old_id: str,
          stale: List[str]) -> None:
    """Delete the old key.

    The volume is complete by now: what goes wrong is for its deletion.
    """
    LOG.info("%s: key %s took the place of %s", volume.name, new_id, old_id)
    done = [new_id]
    if stale:
        LOG.warning("%s: its old key %s is kept until the volume is deleted, "
                    "for snapshots still open with that only: %s",
                    volume.name, old_id, ", ".join(stale))
    elif fleet.others_with(old_id, volume.record):
        LOG.warning("%s: its old key %s is another volume's as well, and "
                    "stays", volume.name, old_id)
        done.append(old_id)
    elif volume.keys.discard(old_id, volume.record, noted=True):
        done.append(old_id)
    forget_quietly(volume, done)


def forget_quietly(volume: encrypted.Volume, key_ids: List[str]) -> None:
    """Let keys be noted no more, if that works: it does no harm."""
    try:
        _forget(volume, key_ids)
    except exception.RBDLuksError as error:
        LOG.warning("%s: keys %s stay noted on it until it is deleted: %s",
                    volume.name, ", ".join(key_ids), error)


@threads.native
def _note(volume: encrypted.Volume, key_ids: List[str]) -> None:
    """Note keys on an image, beside those that are noted."""
    with volume.image() as image:
        _note_on(image, key_ids)


def _note_on(image: base.RBDImage, key_ids: Iterable[str]) -> None:
    pending_keys.write(image, list(dict.fromkeys(filter(
        None, [*pending_keys.read(image), *key_ids]))),
        since=int(time.time()))


@threads.native
def _forget(volume: encrypted.Volume, key_ids: List[str]) -> None:
    """Let keys be noted no more; the others are still owned."""
    with volume.image() as image:
        pending_keys.write(image, [
            key_id for key_id in pending_keys.read(image)
            if key_id not in key_ids])


@threads.native
def _add(volume: encrypted.Volume, keys: Mapping[str, bytes],
         in_place: bool) -> Optional[int]:
    """Let a second passphrase open the image besides the first one.

    Both keys are noted first: of a service killed before that, a key is left.
    Then the keyslots of both are noted with them, unless the image is new
    and goes if this is not completed: whoever owns a key may delete it
    meanwhile, and then no passphrase finds its keyslot.

    :param keys: the two passphrases by their keys, in that order
    :returns: the new keyslot
    """
    (old_id, old), (new_id, new) = keys.items()
    with volume.image() as image:
        _note_on(image, (new_id, old_id))
        opened = unlocking.unlock(image, old)
        added = passphrases.add(
            image, old, new, opened=opened,
            iterations=opts.options().pbkdf2_iterations).added
        assert added is not None  # noqa: S101
        if in_place:
            pending_keys.write(image, pending_keys.read(image), {
                **pending_keys.keyslots(image),
                old_id: fingerprints.of(opened.header, opened.keyslot),
                new_id: fingerprints.of(header_io.read_header(image),
                                        added)})
    return added


@threads.native
def _remove(volume: encrypted.Volume, present: Mapping[str, bytes],
            other: Mapping[str, bytes]) -> None:
    with volume.image() as image:
        shut_out(image, present, other)


@threads.native
def _finish(volume: encrypted.Volume, new: bytes, keyslot: Optional[int]
            ) -> List[str]:
    """Let nobody else's passphrase open the image.

    :param keyslot: that was added for *new*, so that the others, which may
        cost seconds, are not tried
    :returns: snapshots that the old one still opens, and the new one does not
    """
    with volume.pool() as pool, pool.open(volume.name) as image:
        stale = keyslots.remove_others(image, new, keyslot).stale_snapshots
        keep_holes(pool, image)
    return stale


def keep_holes(pool: rbd_pool.Pool, image: base.RBDImage) -> None:
    """Let a clone go on reading what it has not written."""
    parent = image.parent()
    if parent is not None:
        holes.keep(image)
        holes.keep_source(pool, parent)


def shut_out(image: base.RBDImage, present: Mapping[str, bytes],
             others: Mapping[str, bytes], spared: Container[str] = ()
             ) -> None:
    """Let the passphrases of keys open an image no more.

    Their keyslots are noted before they are erased, and those that were noted
    before are erased as well: whoever was at it may have been killed, and
    the key deleted since. A keyslot that is noted is not looked for by its
    passphrase, which costs as much as to open the image.

    :param present: the passphrase of the key that opens it and goes on to do
        so, by its id
    :param others: passphrases of noted keys, by their ids
    :param spared: noted keys whose keyslots stay for now
    :raises WrongPassphrase: *present* does not open it; nothing was changed
    """
    header, marks = header_io.read_header(image), pending_keys.keyslots(image)
    numbers = {fingerprints.of(header, slot.number): slot.number
               for slot in header.keyslots}
    (present_id, passphrase), = present.items()
    opened = _opened(image, header, passphrase,
                     numbers.get(marks.get(present_id, "")))
    before = dict(marks)
    for key_id, passphrase in others.items():
        if marks.get(key_id) in numbers:
            continue
        keyslot = opens(image, passphrase)
        if keyslot is not None and keyslot != opened.keyslot:
            marks[key_id] = fingerprints.of(header, keyslot)
    if marks != before:
        pending_keys.write(image, list(dict.fromkeys(
            [*pending_keys.read(image), *marks])), marks)
    keyslots.remove_besides(image, opened, sorted({
        numbers[mark] for key_id, mark in marks.items()
        if key_id not in spared and mark in numbers}))


def _opened(image: base.RBDImage, header: header_io.Header, passphrase: bytes,
            keyslot: Optional[int]) -> unlocking.Unlocked:
    """Open it with a keyslot that may be the passphrase's, or another."""
    if keyslot is not None:
        with contextlib.suppress(exception.KeyslotError):
            return unlocking.unlock_header(image, header, passphrase, keyslot)
    return unlocking.unlock_header(image, header, passphrase)


def opens(image: base.Image, passphrase: bytes) -> Optional[int]:
    """The keyslot that the passphrase of a key opens, None if it opens none.

    That costs little: a keyslot that costs too much to be tried is somebody
    else's.
    """
    try:
        return unlocking.unlock(image, passphrase).keyslot
    except (exception.KeyslotError, exception.HeaderLimitExceeded,
            exception.NotLuks):
        return None
