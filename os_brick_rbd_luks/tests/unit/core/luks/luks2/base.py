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

"""Headers to try things on, made once: key derivation costs."""

from __future__ import annotations

import copy
import dataclasses
import functools
import json
import random
from typing import NamedTuple

from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.tests import units

UUID = "c0ffee00-1111-4222-8333-444455556666"

#: The quickest volume there is: a short key has a short area.
QUICK = ("aes-cbc-plain64", 16)

#: Room for 15 keyslots of such a volume.
DATA_OFFSET = units.MIB

#: Both copies of a header as they are by default.
BOTH = 32768

OLD = b"old passphrase"
NEW = b"new passphrase"
OTHER = b"other passphrase"


class Volume(NamedTuple):
    """A header, the areas of its keyslots and what they protect."""

    header: luks2.Luks2Header
    areas: dict
    key: bytes

    def opens(self, passphrase, number):
        return self.header.open_keyslot(number, self.areas[number],
                                        passphrase)


def bare(spec="aes-cbc-plain64", size=16, hash_name="sha256",
         data_offset=DATA_OFFSET, seed=1, **options):
    """A volume without keyslots."""
    source = random.Random(seed)
    key = source.randbytes(size)
    built = luks2.Luks2Header.build(
        key, cipher_spec=spec, hash_name=hash_name, data_offset=data_offset,
        uuid=UUID, random=source.randbytes, **options)
    return Volume(built, {}, key)


def add(volume, passphrase, keyslot=None, seed=2, **options):
    """*volume* with one keyslot more."""
    source = random.Random(f"{seed} {passphrase!r} {keyslot}")
    change = volume.header.add(volume.key, passphrase, keyslot=keyslot,
                               random=source.randbytes, **options)
    return Volume(change.header, {
        **volume.areas, change.keyslot: area_of(change)}, volume.key)


def area_of(change):
    """The key material that a change adds."""
    return next(write.data for stage in change.plan.stages
                for write in stage if write.offset >= BOTH)


@functools.cache
def sample(*passphrases, **options):
    """A volume with a keyslot for each passphrase, from 0."""
    volume = bare(**options)
    for passphrase in passphrases:
        volume = add(volume, passphrase)
    return volume


def tree(volume):
    """The metadata of *volume*, to be changed."""
    return copy.deepcopy(volume.header.metadata.tree)


def copy_of(of, which, text, **fields):
    """One copy with any metadata text and its right checksum."""
    binary = of.primary
    if which == ondisk.SECONDARY:
        binary = header_copies.to_secondary(binary, of.secondary_salt)
    binary = dataclasses.replace(binary, **fields)
    area = text.ljust(of.primary.hdr_size - ondisk.SIZE, b"\0")
    return binary.seal(area).pack() + area


def craft(of, text=None, **fields):
    """Both copies with any metadata text and right checksums.

    :param text: bytes, or a tree
    :param fields: of both binary headers
    """
    if text is None:
        text = of.metadata.text
    elif isinstance(text, dict):
        # Somebody else's may be what ours does not write.
        text = json.dumps(text, separators=(",", ":")).encode()
    return b"".join(copy_of(of, which, text, **fields) for which in (
        ondisk.PRIMARY, ondisk.SECONDARY))
