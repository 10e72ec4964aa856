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

"""The digest by which a header knows its volume key.

Source: LUKS1 On-Disk Format Specification, ``mk-digest``; LUKS2 On-Disk
Format Specification, "Digests Object".
"""

from __future__ import annotations

import hashlib
import hmac

from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits

#: Bytes of LUKS1's digest, and of a salt. LUKS2 has as many as the hash
#: gives, or LUKS1's after a conversion.
SIZE = 20
SALT_SIZE = 32


def full_size(hash_name: str) -> int:
    """Bytes that the hash gives."""
    return hashlib.new(hash_name).digest_size


def make(hash_name: str, volume_key: bytes, salt: bytes,
         iterations: int, size: int = SIZE) -> bytes:
    """The digest of *volume_key*, *size* bytes."""
    return kdfs.pbkdf2(hash_name, volume_key, salt, iterations, size)


def verify(hash_name: str, volume_key: bytes, salt: bytes, iterations: int,
           expected: bytes) -> bool:
    """Whether *volume_key* is the one that *expected* was made from.

    :param expected: not empty, which any key would fit
    :raises HeaderLimitExceeded: it takes too long
    """
    limits.check("iterations of the digest", iterations,
                 limits.MAX_ITERATIONS)
    actual = make(hash_name, volume_key, salt, iterations, len(expected))
    return hmac.compare_digest(actual, expected)
