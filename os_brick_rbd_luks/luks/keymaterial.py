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

Source: LUKS1 On-Disk Format Specification, "Key material".
"""

from __future__ import annotations

import dataclasses
from typing import Callable

from os_brick_rbd_luks.luks import af
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdf


def area_bytes(key_bytes: int, stripes: int) -> int:
    """Bytes of a keyslot area: whole sectors."""
    return -(-key_bytes * stripes // cipher.SECTOR) * cipher.SECTOR


@dataclasses.dataclass(frozen=True)
class Parameters:
    """All that a keyslot area depends on, besides the passphrase."""

    cipher_spec: str
    hash_name: str
    key_bytes: int
    stripes: int
    salt: bytes
    iterations: int

    def _cipher(self, passphrase: bytes) -> cipher.SectorCipher:
        key = kdf.pbkdf2(self.hash_name, passphrase, self.salt,
                         self.iterations, self.key_bytes)
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
        """
        material = self._cipher(passphrase).decrypt(area)
        return af.merge(material[:self.key_bytes * self.stripes],
                        self.key_bytes, self.stripes, self.hash_name)
