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

"""Whether a header opens the volume of another one: by the same volume key.

A header has a digest of its volume key, by a salt of its own. One with the
same digest has the same volume key, whoever copied or re-keyed it; a UUID can
be changed, and kept where the volume key is another one. Who has made a new
digest of the same volume key is found out by that key only, if it is given.

A header without a keyslot opens nothing, whatever its digest is.

Source: LUKS1 On-Disk Format Specification, ``mk-digest``; LUKS2 On-Disk
Format Specification, "Digests Object".
"""

from __future__ import annotations

import base64
from typing import AbstractSet, Dict, Iterator, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk


class Digest(NamedTuple):
    """Of a volume key; those of both formats compare."""

    hash_name: Optional[str]
    iterations: int
    salt: bytes
    value: bytes


class Finding(NamedTuple):
    """A header that opens the volume that is sought, or may."""

    #: False where that is not known
    certain: bool
    #: whether a keyslot is none of those that the volume has itself
    former: bool = False
    #: why it is not known, or what else there is to be said
    note: str = ""


class Sought:
    """What the volume key of a volume is known by."""

    def __init__(self, uuid: bytes, known: AbstractSet[Digest] = frozenset(),
                 derivations: AbstractSet[kdfs.KDF] = frozenset(),
                 volume_key: Optional[bytes] = None) -> None:
        """Seek a volume key.

        :param uuid: of the volume, as both formats write it
        :param known: digests of the volume key
        :param derivations: of the volume's own keyslots, salts included
        :param volume_key: tells it for certain
        """
        self._uuid = uuid.strip(b"\0")
        self._digests = known
        self._derivations = derivations
        self._volume_key = volume_key
        self._tried: Dict[Digest, bool] = {}

    @property
    def recognisable(self) -> bool:
        """Whether there is anything that a copy would be known by."""
        return bool(self._digests or self._uuid)

    def find(self, image: base.Image) -> Optional[Finding]:
        """Read the header of *image*; None if it does not open the volume.

        :raises ImageError: it cannot be read
        """
        start = header_io.read_start(image, second_copy=True)
        try:
            header = header_io.parse(start, image.size(), second_copy=True,
                                     backup=True)
        except exception.NotLuks:
            return None
        except exception.HeaderError as error:
            return self._find_damaged(start, error)
        own = {digest for digest, in_use in _digests(header) if in_use}
        if own & self._digests:
            return Finding(True, self._is_former(header))
        if not own:
            return None
        try:
            if any(self._fits(digest) for digest in own):
                return Finding(True, self._is_former(header),
                               "by another digest")
        except exception.HeaderError as error:
            return Finding(False, note=error.msg)
        if self._volume_key is None and (
                self._uuid and header.uuid.encode() == self._uuid):
            return Finding(False, note="it has the same UUID and another "
                           "digest; a passphrase tells")
        return None

    def _find_damaged(self, start: bytes, error: exception.HeaderError
                      ) -> Optional[Finding]:
        """Look for what is known of the volume in bytes that are no header.

        Somebody who can mend it would open the volume with it.
        """
        note = f"its header cannot be used: {error.msg}"
        if any(digest.value in start
               or base64.b64encode(digest.value) in start
               for digest in self._digests):
            return Finding(True, note=note)
        if self._uuid and start[ondisk.UUID].strip(b"\0") == self._uuid:
            return Finding(False, note=note)
        return None

    def _is_former(self, header: header_io.Header) -> bool:
        return any(slot.kdf not in self._derivations
                   for slot in header.keyslots if slot.kdf and slot.bound)

    def _fits(self, digest: Digest) -> bool:
        """Whether a digest is of the volume key, if that is known.

        :raises HeaderLimitExceeded: it takes too long
        """
        if self._volume_key is None or digest.hash_name is None:
            return False
        if digest not in self._tried:
            self._tried[digest] = digests.verify(
                digest.hash_name, self._volume_key, digest.salt,
                digest.iterations, digest.value)
        return self._tried[digest]


@header_io.names_image
def sought(image: base.Image, volume_key: Optional[bytes] = None) -> Sought:
    """What the volume key of *image* is known by, now and when it is erased.

    :param volume_key: of the volume, if it was unlocked
    :raises NotLuks: there is no header
    :raises ImageError: it cannot be read
    """
    start = header_io.read_start(image, second_copy=True)
    try:
        header = header_io.parse(start, image.size(), second_copy=True,
                                 backup=True)
    except exception.NotLuks:
        raise
    except exception.HeaderError:
        return Sought(start[ondisk.UUID], volume_key=volume_key)
    found = [digest for digest, _in_use in _digests(header)]
    return Sought(header.uuid.encode(), frozenset(found),
                  frozenset(slot.kdf for slot in header.keyslots if slot.kdf),
                  volume_key)


def _digests(header: header_io.Header) -> Iterator[Tuple[Digest, bool]]:
    """The digests of a header, and whether a keyslot has that key.

    During a re-encryption by cryptsetup there are those of two volume keys.
    """
    if isinstance(header, luks1.Luks1Header):
        phdr = header.phdr
        yield Digest(header.hash_name, phdr.mk_digest_iter,
                     phdr.mk_digest_salt, phdr.mk_digest
                     ), bool(header.keyslots)
        return
    for digest in header.metadata.digests.values():
        if digest.segments and digest.digest:
            yield Digest(digest.hash_name, digest.iterations, digest.salt,
                         digest.digest), bool(digest.keyslots)
