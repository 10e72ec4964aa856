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

"""A volume key in and out of the encrypted bytes of a keyslot area.

Source: LUKS1 On-Disk Format Specification, "Key material"; LUKS2 On-Disk
Format Specification, "Keyslot Type luks2".
"""

from __future__ import annotations

import dataclasses
from typing import Callable

from os_brick_rbd_luks.luks import af
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs


def round_up(value: int, multiple: int) -> int:
    """The least multiple of *multiple* that is not below *value*."""
    return -(-value // multiple) * multiple


def area_bytes(key_bytes: int, stripes: int) -> int:
    """Bytes of a keyslot area: whole sectors."""
    return round_up(key_bytes * stripes, cipher.SECTOR)


@dataclasses.dataclass(frozen=True)
class Parameters:
    """All that a keyslot area depends on, besides the passphrase.

    The area is encrypted in 512-byte sectors that count from its own start,
    also in LUKS2, whatever the sectors of the payload are.
    """

    cipher_spec: str
    #: bytes of the key that the area is encrypted with
    cipher_key_bytes: int
    #: hash of the anti-forensic split
    hash_name: str
    #: bytes of the volume key
    key_bytes: int
    stripes: int
    kdf: kdfs.KDF

    def _cipher(self, passphrase: bytes) -> cipher.SectorCipher:
        # Before the derivation, which may take seconds.
        cipher.check(self.cipher_spec, self.cipher_key_bytes)
        kdfs.check_hash(self.hash_name)
        key = self.kdf.derive(passphrase, self.cipher_key_bytes)
        return cipher.SectorCipher(self.cipher_spec, key)

    def seal(self, volume_key: bytes, passphrase: bytes,
             random: Callable[[int], bytes]) -> bytes:
        """The area that opens to *volume_key* with *passphrase*."""
        material = af.split(volume_key, self.stripes, self.hash_name, random)
        padding = area_bytes(self.key_bytes, self.stripes) - len(material)
        return self._cipher(passphrase).encrypt(material + bytes(padding))

    def open(self, area: bytes, passphrase: bytes) -> bytes:
        """The volume key, plausible even when *passphrase* is wrong.

        :param area: ``area_bytes(key_bytes, stripes)`` bytes
        :raises UnsupportedHeader: cipher, key length or hash
        """
        material = self._cipher(passphrase).decrypt(area)
        return af.merge(material[:self.key_bytes * self.stripes],
                        self.key_bytes, self.stripes, self.hash_name)
