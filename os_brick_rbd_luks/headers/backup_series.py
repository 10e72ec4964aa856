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

"""Sealed header backups of many images: for each a series of versions.

A record has the id of the image, not its name, so that a renamed image keeps
its series, and one that was made anew under an old name begins its own. A new
version is written where the header is not what the newest version has, and
versions beyond a number are removed when it is there. A header that is
visibly damaged never takes the place of one that was not.

:mod:`~os_brick_rbd_luks.luks.sealed_backup` has the form of a record, and
:mod:`~os_brick_rbd_luks.headers.header_backup` puts one back.
"""

from __future__ import annotations

import contextlib
import enum
import logging
from typing import Dict, Iterator, List, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import record_store
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks import sealed_backup
from os_brick_rbd_luks.luks import whole

LOG = logging.getLogger(__name__)

#: Versions of each image that are kept. Not one: of damage that nothing shows,
#: as in LUKS1 or in a keyslot's area, the newest version is a copy.
KEEP = 3

#: How often a header is read that somebody changes at that moment.
_TRIES = 3

#: Records that a passphrase is tried on, before it counts as wrong: one may
#: be damaged.
_TRIED = 8


class State(enum.Enum):
    """What has become of one image's backup."""

    SAVED = "saved"
    UNCHANGED = "unchanged"
    PLAIN = "plain"
    NOT_SAVED = "not saved"
    #: before it could be opened
    REMOVED = "removed"


class Outcome(NamedTuple):
    """What has become of one image's backup, and what to look at."""

    state: State
    #: of the newest version that there is, None without one
    version: Optional[int] = None
    problem: Optional[str] = None


class Found(NamedTuple):
    """A backup, unsealed."""

    facts: sealed_backup.Facts
    #: without the zeros at its end
    used: bytes

    @property
    def data(self) -> bytes:
        """All of it, as :func:`.header_backup.backup` gave it."""
        return self.used.ljust(self.facts.size, b"\0")


class Listed(NamedTuple):
    """A record; *facts* are what it says, which nobody has proved."""

    pool: str
    name: str
    facts: Optional[sealed_backup.Facts]
    problem: Optional[str]


def listed(store: record_store.Records) -> Iterator[Listed]:
    """All records, by pool, image and version."""
    for pool in store.groups():
        for name in store.names(pool):
            try:
                yield Listed(pool, name, _start(store, pool, name).facts,
                             None)
            except exception.ImageNotFound:
                # A run that makes new ones has just removed it.
                continue
            except (exception.BackupNotReadable,
                    exception.ImageError) as error:
                yield Listed(pool, name, None, error.msg)


def find_key(store: record_store.Records, passphrase: bytes,
             cost: int = sealed_backup.COST) -> sealed_backup.Key:
    """The key that more backups are to be sealed with.

    It has the salt of those that are there, so that one passphrase is
    stretched once.

    :param cost: of a new one, see :func:`.sealed_backup.stretch`
    :raises WrongBackupPassphrase: those have another passphrase
    :raises BackupNotReadable: all that were looked at are damaged
    :raises ImageError: or cannot be read
    """
    keys: Dict[Tuple[bytes, int], sealed_backup.Key] = {}
    failure: Optional[exception.RBDLuksError] = None
    names = ((pool, name) for pool in store.groups()
             for name in store.names(pool))
    for (pool, name), _number in zip(names, range(_TRIED)):
        try:
            sealed = _start(store, pool, name)
        except (exception.BackupNotReadable, exception.ImageError) as error:
            failure = failure or error
            continue
        salted = sealed.salt, sealed.cost
        if salted not in keys:
            keys[salted] = sealed_backup.stretch(
                passphrase, salt=sealed.salt, cost=sealed.cost)
        if sealed.matches(keys[salted]):
            return keys[salted]
        failure = exception.WrongBackupPassphrase()
    if failure is not None:
        failure.image = store.name
        raise failure
    return sealed_backup.stretch(passphrase, cost=cost)


class Series:
    """The backups of the images of one pool."""

    def __init__(self, store: record_store.Records, pool: str) -> None:
        """Look which there are.

        :param pool: its name, or POOL/NAMESPACE
        """
        self._store = store
        self._pool = pool
        self._versions: Dict[str, List[int]] = {}
        for name in store.names(pool):
            image_id, _dot, number = name.rpartition(".")
            if number.isdecimal() and name == _name(image_id, int(number)):
                self._versions.setdefault(image_id, []).append(int(number))
        for versions in self._versions.values():
            versions.sort()

    def save(self, image: base.Image, key: sealed_backup.Key, time: str,
             keep: int = KEEP) -> Outcome:
        """Make sure that the header of *image* is the newest version.

        Only one call at a time may be for the same image.

        :param time: of now, in UTC, as in ``2026-11-29T19:26:49Z``
        :param keep: versions to be kept, at least 1
        :raises ImageError: the place for records does not do; of an image
            that cannot be read the outcome says so
        """
        try:
            image_id = base.image_id(image)
        except exception.ImageError as error:
            return Outcome(State.NOT_SAVED, None,
                           f"cannot be read: {error.msg}")
        versions = self._versions.get(image_id, [])
        newest = versions[-1] if versions else None
        usable, there, unusable = self._usable(image_id, key)

        def not_saved(problem: str) -> Outcome:
            return Outcome(State.NOT_SAVED, newest, "; ".join((
                problem, *unusable, f"backup {usable} of it is kept"
                if usable else "there is no backup of it")))

        try:
            read = _read(image)
        except (exception.HeaderError, exception.HeaderChanged) as error:
            return not_saved(error.msg)
        except exception.ImageError as error:
            return not_saved(f"cannot be read: {error.msg}")
        if read is None:
            return (Outcome(State.PLAIN) if newest is None
                    else not_saved(exception.NotLuks().msg))
        header, used = read
        size = header_backup.size(header)
        damage = _damage(header)
        problem = damage or _ailment(header)
        if (there is not None and usable == newest
                and (there.used, there.facts.size) == (used, size)):
            self._forget(image_id, keep)
            return Outcome(State.UNCHANGED, newest, problem)
        if damage is not None and there is not None and not _is_damaged(
                there.data):
            return not_saved(damage)
        version = (newest or 0) + 1
        self._store.write(self._pool, _name(image_id, version),
                          sealed_backup.seal(used, sealed_backup.Facts(
                              self._pool, self._own_name(image), image_id,
                              version, time, header.type, header.uuid,
                              size), key))
        self._versions[image_id] = [*versions, version]
        self._forget(image_id, keep)
        return Outcome(State.SAVED, version, "; ".join(filter(
            None, (problem, *unusable))) or None)

    def _usable(self, image_id: str, key: sealed_backup.Key
                ) -> Tuple[Optional[int], Optional[Found], List[str]]:
        """The newest backup that can be unsealed, and why newer ones cannot.

        :returns: its version and itself, None without one; problems
        """
        problems: List[str] = []
        for version in reversed(self._versions.get(image_id, [])):
            try:
                return version, self._open(image_id, version, key), problems
            except exception.BackupNotReadable as error:
                reason = error.reason
            except exception.WrongBackupPassphrase:
                reason = "it is sealed with another passphrase, or was changed"
            except exception.ImageError as error:
                reason = error.msg
            problems.append(f"backup {version} of it could not be used: "
                            f"{reason}")
        return None, None, problems

    def find(self, image: base.Image, passphrase: bytes,
             version: Optional[int] = None) -> Found:
        """A backup of *image*, to be put back.

        That of an image of the same name will do if there is none of its id:
        a migration and a copy give another one. Whether it fits is for
        :func:`~os_brick_rbd_luks.headers.header_backup.restore` to tell, by
        the header's UUID.

        :param version: the newest by default
        :raises ImageNotFound: there is none
        :raises WrongBackupPassphrase: it is sealed with another one
        :raises BackupNotReadable: it was changed, or is of something else
        """
        image_id = base.image_id(image)
        if image_id not in self._versions:
            image_id = self._id_of_name(image)
        versions = self._versions[image_id]
        if version is None:
            version = versions[-1]
        elif version not in versions:
            raise exception.ImageNotFound(
                what=f"backup {version} of {image.name} in "
                     f"{self._store.name}, which has "
                     f"{', '.join(map(str, versions))},")
        with exception.about(self._about(image_id, version)):
            sealed = _start(self._store, self._pool, _name(image_id, version))
            key = sealed_backup.stretch(passphrase, salt=sealed.salt,
                                        cost=sealed.cost)
            return self._open(image_id, version, key)

    def _id_of_name(self, image: base.Image) -> str:
        """The id in the backups of an image of the same name.

        :raises ImageNotFound: there are none
        """
        name, found = self._own_name(image), []
        for image_id, versions in self._versions.items():
            try:
                facts = _start(self._store, self._pool,
                               _name(image_id, versions[-1])).facts
            except (exception.BackupNotReadable,
                    exception.ImageError) as error:
                LOG.warning("%s: %s", self._about(image_id, versions[-1]),
                            error.msg)
                continue
            if facts.image == name:
                found.append((facts.time, image_id))
        if not found:
            raise exception.ImageNotFound(
                what=f"a backup of {image.name} in {self._store.name}")
        _time, image_id = max(found)
        LOG.warning("%s: the backup is of an image of that name with the id "
                    "%s; this one has the id %s", image.name, image_id,
                    base.image_id(image))
        return image_id

    def _open(self, image_id: str, version: int, key: sealed_backup.Key
              ) -> Found:
        """Unseal a record, and make sure that it is what its name says."""
        record = self._store.read(self._pool, _name(image_id, version),
                                  sealed_backup.MAX_BYTES)
        found = Found(sealed_backup.read(record).facts,
                      sealed_backup.unseal_used(record, key))
        facts = found.facts
        if (facts.pool, facts.image_id, facts.version) != (
                self._pool, image_id, version):
            raise exception.BackupNotReadable(
                reason=f"it is backup {facts.version} of {facts.pool}/"
                       f"{facts.image} with the id {facts.image_id}, and was "
                       "put in the place of this one")
        return found

    def _forget(self, image_id: str, keep: int) -> None:
        """Remove all but the newest versions."""
        versions = self._versions[image_id]
        for version in versions[:-keep]:
            self._store.remove(self._pool, _name(image_id, version))
        self._versions[image_id] = versions[-keep:]

    def _own_name(self, image: base.Image) -> str:
        """An image's name without its pool's."""
        return image.name[len(self._pool) + 1:]

    def _about(self, image_id: str, version: int) -> str:
        return f"backup {version} of {self._pool}, id {image_id}"


def _start(store: record_store.Records, pool: str, name: str
           ) -> sealed_backup.Sealed:
    return sealed_backup.read(
        store.read(pool, name, sealed_backup.MAX_START))


def _name(image_id: str, version: int) -> str:
    """The name of a record; those of one image are sorted by version."""
    return f"{image_id}.{version:08}"


def _read(image: base.Image) -> Optional[Tuple[header_io.Header, bytes]]:
    """A header and its backup, though others may change it meanwhile.

    :returns: the backup without the zeros at its end; None of a plain image
    """
    for _try in range(_TRIES - 1):
        with contextlib.suppress(exception.HeaderChanged):
            return _read_once(image)
    return _read_once(image)


def _read_once(image: base.Image
               ) -> Optional[Tuple[header_io.Header, bytes]]:
    try:
        header, areas = header_backup.read(image)
        return header, sealed_backup.without_zeros(whole.used(header, areas))
    except exception.OnlySecondCopy:
        raise
    except exception.NotLuks:
        # Of a header that was cut off, the magic is left.
        if header_io.is_encrypted(image):
            raise
        return None


def _damage(header: header_io.Header) -> Optional[str]:
    """What is wrong with the keyslots, None if nothing is."""
    if all(slot.damage for slot in header.keyslots):
        return "it has no keyslot, so no passphrase opens it"
    return next((f"keyslot {slot.number} is damaged: {slot.damage}"
                 for slot in header.keyslots if slot.damage), None)


def _is_damaged(backup: bytes) -> bool:
    """Whether a header's backup has a damaged keyslot as well."""
    try:
        header = header_io.parse(backup, len(backup), backup=True)
    except exception.HeaderError:
        return True
    return _damage(header) is not None


def _ailment(header: header_io.Header) -> Optional[str]:
    """Which copy of a LUKS2 header is damaged, of which a backup has none.

    It is made of the good copy.
    """
    if (isinstance(header, luks2.Luks2Header) and header.ailment is not None
            and header.ailment.damage):
        return (f"the {header.ailment.which} copy of its header is damaged: "
                f"{header.ailment.damage}; 'rbd-luks header repair' puts it "
                "right")
    return None
