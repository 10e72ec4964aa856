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

"""What libcryptsetup makes of a header, and so cryptsetup and librbd.

Source: cryptsetup ``lib/luks1/keymanage.c`` (``LUKS_open_key_with_hdr``),
``lib/luks2/luks2_keyslot.c`` (``LUKS2_keyslot_open``), ``lib/setup.c``
(``_crypt_load_luks``); each tried.
"""

from __future__ import annotations

from typing import Optional

from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk


def finds_key(header: header_io.Header) -> claim.Claim:
    """Whether it gets the volume key, given a passphrase of ours.

    It tries one keyslot after the other, and ends with the first error that
    is not a wrong passphrase.
    """
    if isinstance(header, luks1.Luks1Header):
        return _first(header)
    if not any(slot.bound and slot.priority for slot in header.keyslots):
        if any(slot.bound for slot in header.keyslots):
            return claim.no("its keyslots are for those who name them "
                            "(priority ignore)")
        return claim.no("it has no keyslot for its payload")
    if not header.digest_iterations:
        return claim.no("its digest is of a type that nobody defined")
    strange = _strange(header)
    if strange is not None:
        return claim.unknown(strange)
    return claim.YES


def _first(header: luks1.Luks1Header) -> claim.Claim:
    good = [slot.number for slot in header.keyslots if not slot.damage]
    if not good:
        return claim.no("it has no keyslot")
    if header.hash_name not in kdfs.READABLE_HASHES:
        return claim.unknown("it depends on the host's crypto library whether "
                             f"it has the hash {header.hash_spec}")
    for slot in header.keyslots:
        # One with a bad state word is passed over.
        block = header.phdr.key_blocks[slot.number]
        if slot.damage and block.active == ondisk.KEY_ENABLED:
            reason = (f"libcryptsetup ends with keyslot {slot.number}, which "
                      "is damaged")
            return (claim.no(reason) if slot.number < min(good) else
                    claim.unknown(f"{reason}, if none before it opens"))
    return claim.YES


def _strange(header: header_io.Header) -> Optional[str]:
    """A keyslot that it may end with."""
    for slot in header.keyslots:
        if slot.bound and slot.strange:
            return (f"libcryptsetup ends with keyslot {slot.number} "
                    f"{slot.foreign}, if it does not know that and none "
                    "before it opens")
    return None
