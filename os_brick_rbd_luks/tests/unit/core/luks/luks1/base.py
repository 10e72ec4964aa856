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

import functools
import random
from typing import NamedTuple

from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout

UUID = "c0ffee00-1111-4222-8333-444455556666"

#: The quickest cipher there is.
QUICK = ("aes-cbc-plain64", 16)

OLD = b"old passphrase"
NEW = b"new passphrase"
OTHER = b"other passphrase"


class Volume(NamedTuple):
    """A header, the areas of its keyslots and what they protect."""

    header: luks1.Luks1Header
    areas: dict
    key: bytes

    def opens(self, passphrase, number):
        return self.header.open_keyslot(number, self.areas[number],
                                        passphrase)


def bare(spec="aes-cbc-plain64", size=16, hash_name="sha256",
         data_offset=luks1_layout.MIN_DATA_OFFSET, seed=1):
    """A volume without keyslots."""
    source = random.Random(seed)
    key = source.randbytes(size)
    built = luks1.Luks1Header.build(
        key, cipher_spec=spec, hash_name=hash_name, data_offset=data_offset,
        uuid=UUID, random=source.randbytes)
    return Volume(built, {}, key)


def add(volume, passphrase, keyslot=None, iterations=1000, seed=2):
    """*volume* with one keyslot more."""
    source = random.Random(f"{seed} {passphrase!r} {keyslot}")
    change = volume.header.add(volume.key, passphrase, keyslot=keyslot,
                               iterations=iterations,
                               random=source.randbytes)
    return Volume(change.header, {
        **volume.areas, change.keyslot: area_of(change)}, volume.key)


def area_of(change):
    """The key material that a change adds."""
    return change.plan.stages[0][0].data


@functools.cache
def sample(*passphrases, spec="aes-cbc-plain64", size=16,
           hash_name="sha256", data_offset=luks1_layout.MIN_DATA_OFFSET):
    """A volume with a keyslot for each passphrase, from 0."""
    volume = bare(spec, size, hash_name, data_offset)
    for passphrase in passphrases:
        volume = add(volume, passphrase)
    return volume
