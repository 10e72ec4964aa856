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

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.operations import header_io


def describe(header: luks1.Luks1Header, image_size: int) -> Dict[str, Any]:
    """The facts of a volume; sizes and offsets are bytes.

    ``decrypted_size`` is what a guest sees.
    """
    return {
        "type": header.type,
        "uuid": header.uuid,
        "cipher": header.cipher_spec,
        "key_bits": header.key_bits,
        "hash": header.hash_name,
        "data_offset": header.data_offset,
        "image_size": image_size,
        "decrypted_size": image_size - header.data_offset,
        "keyslots": [{
            "keyslot": slot.number,
            "state": f"damaged: {slot.damage}" if slot.damage else "active",
            "kdf": "pbkdf2",
            "iterations": slot.iterations,
        } for slot in header.keyslots],
    }


@header_io.names_image
def describe_image(image: base.Image) -> Dict[str, Any]:
    """:func:`describe` for the header of *image*."""
    return describe(header_io.read_header(image), image.size())
