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

"""Anti-forensic split and merge.

A key is spread over so many bytes that a lost piece of them loses it all.
The chain is d[i] = H(d[i-1] xor s[i]), and the last stripe is
d[n-1] xor key. H hashes each digest-sized block of a stripe with the block's
index, so the blocks of one index are a chain of their own: a column here.

Source: LUKS1 On-Disk Format Specification, "AF-Splitter".
"""

from __future__ import annotations

import hashlib
import itertools
from typing import Callable, List, Tuple


def _columns(hash_name: str, key_bytes: int) -> List[Tuple[int, int, int]]:
    """Index, start in the stripe and size in bytes of each column.

    The last is narrower when *key_bytes* is no multiple of the digest.
    """
    width = hashlib.new(hash_name).digest_size
    return [(index, start, min(width, key_bytes - start))
            for index, start in enumerate(range(0, key_bytes, width))]


def _xor(left: bytes, right: bytes) -> bytes:
    return (int.from_bytes(left, "little")
            ^ int.from_bytes(right, "little")).to_bytes(len(left), "little")


def split(key: bytes, stripes: int, hash_name: str,
          random: Callable[[int], bytes]) -> bytes:
    """Spread *key* over ``len(key) * stripes`` bytes.

    The specification draws random stripes s and computes d from them. Here
    the inputs u[i] = d[i-1] xor s[i] of H are drawn instead: s is just as
    random, and one wide XOR does the work of thousands of small ones.

    :param stripes: at least 1; LUKS headers say 4000
    """
    key_bytes = len(key)
    digest = getattr(hashlib, hash_name)
    inputs = random(key_bytes * (stripes - 1))
    columns = []
    for index, start, size in _columns(hash_name, key_bytes):
        prefix = index.to_bytes(4, "big")
        columns.append([bytes(size)] + [
            digest(prefix + inputs[at:at + size]).digest()[:size]
            for at in range(start, len(inputs), key_bytes)])
    chain = b"".join(itertools.chain.from_iterable(zip(*columns)))
    return _xor(chain, inputs + key)


def merge(material: bytes, key_bytes: int, stripes: int,
          hash_name: str) -> bytes:
    """Undo :func:`split`.

    :param material: exactly ``key_bytes * stripes`` bytes, decrypted
    :param stripes: at least 1; LUKS headers say 4000
    :returns: ``key_bytes`` bytes, plausible even for a wrong passphrase:
        verify the digest
    :raises ValueError: *material* has another length
    """
    if len(material) != key_bytes * stripes:
        raise ValueError(f"{len(material)} bytes are not {stripes} stripes "
                         f"of {key_bytes} bytes")
    digest, number = getattr(hashlib, hash_name), int.from_bytes
    last = key_bytes * (stripes - 1)
    links = []
    for index, start, size in _columns(hash_name, key_bytes):
        # As one number: the index is before the block that is hashed.
        prefix, length = index << 8 * size, size + 4
        link = 0
        for at in range(start, last, key_bytes):
            block = prefix | link ^ number(material[at:at + size], "big")
            link = number(
                digest(block.to_bytes(length, "big")).digest()[:size], "big")
        links.append(link.to_bytes(size, "big"))
    return _xor(b"".join(links), material[last:])
