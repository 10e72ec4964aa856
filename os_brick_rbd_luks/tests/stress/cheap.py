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
"""Keyslots without their anti-forensic stripes, a hundred times as quick.

The last sector of an area has the volume key, all before it is random. A walk
in memory makes and tries thousands of keyslots; what splitting and merging do
is tested elsewhere, and on real Ceph the walk has the real thing. What was
derived once is remembered: the same passphrases are tried after every step.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from typing import Any, Callable, Dict, Iterator
from unittest import mock

from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial


def _seal(self: keymaterial.Parameters, volume_key: bytes, passphrase: bytes,
          random: Callable[[int], bytes]) -> bytes:
    before = keymaterial.area_bytes(
        self.key_bytes, self.stripes) - cipher.SECTOR
    last = random(cipher.SECTOR - len(volume_key)) + volume_key
    return random(before) + self._cipher(passphrase).encrypt(
        last, before // cipher.SECTOR)


def _open(self: keymaterial.Parameters, area: bytes, passphrase: bytes
          ) -> bytes:
    before = len(area) - cipher.SECTOR
    return self._cipher(passphrase).decrypt(
        area[before:], before // cipher.SECTOR)[-self.key_bytes:]


@contextlib.contextmanager
def keyslots() -> Iterator[None]:
    """Make and open keyslots of that kind only."""
    with mock.patch.object(keymaterial.Parameters, "seal", _seal), \
            mock.patch.object(keymaterial.Parameters, "open", _open), \
            mock.patch.object(kdfs, "pbkdf2", functools.lru_cache(65536)(
                kdfs.pbkdf2)):
        yield


@contextlib.contextmanager
def remembered() -> Iterator[None]:
    """Open no area twice with one passphrase, in this process.

    For real keyslots, which a check tries after every step. What an area gives
    depends on nothing else.
    """
    known: Dict[Any, bytes] = {}
    really = keymaterial.Parameters.open

    def open_once(self: keymaterial.Parameters, area: bytes,
                  passphrase: bytes) -> bytes:
        place = (self, hashlib.sha256(area).digest(), passphrase)
        if place not in known:
            known[place] = really(self, area, passphrase)
        return known[place]

    with mock.patch.object(keymaterial.Parameters, "open", open_once), \
            mock.patch.object(kdfs, "pbkdf2", functools.lru_cache(65536)(
                kdfs.pbkdf2)):
        yield
