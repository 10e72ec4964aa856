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

"""What a LUKS1 header must fulfil before anything is done by it.

In stages: magic and version, text fields, bounds, then the rules between
keyslots. A keyslot whose own state word or iteration count makes no sense
does not spoil the header: the write of another keyslot's record may have
been torn, and the volume must still open with the rest. Nor does one that is
too dear for us.

Source: LUKS1 On-Disk Format Specification 1.2.3; bounds as cryptsetup
enforces them (``LUKS_check_keyslots``, ``_check_and_convert_hdr``).
"""

from __future__ import annotations

from typing import Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks1 import ondisk

#: Bytes of the UUID's field, a NUL among them.
UUID_SIZE = 40


def _corrupt(field: str, reason: str,
             keyslot: Optional[int] = None) -> exception.CorruptHeader:
    if keyslot is None:
        offset = ondisk.OFFSETS[field]
    else:
        offset = ondisk.key_block_offset(keyslot, field)
        field = f"key_block[{keyslot}].{field}"
    return exception.CorruptHeader(field=field, offset=offset, reason=reason)


def text(phdr: ondisk.Phdr, field: str) -> str:
    """The text of *field*: printable ASCII up to the first NUL.

    :raises CorruptHeader: it is empty, unterminated or not printable
    """
    value, terminator, _rest = getattr(phdr, field).partition(b"\0")
    if not terminator:
        raise _corrupt(field, "has no end")
    if not value:
        raise _corrupt(field, "is empty")
    if not all(0x20 < byte < 0x7f for byte in value):
        raise _corrupt(field, "is not printable text")
    return str(value, "ascii")


def uuid(phdr: ondisk.Phdr) -> str:
    """The UUID as it can be shown; the bytes are kept whatever they are."""
    value = phdr.uuid.partition(b"\0")[0]
    return "".join(chr(byte) if 0x20 < byte < 0x7f else "?"
                   for byte in value)


def check_uuid(new: str) -> None:
    """Refuse what is no text for the field of a new header.

    :raises InvalidParameter: with what is
    """
    if not (new.isascii() and new.isprintable() and " " not in new
            and 0 < len(new) < UUID_SIZE):
        raise exception.InvalidParameter(
            name="UUID", value=new,
            reason=f"is not 1 to {UUID_SIZE - 1} printable ASCII characters "
                   "without a space")


def damage(block: ondisk.KeyBlock) -> Optional[str]:
    """What is wrong with the record of one keyslot itself, if anything."""
    if block.active == ondisk.KEY_DISABLED:
        return None
    if block.active != ondisk.KEY_ENABLED:
        return f"its state word is {block.active:#010x}"
    if block.iterations == 0:
        return "it has no iterations"
    return None


def check_cost(phdr: ondisk.Phdr, block: ondisk.KeyBlock) -> None:
    """Refuse what is beyond our limits in opening a keyslot.

    :raises HeaderLimitExceeded: naming it
    """
    limits.check("iterations", block.iterations, limits.MAX_ITERATIONS)
    limits.check("iterations of its digest", phdr.mk_digest_iter,
                 limits.MAX_ITERATIONS)


def foreign(phdr: ondisk.Phdr, block: ondisk.KeyBlock) -> Optional[str]:
    """Why a sound keyslot is of no use to us, if so."""
    try:
        check_cost(phdr, block)
    except exception.HeaderLimitExceeded as error:
        return f"with {error.value} {error.field}, more than {error.limit}"
    return None


def check(phdr: ondisk.Phdr) -> None:
    """Refuse a header that is damaged, hostile or detached.

    :raises NotLuks: there is no LUKS magic
    :raises UnsupportedHeader: another version, or a detached header
    :raises CorruptHeader: a field cannot be
    :raises HeaderLimitExceeded: the volume key is too long
    """
    if phdr.magic not in (detect.MAGIC, detect.CLONE_MAGIC):
        raise exception.NotLuks()
    if phdr.version != 1:
        raise exception.UnsupportedHeader(
            what=f"LUKS version {phdr.version}", supported="1")
    # Not the UUID, which is for people and opens nothing.
    for field in ("cipher_name", "cipher_mode", "hash_spec"):
        text(phdr, field)
    if phdr.key_bytes == 0:
        raise _corrupt("key_bytes", "is 0")
    limits.check("key_bytes", phdr.key_bytes, limits.MAX_KEY_BYTES)
    if phdr.mk_digest_iter == 0:
        raise _corrupt("mk_digest_iter", "is 0")
    if phdr.payload_offset == 0:
        raise exception.UnsupportedHeader(
            what="a detached header (payload_offset 0)",
            supported="a header on the volume itself")
    _check_keyslots(phdr)


def _check_keyslots(phdr: ondisk.Phdr) -> None:
    for number, block in enumerate(phdr.key_blocks):
        if block.stripes != ondisk.STRIPES:
            raise _corrupt("stripes", f"is {block.stripes}, not "
                           f"{ondisk.STRIPES}", number)
    sectors = keymaterial.area_bytes(
        phdr.key_bytes, ondisk.STRIPES) // cipher.SECTOR
    header_sectors = -(-ondisk.SIZE // cipher.SECTOR)
    end, previous = header_sectors, None
    by_offset = sorted(range(ondisk.KEYSLOTS), key=lambda number: (
        phdr.key_blocks[number].key_material_offset))
    for number in by_offset:
        start = phdr.key_blocks[number].key_material_offset
        if start < end:
            raise _corrupt(
                "key_material_offset", "overlaps " + (
                    "the header" if previous is None
                    else f"keyslot {previous}"), number)
        end, previous = start + sectors, number
        if end > phdr.payload_offset:
            raise _corrupt("key_material_offset",
                           "lets its area reach into the payload", number)
