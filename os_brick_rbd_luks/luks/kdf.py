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

"""A passphrase and its parameters to a key.

Source: RFC 8018 section 5.2 (PBKDF2), which LUKS1 uses throughout.
"""

from __future__ import annotations

import hashlib

from os_brick_rbd_luks import exception

#: Hashes we write headers with, and those we read.
WRITABLE_HASHES = ("sha256", "sha512")
READABLE_HASHES = ("sha1",) + WRITABLE_HASHES

#: The least that LUKS1 allows. It is the default: a key manager's key is
#: 256 random bits, which stretching cannot make harder to guess.
MIN_ITERATIONS = 1000


def check_hash(name: str, writing: bool = False) -> None:
    """Refuse a hash that we cannot read, or do not write.

    :raises UnsupportedHeader: with what is supported
    """
    supported = WRITABLE_HASHES if writing else READABLE_HASHES
    if name not in supported:
        raise exception.UnsupportedHeader(
            what=f"hash {name}", supported=", ".join(supported))


def pbkdf2(hash_name: str, passphrase: bytes, salt: bytes, iterations: int,
           length: int) -> bytes:
    """Stretch *passphrase* into *length* bytes.

    Releases the interpreter's lock while it works.

    :raises UnsupportedHeader: a hash that we do not read
    """
    check_hash(hash_name)
    return hashlib.pbkdf2_hmac(hash_name, passphrase, salt, iterations,
                               length)
