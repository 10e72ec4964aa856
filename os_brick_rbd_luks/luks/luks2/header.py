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

"""A LUKS2 header as a value: build it, open a keyslot, change it.

Asked for a change, a header returns a new header and the plan that turns
the one on the image into it: key material, then both copies.

Source: LUKS2 On-Disk Format Specification 1.1.4, "LUKS2 Operations".
"""

from __future__ import annotations

import dataclasses
import os
from typing import Callable, Iterable, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import jsontext
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import pair
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.luks.luks2 import slots
from os_brick_rbd_luks.luks import payload
from os_brick_rbd_luks.luks import plans

Random = Callable[[int], bytes]

#: What the areas of new keyslots are encrypted with, whatever the payload
#: is: cryptsetup's and librbd's default.
_AREA_CIPHER = ("aes-xts-plain64", 64)

#: Bytes that one write of :meth:`Luks2Header.shred` overwrites.
_SHRED_BYTES = 4 * 1024 * 1024


class Change(NamedTuple):
    """What a change of a header gives."""

    header: Luks2Header
    plan: plans.Plan
    #: the keyslot that was filled, -1 if none was
    keyslot: int = -1


@dataclasses.dataclass(frozen=True)
class Luks2Header(pair.Pair):
    """A valid LUKS2 header."""

    @classmethod
    def parse(cls, data: bytes) -> Luks2Header:
        """Read the header that *data* begins with.

        :param data: as many bytes as ``detect.wanted`` says; with a damaged
            primary copy, twice the offset of the secondary one
        :raises HeaderError: see
            :func:`~os_brick_rbd_luks.luks.luks2.header_copies.believe`
        """
        found = header_copies.believe(data)
        return cls(found.primary, found.secondary_salt, found.metadata,
                   found.ailment, data[:2 * found.primary.hdr_size])

    @classmethod
    def build(cls, volume_key: bytes, *, cipher_spec: str, hash_name: str,
              data_offset: int, uuid: str, sector_size: int = 4096,
              hdr_size: int = luks2_layout.HDR_SIZE, clone: bool = False,
              digest_iterations: int = kdfs.MIN_ITERATIONS,
              random: Random = os.urandom) -> Luks2Header:
        """A header without keyslots.

        :param data_offset: bytes, more than twice *hdr_size*
        :param sector_size: bytes of the payload's sectors
        :param hdr_size: bytes of each copy
        :param clone: mark it as librbd does the own header of a clone
        :raises UnsupportedHeader: cipher, key length, hash or sector size
        :raises InvalidParameter: *uuid* is no text for its field
        """
        luks2_check.check_uuid(uuid)
        luks2_check.check_format(cipher_spec, len(volume_key), hash_name,
                                 sector_size)
        salt = random(digests.SALT_SIZE)
        digest = digests.make(hash_name, volume_key, salt, digest_iterations,
                              digests.full_size(hash_name))
        tree = records.new(
            records.Segment("crypt", data_offset, None, (), cipher_spec,
                            sector_size=sector_size),
            records.Digest("pbkdf2", (), (0,), hash_name, digest_iterations,
                           salt, digest),
            luks2_layout.json_size(hdr_size),
            luks2_layout.keyslots_size(hdr_size, data_offset))
        blank = ondisk.new(hdr_size, uuid, random(ondisk.SALT_SIZE),
                           clone=clone)
        luks2_check.check_binary(blank, ondisk.PRIMARY, 0)
        return _assemble(blank, random(ondisk.SALT_SIZE), tree)

    @property
    def type(self) -> str:
        """The name of the format."""
        return detect.Format.LUKS2.value

    @property
    def clone(self) -> bool:
        """Whether it is marked as the own header of a clone."""
        return self.primary.clone

    @property
    def uuid(self) -> str:
        """The volume's UUID, as text."""
        return luks2_check.text(self.primary, "uuid")

    @property
    def seqid(self) -> int:
        """The number of the header's version."""
        return self.primary.seqid

    @property
    def segment(self) -> records.Segment:
        """The payload, or its first part."""
        return self.metadata.segments[0]

    @property
    def cipher_spec(self) -> str:
        """Of the payload, as dm-crypt writes it: ``aes-xts-plain64``."""
        return self.segment.encryption or self.segment.type

    @property
    def hash_name(self) -> str:
        """The hash of the volume key's digest, in lower case."""
        return self._digest()[1].hash_name or "unknown"

    @property
    def keyslot_hash(self) -> str:
        """The hash of new keyslots."""
        name = self.hash_name
        return name if name in kdfs.WRITABLE_HASHES else "sha256"

    @property
    def key_bits(self) -> Optional[int]:
        """Bits of the volume key; None without a keyslot, which has it."""
        for number in self._digest()[1].keyslots:
            return self.metadata.keyslots[number].key_size * 8
        return None

    @property
    def data_offset(self) -> int:
        """Bytes from the start of the image to the payload."""
        return self.segment.offset

    @property
    def keyslots(self) -> Tuple[keyslot_views.Keyslot, ...]:
        """The keyslots, those of no use for the payload included."""
        return tuple(slots.view(self.metadata, number)
                     for number in self.metadata.keyslots)

    @property
    def digest_iterations(self) -> int:
        """PBKDF2 iterations that end every try of a keyslot."""
        return self._digest()[1].iterations

    @property
    def sector_size(self) -> int:
        """Bytes of the payload's sectors."""
        return self.segment.sector_size

    @property
    def keyslots_end(self) -> int:
        """The first byte behind all keyslot areas, used or not."""
        return 2 * self.primary.hdr_size + self.metadata.keyslots_size

    def keyslot(self, number: int) -> keyslot_views.Keyslot:
        """The keyslot of that number.

        :raises KeyslotNotFound: it is not in use, or there is none such
        """
        if number not in self.metadata.keyslots:
            raise exception.KeyslotNotFound(keyslot=number)
        return slots.view(self.metadata, number)

    def same_volume(self, other: object) -> bool:
        """Whether both open the same payload with the same volume key.

        Flattening takes the mark of a clone away: it is no difference.
        """
        return (isinstance(other, Luks2Header)
                and self._identity() == other._identity())

    def _identity(self) -> Tuple[object, ...]:
        return (self.uuid, self.primary.hdr_size,
                self.metadata.keyslots_size, self.metadata.tree["segments"],
                dataclasses.replace(self._digest()[1], keyslots=()))

    def open_keyslot(self, number: int, area: bytes,
                     passphrase: bytes) -> bytes:
        """The volume key, out of the *area* of a keyslot.

        :param area: the keyslot's ``length`` bytes at its ``offset``
        :raises WrongPassphrase: it does not open this keyslot
        :raises UnsupportedHeader: the keyslot is none for the payload or
            has a cipher, hash or KDF that we do not know
        """
        luks2_check.requirements(self.metadata)
        self.keyslot(number)
        key = slots.parameters(self.metadata, number).open(area, passphrase)
        if not self.verify_volume_key(key):
            raise exception.WrongPassphrase()
        return key

    def verify_volume_key(self, key: bytes) -> bool:
        """Whether *key* is this volume's."""
        digest = self._digest()[1]
        if digest.hash_name is None:
            raise exception.UnsupportedHeader(
                what=f"digest {digest.type}", supported="pbkdf2")
        return digests.verify(digest.hash_name, key, digest.salt,
                              digest.iterations, digest.digest)

    def add(self, volume_key: bytes, passphrase: bytes, *,
            iterations: int = kdfs.MIN_ITERATIONS,
            argon2: Optional[kdfs.Argon2Cost] = None,
            keyslot: Optional[int] = None,
            random: Random = os.urandom) -> Change:
        """Let *passphrase* open the volume too: key material, then header.

        :param iterations: of PBKDF2
        :param argon2: use Argon2id at that cost instead
        :param keyslot: a free one; the first free one when None
        :raises WrongVolumeKey: *volume_key* is not this volume's
        :raises KeyslotInUse: *keyslot* is
        :raises NoFreeKeyslot: there is none, or no room for its key
        :raises DamagedHeaderCopy: one copy is damaged
        :raises InvalidParameter: cost, keyslot or passphrase length
        """
        return self._add(volume_key, passphrase, iterations, argon2,
                         slots.free_number(self.metadata, keyslot), 1,
                         (), random)

    def _add(self, volume_key: bytes, passphrase: bytes, iterations: int,
             argon2: Optional[kdfs.Argon2Cost], number: int, priority: int,
             tokens: Iterable[int], random: Random) -> Change:
        kdfs.check_new(passphrase, iterations, argon2)
        luks2_check.requirements(self.metadata)
        # Refused now rather than after seconds of key derivation.
        self.plan(())
        if not self.verify_volume_key(volume_key):
            raise exception.WrongVolumeKey()
        salt = random(digests.SALT_SIZE)
        derivation: kdfs.KDF = (
            kdfs.Pbkdf2(self.keyslot_hash, iterations, salt) if argon2 is None
            else kdfs.Argon2("argon2id", argon2, salt))
        slot = records.Keyslot(
            "luks2", len(volume_key), records.Area(
                *slots.gap(
                    self.metadata, luks2_layout.area_size(len(volume_key)),
                    2 * self.primary.hdr_size, self.keyslots_end),
                *_AREA_CIPHER), priority, luks2_layout.STRIPES,
            self.keyslot_hash, derivation, derivation.name)
        header = self.with_tree(records.with_keyslot(
            self.metadata.tree, number, records.keyslot_tree(slot),
            self._digest()[0], tokens))
        area = slots.parameters(header.metadata, number).seal(
            volume_key, passphrase, random)
        return Change(header, self.plan((
            (plans.Write(slot.area.offset, area),), *header.stages())), number)

    def erase(self, numbers: Iterable[int], *,
              random: Random = os.urandom) -> Change:
        """Destroy keyslots: overwrite their areas, then the header.

        :raises KeyslotNotFound: one of them is not in use
        :raises DamagedHeaderCopy: one copy is damaged
        """
        luks2_check.requirements(self.metadata)
        numbers = [self.keyslot(number).number for number in numbers]
        areas = [self.metadata.keyslots[number].area for number in numbers]
        header = self.with_tree(records.without_keyslots(self.metadata.tree,
                                                      numbers))
        return Change(header, self.plan((
            tuple(plans.Write(area.offset, random(area.size))
                  for area in areas), *header.stages())))

    def shred(self, *, random: Random = os.urandom) -> Change:
        """Destroy all keyslots and whatever else the keyslots area holds.

        No good copy has to be there to fall back on.
        """
        luks2_check.requirements(self.metadata)
        start, end = 2 * self.primary.hdr_size, self.keyslots_end
        header = self.with_tree(records.without_keyslots(
            self.metadata.tree, list(self.metadata.keyslots)))
        return Change(header, plans.Plan(self._expected(), (
            tuple(plans.Write(at, random(min(_SHRED_BYTES, end - at)))
                  for at in range(start, end, _SHRED_BYTES)),
            *header.stages())))

    def replace(self, number: int, volume_key: bytes, passphrase: bytes, *,
                iterations: int = kdfs.MIN_ITERATIONS,
                argon2: Optional[kdfs.Argon2Cost] = None,
                random: Random = os.urandom) -> Change:
        """Put *passphrase* in the place of keyslot *number*'s.

        The new keyslot is complete before the old one is touched. It has
        the old one's priority and tokens, as with cryptsetup.

        :raises NoFreeKeyslot: there is none for the new passphrase
        """
        tokens = [token for token, used in self.metadata.tokens.items()
                  if number in used]
        added = self._add(volume_key, passphrase, iterations, argon2,
                          slots.free_number(self.metadata, None),
                          self.keyslot(number).priority, tokens, random)
        erased = added.header.erase([number], random=random)
        return Change(erased.header, added.plan.then(erased.plan),
                      added.keyslot)

    def repair(self, *, random: Random = os.urandom) -> Change:
        """Rewrite the damaged or stale copy from the good one.

        :raises OperationRefused: both copies are good
        """
        if self.ailment is None:
            raise exception.OperationRefused(
                reason="both copies of the header are sound: there is "
                       "nothing to repair")
        salt, header = random(ondisk.SALT_SIZE), self
        if self.ailment.which == ondisk.SECONDARY:
            header = dataclasses.replace(self, secondary_salt=salt)
        else:
            header = dataclasses.replace(self, primary=dataclasses.replace(
                self.primary, salt=salt).seal(self.metadata.area()))
        header = dataclasses.replace(header, ailment=None, found=None)
        return Change(header, plans.Plan(self._expected(), (
            header._stage(self.ailment.which),)))

    def relocate(self, data_offset: int) -> Luks2Header:
        """The header of the same volume on an image with its payload there.

        As the next version, in two sound copies whatever ailed one.

        :param data_offset: bytes, whole sectors of the payload behind the
            keyslots area, whose size stays
        :raises InvalidParameter: it is not
        :raises UnsupportedHeader: the own header of a clone, or a payload
            that cannot be moved as it is
        """
        luks2_check.movable(self.metadata)
        payload.check_offset(self, data_offset,
                             2 ** 64 - (self.segment.size or 0))
        try:
            return self.with_tree(records.with_data_offset(
                self.metadata.tree, data_offset))
        except exception.NoFreeKeyslot as error:
            raise exception.UnsupportedHeader(
                what="metadata that leave no room for a longer data offset",
                supported="some; remove a keyslot or a token") from error

    def with_tree(self, tree: jsontext.Tree) -> Luks2Header:
        """The header with other metadata, as the next version."""
        return _assemble(
            dataclasses.replace(self.primary, seqid=self.seqid + 1),
            self.secondary_salt, tree)

    def over(self, other: Luks2Header) -> Luks2Header:
        """The header as a version newer than it is and than *other*.

        With the mark of a clone if *other* has it: it is the image's.
        """
        return _assemble(
            dataclasses.replace(self.primary, magic=other.primary.magic,
                                seqid=max(other.seqid, self.seqid) + 1),
            self.secondary_salt, self.metadata.tree)

    def unmarked(self) -> Luks2Header:
        """The next version of the header, without the mark of a clone."""
        return _assemble(
            dataclasses.replace(
                self.primary, seqid=self.seqid + 1,
                magic=ondisk.MAGICS[ondisk.PRIMARY, False]),
            self.secondary_salt, self.metadata.tree)

    def _digest(self) -> Tuple[int, records.Digest]:
        return slots.payload_digest(self.metadata)


def _assemble(binary: ondisk.Binary, secondary_salt: bytes,
              tree: jsontext.Tree) -> Luks2Header:
    """A header with that metadata, checked like one of somebody else's."""
    size = luks2_layout.json_size(binary.hdr_size)
    text = jsontext.encode(tree)
    if len(text) >= size:
        raise exception.NoRoomForKeyslot(what="metadata area", size=size)
    found = records.parse(text.ljust(size, b"\0"), ondisk.SIZE)
    luks2_check.check(binary, found)
    return Luks2Header(binary.seal(found.area()), secondary_salt, found)
