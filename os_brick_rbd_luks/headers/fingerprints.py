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
"""A name for the keyslot that a passphrase opens, which tells nothing of it.

A keyslot that is filled anew has another one. So whoever keeps a passphrase
together with its fingerprint sees by the header whether it is that of a time
before, without trying it and without the passphrase.
"""

from __future__ import annotations

import hashlib
from typing import Set

from os_brick_rbd_luks.headers import header_io


def of(header: header_io.Header, keyslot: int) -> str:
    """The fingerprint of one keyslot, 32 hexadecimal digits.

    Of the volume's uuid and the keyslot's salt, which are no secrets; the
    salt is random bytes, new with each passphrase.

    :param keyslot: its number
    :raises KeyslotNotFound: it is not in use
    """
    kdf = header.keyslot(keyslot).kdf
    salt = kdf.salt if kdf is not None else b""
    return hashlib.sha256(
        str(header.uuid).encode() + b"\0" + salt).hexdigest()[:32]


def all_of(header: header_io.Header) -> Set[str]:
    """Those of all keyslots that are in use."""
    return {of(header, slot.number) for slot in header.keyslots}
