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

"""A LUKS1 header as a value: build it, open a keyslot, change it.

Asked for a change, a header returns a new header and the plan that turns
the one on the image into it.

Source: LUKS1 On-Disk Format Specification 1.2.3, "Operations".
"""

from __future__ import annotations

import dataclasses
import os
from typing import Callable, Iterable, NamedTuple, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks.luks1 import check as luks1_check
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks import payload
from os_brick_rbd_luks.luks import plans

Random = Callable[[int], bytes]


class Change(NamedTuple):
    """What a change of a header gives."""

    header: Luks1Header
    plan: plans.Plan
    #: the keyslot that was filled, -1 if none was
    keyslot: int = -1


@dataclasses.dataclass(frozen=True)
class Luks1Header:
    """A valid LUKS1 header."""

    phdr: ondisk.Phdr

    @classmethod
    def parse(cls, data: bytes) -> Luks1Header:
        """Read the header that *data*, ``ondisk.SIZE`` bytes, begins with.

        :raises HeaderError: see
            :func:`~os_brick_rbd_luks.luks.luks1.check.check`
        """
        if len(data) < ondisk.SIZE:
            raise exception.NotLuks()
        phdr = ondisk.unpack(data)
        luks1_check.check(phdr)
        return cls(phdr)

    @classmethod
    def build(cls, volume_key: bytes, *, cipher_spec: str, hash_name: str,
              data_offset: int, uuid: str, clone: bool = False,
              digest_iterations: int = kdfs.MIN_ITERATIONS,
              random: Random = os.urandom) -> Luks1Header:
        """A header without keyslots.

        :param data_offset: bytes, at least the end of the keyslot areas
        :param clone: mark it as librbd does the own header of a clone
        :raises UnsupportedHeader: cipher, key length or hash
        :raises InvalidParameter: *uuid* is no text for its field, or
            *data_offset* is 2 TiB or more
        """
        luks1_check.check_uuid(uuid)
        luks1_layout.check_data_offset(data_offset)
        check_format(cipher_spec, len(volume_key), hash_name)
        name, mode = cipher_spec.split("-", 1)
        salt = random(digests.SALT_SIZE)
        phdr = ondisk.Phdr(
            magic=detect.CLONE_MAGIC if clone else detect.MAGIC, version=1,
            cipher_name=name.encode().ljust(32, b"\0"),
            cipher_mode=mode.encode().ljust(32, b"\0"),
            hash_spec=hash_name.encode().ljust(32, b"\0"),
            payload_offset=data_offset // cipher.SECTOR,
            key_bytes=len(volume_key),
            mk_digest=digests.make(hash_name, volume_key, salt,
                                   digest_iterations),
            mk_digest_salt=salt, mk_digest_iter=digest_iterations,
            uuid=uuid.encode().ljust(40, b"\0"),
            key_blocks=tuple(
                _free_block(offset // cipher.SECTOR)
                for offset in luks1_layout.keyslot_offsets(len(volume_key))))
        luks1_check.check(phdr)
        return cls(phdr)

    @property
    def type(self) -> str:
        """The name of the format."""
        return detect.Format.LUKS1.value

    @property
    def clone(self) -> bool:
        """Whether it is marked as the own header of a clone."""
        return self.phdr.magic == detect.CLONE_MAGIC

    @property
    def uuid(self) -> str:
        """The volume's UUID, as text."""
        return luks1_check.uuid(self.phdr)

    @property
    def cipher_spec(self) -> str:
        """As dm-crypt writes it: ``aes-xts-plain64``."""
        return "-".join(luks1_check.text(self.phdr, field)
                        for field in ("cipher_name", "cipher_mode"))

    @property
    def hash_name(self) -> str:
        """The hash of keyslots and digest, in lower case."""
        return self.hash_spec.lower()

    @property
    def hash_spec(self) -> str:
        """The name of that hash as it is written."""
        return luks1_check.text(self.phdr, "hash_spec")

    @property
    def keyslot_hash(self) -> str:
        """The hash of new keyslots."""
        return self.hash_name

    @property
    def key_bits(self) -> int:
        """Bits of the volume key; XTS has two keys in it."""
        return self.phdr.key_bytes * 8

    @property
    def data_offset(self) -> int:
        """Bytes from the start of the image to the payload."""
        return self.phdr.payload_offset * cipher.SECTOR

    @property
    def keyslots(self) -> Tuple[keyslot_views.Keyslot, ...]:
        """The keyslots in use, damaged ones included, by number."""
        return tuple(
            keyslot_views.Keyslot(
                number, self._kdf(block), *self._area(number),
                luks1_check.damage(block),
                luks1_check.foreign(self.phdr, block))
            for number, block in enumerate(self.phdr.key_blocks)
            if block.active != ondisk.KEY_DISABLED)

    @property
    def digest_iterations(self) -> int:
        """PBKDF2 iterations that end every try of a keyslot."""
        return self.phdr.mk_digest_iter

    @property
    def sector_size(self) -> int:
        """Bytes of the payload's sectors."""
        return cipher.SECTOR

    @property
    def keyslots_start(self) -> int:
        """The first byte of all keyslot areas, used or not."""
        return min(self._area(number)[0]
                   for number in range(ondisk.KEYSLOTS))

    @property
    def keyslots_end(self) -> int:
        """The first byte behind all keyslot areas, used or not."""
        return max(sum(self._area(number))
                   for number in range(ondisk.KEYSLOTS))

    def pack(self) -> bytes:
        """The ``ondisk.SIZE`` bytes of the header."""
        return self.phdr.pack()

    def _area(self, number: int) -> Tuple[int, int]:
        block = self.phdr.key_blocks[number]
        return (block.key_material_offset * cipher.SECTOR,
                keymaterial.area_bytes(self.phdr.key_bytes, block.stripes))

    def keyslot(self, number: int) -> keyslot_views.Keyslot:
        """The keyslot of that number.

        :raises KeyslotNotFound: it is not in use, or there is none such
        """
        for slot in self.keyslots:
            if slot.number == number:
                return slot
        raise exception.KeyslotNotFound(keyslot=number)

    def same_volume(self, other: object) -> bool:
        """Whether both open the same payload with the same volume key.

        Flattening takes the mark of a clone away: it is no difference.
        """
        return isinstance(other, Luks1Header) and all(
            getattr(self.phdr, field) == getattr(other.phdr, field)
            for field in ("cipher_name", "cipher_mode", "hash_spec",
                          "payload_offset", "key_bytes", "mk_digest",
                          "mk_digest_salt", "mk_digest_iter", "uuid"))

    def open_keyslot(self, number: int, area: bytes,
                     passphrase: bytes) -> bytes:
        """The volume key, out of the *area* of a keyslot in use.

        :param area: the keyslot's ``length`` bytes at its ``offset``
        :raises WrongPassphrase: it does not open this keyslot
        :raises CorruptHeader: the keyslot is damaged
        :raises HeaderLimitExceeded: it costs too much
        """
        slot = self.keyslot(number)
        if slot.damage:
            raise exception.CorruptHeader(
                field=f"key_block[{number}]", reason=f"is unusable: "
                f"{slot.damage}",
                offset=ondisk.key_block_offset(number, "active"))
        block = self.phdr.key_blocks[number]
        luks1_check.check_cost(self.phdr, block)
        key = self._parameters(block).open(area, passphrase)
        if not self.verify_volume_key(key):
            raise exception.WrongPassphrase()
        return key

    def verify_volume_key(self, key: bytes) -> bool:
        """Whether *key* is this volume's."""
        return digests.verify(self.hash_name, key, self.phdr.mk_digest_salt,
                              self.phdr.mk_digest_iter, self.phdr.mk_digest)

    def add(self, volume_key: bytes, passphrase: bytes, *,
            iterations: int = kdfs.MIN_ITERATIONS,
            argon2: Optional[kdfs.Argon2Cost] = None,
            keyslot: Optional[int] = None,
            random: Random = os.urandom) -> Change:
        """Let *passphrase* open the volume too: key material, then header.

        :param argon2: None; LUKS1 has no Argon2
        :param keyslot: a free one; the first free one when None
        :raises WrongVolumeKey: *volume_key* is not this volume's
        :raises KeyslotInUse: *keyslot* is
        :raises NoFreeKeyslot: there is none
        :raises InvalidParameter: iterations, keyslot or passphrase length
        """
        check_new(passphrase, iterations, argon2)
        if not self.verify_volume_key(volume_key):
            raise exception.WrongVolumeKey()
        number = self._free_keyslot(keyslot)
        block = dataclasses.replace(
            self.phdr.key_blocks[number], active=ondisk.KEY_ENABLED,
            iterations=iterations, salt=random(digests.SALT_SIZE))
        area = self._parameters(block).seal(volume_key, passphrase, random)
        header = self.with_blocks({number: block})
        return Change(header, self.plan((
            (plans.Write(self._area(number)[0], area),),
            (plans.Write(0, header.pack()),))), number)

    def erase(self, numbers: Iterable[int], *,
              random: Random = os.urandom) -> Change:
        """Destroy keyslots: overwrite their areas, then the header.

        :raises KeyslotNotFound: one of them is not in use
        """
        slots = [self.keyslot(number) for number in numbers]
        header = self.with_blocks({
            slot.number: _free_block(slot.offset // cipher.SECTOR)
            for slot in slots})
        return Change(header, self.plan((
            tuple(plans.Write(slot.offset, random(slot.length))
                  for slot in slots),
            (plans.Write(0, header.pack()),))))

    def shred(self, *, random: Random = os.urandom) -> Change:
        """Destroy all keyslots and what lies in unused ones' areas.

        An unused keyslot may hold the key material of a passphrase that was
        removed without overwriting it.
        """
        areas = [self._area(number) for number in range(ondisk.KEYSLOTS)]
        header = self.with_blocks({
            number: _free_block(offset // cipher.SECTOR)
            for number, (offset, _length) in enumerate(areas)})
        return Change(header, self.plan((
            tuple(plans.Write(offset, random(length))
                  for offset, length in areas),
            (plans.Write(0, header.pack()),))))

    def replace(self, number: int, volume_key: bytes, passphrase: bytes, *,
                iterations: int = kdfs.MIN_ITERATIONS,
                argon2: Optional[kdfs.Argon2Cost] = None,
                random: Random = os.urandom) -> Change:
        """Put *passphrase* in the place of keyslot *number*'s.

        The new keyslot is complete before the old one is touched.

        :raises NoFreeKeyslot: there is none for the new passphrase
        """
        self.keyslot(number)
        added = self.add(volume_key, passphrase, iterations=iterations,
                         argon2=argon2, random=random)
        erased = added.header.erase([number], random=random)
        return Change(erased.header, added.plan.then(erased.plan),
                      added.keyslot)

    def plan(self, stages: Tuple[plans.Stage, ...]) -> plans.Plan:
        """A plan that holds only while this header is on the image."""
        return plans.Plan((plans.Write(0, self.pack()),), stages)

    def relocate(self, data_offset: int) -> Luks1Header:
        """The header of the same volume on an image with its payload there.

        :param data_offset: bytes, a multiple of 512 behind the keyslot areas
        :raises InvalidParameter: it is not
        :raises UnsupportedHeader: the own header of a clone
        """
        payload.check_offset(self, data_offset, luks1_layout.MAX_DATA_OFFSET)
        return Luks1Header(dataclasses.replace(
            self.phdr, payload_offset=data_offset // cipher.SECTOR))

    def over(self, other: Luks1Header) -> Luks1Header:
        """The header with the mark of a clone if *other* has it."""
        return Luks1Header(dataclasses.replace(self.phdr,
                                               magic=other.phdr.magic))

    def unmarked(self) -> Luks1Header:
        """The header without the mark of a clone."""
        return Luks1Header(dataclasses.replace(self.phdr,
                                               magic=detect.MAGIC))

    def with_blocks(self, blocks: dict[int, ondisk.KeyBlock]) -> Luks1Header:
        """The header with the records of some keyslots replaced."""
        return Luks1Header(dataclasses.replace(self.phdr, key_blocks=tuple(
            blocks.get(number, block)
            for number, block in enumerate(self.phdr.key_blocks))))

    def _parameters(self, block: ondisk.KeyBlock) -> keymaterial.Parameters:
        return keymaterial.Parameters(
            self.cipher_spec, self.phdr.key_bytes, self.hash_name,
            self.phdr.key_bytes, block.stripes, self._kdf(block))

    def _kdf(self, block: ondisk.KeyBlock) -> kdfs.Pbkdf2:
        return kdfs.Pbkdf2(self.hash_name, block.iterations, block.salt)

    def _free_keyslot(self, wanted: Optional[int]) -> int:
        used = [slot.number for slot in self.keyslots]
        if wanted is None:
            free = [number for number in range(ondisk.KEYSLOTS)
                    if number not in used]
            if not free:
                raise exception.NoFreeKeyslot(count=ondisk.KEYSLOTS)
            return free[0]
        if wanted not in range(ondisk.KEYSLOTS):
            raise exception.InvalidParameter(
                name="keyslot", value=wanted,
                reason=f"is not between 0 and {ondisk.KEYSLOTS - 1}")
        if wanted in used:
            raise exception.KeyslotInUse(keyslot=wanted)
        return wanted


def _free_block(key_material_offset: int) -> ondisk.KeyBlock:
    return ondisk.KeyBlock(ondisk.KEY_DISABLED, 0, bytes(digests.SALT_SIZE),
                           key_material_offset, ondisk.STRIPES)


def check_format(cipher_spec: str, key_bytes: int, hash_name: str) -> None:
    """Refuse what :meth:`Luks1Header.build` would not write.

    :raises UnsupportedHeader: with what is supported
    """
    cipher.check(cipher_spec, key_bytes)
    kdfs.check_hash(hash_name, writing=True)


def check_new(passphrase: bytes, iterations: int,
              argon2: Optional[kdfs.Argon2Cost] = None) -> None:
    """Refuse what :meth:`Luks1Header.add` would not make a keyslot of.

    :raises InvalidParameter: passphrase length or iterations, or Argon2
    """
    if argon2 is not None:
        raise exception.InvalidParameter(
            name="KDF", value="argon2id",
            reason="is not there in LUKS1, which has PBKDF2 only")
    kdfs.check_new(passphrase, iterations)
