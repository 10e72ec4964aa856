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

"""What users and steps see of a keyslot, whatever the format."""

from __future__ import annotations

from typing import NamedTuple, Optional

from os_brick_rbd_luks.luks import kdfs


class Keyslot(NamedTuple):
    """One keyslot that is in use, or damaged."""

    number: int
    #: None when the format has one that we do not know
    kdf: Optional[kdfs.KDF]
    #: where its area lies, in bytes
    offset: int
    length: int
    #: why it cannot be used, None for a good one
    damage: Optional[str] = None
    #: why a good one is none for opening the volume by a passphrase
    foreign: Optional[str] = None
    #: LUKS2: 2 is tried first, 0 only when asked for by number
    priority: int = 1
    #: LUKS2: whether it is of the usual type, and for the payload's key
    bound: bool = True
    #: LUKS2: whether it is for another key than the payload's; no passphrase
    #: opens the volume with such a one, whatever program tries
    other_key: bool = False
    #: whether it is foreign for a KDF, hash or cipher that we do not know
    strange: bool = False

    @property
    def cost(self) -> int:
        """What a try costs, in about as many microseconds.

        An iteration of PBKDF2 takes about as long as a pass of Argon2 over a
        KiB.
        """
        if isinstance(self.kdf, kdfs.Argon2):
            return self.kdf.cost.time * self.kdf.cost.memory_kib
        return self.kdf.iterations if self.kdf else 0

    @property
    def usable(self) -> bool:
        """Whether a passphrase may open the volume with it."""
        return self.damage is None and self.foreign is None
