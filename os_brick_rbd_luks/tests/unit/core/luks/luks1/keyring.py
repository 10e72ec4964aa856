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
That makes thousands of cuts affordable.
"""

from __future__ import annotations

import dataclasses
import random
from typing import NamedTuple

from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base

#: The least data offset for 16-byte keys: no room behind the areas.
TIGHT = 4096 + 8 * 65536


class Keyslot(NamedTuple):
    """What a keyslot's passphrase opens."""

    salt: bytes
    iterations: int
    area: bytes


class Keyring(NamedTuple):
    """A header and the bytes of its areas."""

    header: luks1.Luks1Header
    areas: dict

    @property
    def keyslots(self):
        return {Keyslot(self.header.phdr.key_blocks[number].salt,
                        self.header.phdr.key_blocks[number].iterations, area)
                for number, area in self.areas.items()}


def make(names, data_offset=TIGHT, spec="aes-cbc-plain64", size=16,
         order=range(8)):
    """A keyring with a keyslot for each name, by number.

    Equal names at equal numbers give equal keyslots.

    :param order: where the areas lie, by their usual places
    """
    empty = base.bare(spec, size, data_offset=data_offset).header
    usual = [block.key_material_offset for block in empty.phdr.key_blocks]
    blocks, areas = {}, {}
    for number in range(8):
        block = dataclasses.replace(
            empty.phdr.key_blocks[number],
            key_material_offset=usual[order[number]])
        if number in names:
            source = random.Random(f"{names[number]} {number}")
            block = dataclasses.replace(
                block, active=ondisk.KEY_ENABLED,
                iterations=source.randrange(1000, 2 ** 24),
                salt=source.randbytes(32))
            areas[number] = source.randbytes(4000 * size)
        blocks[number] = block
    return Keyring(luks1.Luks1Header.parse(
        empty.with_blocks(blocks).pack()), areas)


def damage(of, *numbers):
    """*of* with the state words of some keyslots torn."""
    return Keyring(of.header.with_blocks({
        number: dataclasses.replace(of.header.phdr.key_blocks[number],
                                    active=0x00acdead)
        for number in numbers}), of.areas)


def opens(disk, *keyrings):
    """For each keyring, whether all its keyslots open the disk."""
    found = disk.header()
    there = {}
    for slot in found.keyslots:
        if not slot.damage:
            salt = found.phdr.key_blocks[slot.number].salt
            there.setdefault((salt, slot.kdf.iterations), []).append(slot)
    return [all(any(disk.data[slot.offset:slot.offset + slot.length]
                    == keyslot.area
                    for slot in there.get((keyslot.salt, keyslot.iterations),
                                          ()))
                for keyslot in keyring.keyslots)
            for keyring in keyrings]
