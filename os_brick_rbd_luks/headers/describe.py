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

"""A header as a plain dict: what users see. No secrets, no salts."""

from __future__ import annotations

from typing import Any, Dict

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies


def describe(header: header_io.Header, image_size: int) -> Dict[str, Any]:
    """The facts of a volume; sizes and offsets are bytes.

    ``decrypted_size`` is what a guest sees, None of a header without a
    payload, which is a backup.
    """
    facts: Dict[str, Any] = {
        "type": header.type,
        "uuid": header.uuid,
        "cipher": header.cipher_spec,
        "key_bits": header.key_bits,
        "hash": header.hash_name,
        "data_offset": header.data_offset,
        "image_size": image_size,
        "decrypted_size": header_io.decrypted_size(header, image_size),
        "clone": header.clone,
    }
    if isinstance(header, luks2.Luks2Header):
        facts.update(_luks2(header))
    facts["keyslots"] = [_keyslot(slot) for slot in header.keyslots]
    return facts


def _luks2(header: luks2.Luks2Header) -> Dict[str, Any]:
    damaged = header.ailment and header.ailment.damage
    return {
        "sector_size": header.segment.sector_size,
        "tokens": len(header.metadata.tokens),
        "flags": list(header.metadata.flags),
        "requirements": list(header.metadata.requirements),
        "seqid": header.seqid,
        "damaged_copy": header.ailment.which
        if header.ailment and damaged else None,
    }


def _keyslot(slot: keyslot_views.Keyslot) -> Dict[str, Any]:
    state = "active"
    if slot.damage:
        state = f"damaged: {slot.damage}"
    elif slot.foreign:
        state = f"not used: {slot.foreign}"
    elif slot.priority == 0:
        state = "active if named"
    facts: Dict[str, Any] = {
        "keyslot": slot.number, "state": state,
        "kdf": slot.kdf.name if slot.kdf else None}
    if isinstance(slot.kdf, kdfs.Pbkdf2):
        facts["iterations"] = slot.kdf.iterations
    elif isinstance(slot.kdf, kdfs.Argon2):
        facts.update(time=slot.kdf.cost.time, cpus=slot.kdf.cost.cpus,
                     memory_kib=slot.kdf.cost.memory_kib)
    return facts


@header_io.names_image
def describe_image(image: base.Image) -> Dict[str, Any]:
    """:func:`describe` for the header of *image*."""
    return describe(read(image), image.size())


@header_io.names_image
def read(image: base.Image) -> header_io.Header:
    """The header of *image*, which may be a backup.

    :raises OnlySecondCopy: there is none but a second copy of one
    :raises HeaderError: see
        :func:`~os_brick_rbd_luks.headers.header_io.read_header`
    """
    try:
        return header_io.read_header(image, backup=True)
    except exception.NotLuks:
        offset = header_copies.second(header_io.read_start(image, True))
        if offset is None:
            raise
        raise exception.OnlySecondCopy(offset=offset) from None
