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

"""Which keyslots there are, of what use to us, and which one is free.

Source: LUKS2 On-Disk Format Specification 1.1.4, "Keyslots Object" and
"Digests Object".
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks.luks2 import records

_NO_DIGEST = records.Digest("of the payload", (), ())


def payload_digest(found: records.Metadata) -> Tuple[int, records.Digest]:
    """Number and record of the digest of the volume key."""
    for number, digest in found.digests.items():
        if 0 in digest.segments:
            return number, digest
    return -1, _NO_DIGEST


def view(found: records.Metadata, number: int) -> keyslot_views.Keyslot:
    """What users see of a keyslot in use."""
    slot = found.keyslots[number]
    length = slot.area.size
    if slot.hash_name is not None:
        length = keymaterial.area_bytes(slot.key_size, slot.stripes)
    unbound = _unbound(found, number, slot)
    strange = None if unbound else _strange(slot)
    return keyslot_views.Keyslot(
        number, slot.kdf, slot.area.offset, length,
        foreign=unbound or strange or _too_dear(found, slot),
        priority=slot.priority, bound=unbound is None,
        other_key=_has_other_key(found, number),
        strange=strange is not None)


def _unbound(found: records.Metadata, number: int, slot: records.Keyslot
             ) -> Optional[str]:
    """Why a keyslot has no part of the payload's key, if so."""
    if slot.hash_name is None:
        return f"of type {slot.type}"
    if not _is_of_payload(found, number):
        return "for a key that is not the volume's"
    return None


def _has_other_key(found: records.Metadata, number: int) -> bool:
    # Amid a re-encryption the payload has two keys, or begins without one.
    return not found.requirements and not _is_of_payload(found, number)


def _is_of_payload(found: records.Metadata, number: int) -> bool:
    return number in payload_digest(found)[1].keyslots


def _strange(slot: records.Keyslot) -> Optional[str]:
    """What a keyslot has that we do not know, if anything."""
    if slot.kdf is None:
        return f"with KDF {slot.kdf_name}"
    used = [slot.hash_name]
    if isinstance(slot.kdf, kdfs.Pbkdf2):
        used.append(slot.kdf.hash_name)
    try:
        cipher.check(slot.area.encryption or "", slot.area.key_size)
        for name in used:
            kdfs.check_hash(name or "")
    except exception.UnsupportedHeader as error:
        return f"with {error.what}"
    return None


def _too_dear(found: records.Metadata, slot: records.Keyslot
              ) -> Optional[str]:
    """What opening a keyslot costs that is beyond our limits, if so."""
    try:
        check_cost(found, slot)
    except exception.UnsupportedHeader as error:
        return f"with {error.what}"
    except exception.HeaderLimitExceeded as error:
        return f"with {error.value} {error.field}, more than {error.limit}"
    return None


def check_cost(found: records.Metadata, slot: records.Keyslot) -> None:
    """Refuse what is beyond our limits in opening a keyslot.

    :raises HeaderLimitExceeded: naming it
    :raises UnsupportedHeader: a KDF that we cannot compute
    """
    for size in (slot.key_size, slot.area.key_size):
        limits.check("bytes of key", size, limits.MAX_KEY_BYTES)
    if slot.kdf is not None:
        kdfs.check_cost(slot.kdf)
    limits.check("iterations of its digest",
                 payload_digest(found)[1].iterations, limits.MAX_ITERATIONS)


def parameters(found: records.Metadata, number: int
               ) -> keymaterial.Parameters:
    """What the area of a keyslot in use depends on.

    :raises UnsupportedHeader: the keyslot is of no use for the payload
    :raises UnboundKeyslots: it is for another key
    :raises HeaderLimitExceeded: it costs too much
    """
    slot, foreign = found.keyslots[number], view(found, number).foreign
    if _has_other_key(found, number):
        raise exception.UnboundKeyslots(what=f"keyslot {number}")
    if foreign:
        # The error that says most, where a limit is what keeps it out.
        check_cost(found, slot)
    if (foreign or slot.kdf is None or slot.hash_name is None
            or slot.area.encryption is None):
        raise exception.UnsupportedHeader(
            what=f"keyslot {number} {foreign}",
            supported="keyslots of the payload with a known cipher, hash "
                      "and KDF")
    return keymaterial.Parameters(
        slot.area.encryption, slot.area.key_size, slot.hash_name,
        slot.key_size, slot.stripes, slot.kdf)


def areas(found: records.Metadata) -> List[luks2_layout.Area]:
    """Offset and length of what is reserved for each keyslot."""
    return [(slot.area.offset, slot.area.size)
            for slot in found.keyslots.values()]


def gap(found: records.Metadata, size: int, start: int, end: int
        ) -> luks2_layout.Area:
    """Room for one more area of *size* bytes from *start* to *end*.

    :raises NoRoomForKeyslot: there is none
    """
    offset = luks2_layout.find_gap(areas(found), start, end, size)
    if offset is None:
        raise exception.NoRoomForKeyslot(what="keyslots area",
                                         size=end - start)
    return offset, size


def free_number(found: records.Metadata, wanted: Optional[int]) -> int:
    """A number for a new keyslot.

    :param wanted: this one, if it is free; the first free one when None
    :raises NoFreeKeyslot: there is none
    :raises KeyslotInUse: *wanted* is
    :raises InvalidParameter: there is no such number
    """
    if wanted is None:
        for number in range(limits.MAX_OBJECTS):
            if number not in found.keyslots:
                return number
        raise exception.NoFreeKeyslot(count=limits.MAX_OBJECTS)
    if wanted not in range(limits.MAX_OBJECTS):
        raise exception.InvalidParameter(
            name="keyslot", value=wanted,
            reason=f"is not between 0 and {limits.MAX_OBJECTS - 1}")
    if wanted in found.keyslots:
        raise exception.KeyslotInUse(keyslot=wanted)
    return wanted
