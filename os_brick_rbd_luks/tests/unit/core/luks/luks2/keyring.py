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

"""Volumes whose keyslots are known by their bytes, without a KDF.

A keyslot opens if and only if its salt, its iterations and every byte of its
area are what they were: so whoever knows these needs no passphrase to tell.
"""

from __future__ import annotations

import random
from typing import NamedTuple

from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base

#: Bytes from one place for an area to the next.
PITCH = 65536


class Keyslot(NamedTuple):
    """What a keyslot's passphrase opens."""

    kdf: kdfs.Pbkdf2
    area: bytes


class Keyring(NamedTuple):
    """A header and the bytes of its areas."""

    header: luks2.Luks2Header
    areas: dict

    @property
    def keyslots(self):
        return {Keyslot(self.header.keyslot(number).kdf, area)
                for number, area in self.areas.items()}


def make(names, places=None, **options):
    """A keyring with a keyslot for each name, by number.

    Equal names give equal keyslots.

    :param places: which of the 15 places each one's area has, its number's
        unless said; halves lie between two
    """
    of = base.bare(**options).header
    areas = {}
    for number, name in names.items():
        source = random.Random(name)
        place = (places or {}).get(number, number)
        slot = records.Keyslot(
            "luks2", 16, records.Area(int(base.BOTH + place * PITCH), PITCH,
                                       "aes-xts-plain64", 64), 1, 4000,
            "sha256", kdfs.Pbkdf2("sha256", source.randrange(1000, 2 ** 24),
                                  source.randbytes(32)), "pbkdf2")
        of = of.with_tree(records.with_keyslot(
            of.metadata.tree, number, records.keyslot_tree(slot), 0))
        areas[number] = source.randbytes(64000)
    return Keyring(of, areas)


def opens(disk, *keyrings):
    """For each keyring, whether all its keyslots open the disk."""
    there = {}
    for slot in disk.header().keyslots:
        there.setdefault(slot.kdf, []).append(slot)
    # Compared, not hashed: most differ in their first bytes.
    return [all(any(disk.data[slot.offset:slot.offset + len(area)] == area
                    for slot in there.get(
                        keyring.header.keyslot(number).kdf, ()))
                for number, area in keyring.areas.items())
            for keyring in keyrings]
