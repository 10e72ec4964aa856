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

"""Cipher specs in dm-crypt's notation, and sectors in and out of cipher text.

Source: LUKS1 On-Disk Format Specification, table "cipher mode names", and
the kernel's dm-crypt document for the IV generators ``plain64`` and
``essiv``.
"""

from __future__ import annotations

import hashlib
from typing import Callable, Dict, Tuple

from os_brick_rbd_luks import exception

#: Bytes of a sector, as all of LUKS1 counts them, and IVs in LUKS2.
SECTOR = 512

#: Supported cipher spec -> volume key lengths in bytes. XTS has two keys:
#: 64 bytes are AES-256. AES-192 is left out: its key material is no whole
#: number of sectors, and QEMU (7.2) aborts on such a volume.
SUPPORTED: Dict[str, Tuple[int, ...]] = {
    "aes-xts-plain64": (32, 64),
    "aes-cbc-essiv:sha256": (16, 32),
    "aes-cbc-plain64": (16, 32),
}

IVGenerator = Callable[[int], bytes]


def check(spec: str, key_bytes: int) -> None:
    """Refuse a cipher spec or key length that we cannot use.

    :raises UnsupportedHeader: with what is supported
    """
    if spec not in SUPPORTED:
        raise exception.UnsupportedHeader(
            what=f"cipher {spec}", supported=", ".join(sorted(SUPPORTED)))
    if key_bytes not in SUPPORTED[spec]:
        raise exception.UnsupportedHeader(
            what=f"cipher {spec} with a {key_bytes * 8}-bit volume key",
            supported=", ".join(f"{n * 8} bits" for n in SUPPORTED[spec]))


def key_bytes(spec: str, key_size: int) -> int:
    """Bytes of the volume key for the AES key size of a Cinder volume type.

    On RBD upstream's *key_size* is that of AES, in bits: 256 with XTS, which
    has two keys, is a 64-byte volume key.

    Source: ``cinder.image.image_utils.decode_cipher``.

    :raises UnsupportedHeader: with what is supported
    """
    keys = 2 if "-xts-" in spec else 1
    sizes = {length * 8 // keys: length for length in SUPPORTED.get(spec, ())}
    if not sizes:
        check(spec, 0)
    if key_size not in sizes:
        raise exception.UnsupportedHeader(
            what=f"key size {key_size} with cipher {spec}",
            supported=", ".join(map(str, sizes)))
    return sizes[key_size]


def _plain64(sector: int) -> bytes:
    return sector.to_bytes(8, "little") + bytes(8)


# cryptography is imported where it is used: most of what looks at a header
# encrypts nothing, and would wait for it.


def _essiv(key: bytes) -> IVGenerator:
    from cryptography.hazmat.primitives.ciphers import algorithms
    from cryptography.hazmat.primitives.ciphers import Cipher
    from cryptography.hazmat.primitives.ciphers import modes
    salt = algorithms.AES(hashlib.sha256(key).digest())
    # ECB over a sector number is what ESSIV is; no data passes through it.
    encrypt = Cipher(salt, modes.ECB()).encryptor()  # noqa: S305
    return lambda sector: encrypt.update(_plain64(sector))


class SectorCipher:
    """One key for runs of sectors.

    However large they are, their numbers (IVs) count 512-byte units, as in
    dm-crypt without ``iv_large_sectors`` and in librbd.
    """

    def __init__(self, spec: str, key: bytes,
                 sector_size: int = SECTOR) -> None:
        """Prepare *key* for *spec*.

        :param sector_size: bytes that one IV is for, a multiple of 512
        :raises UnsupportedHeader: see :func:`check`
        """
        check(spec, len(key))
        self._sector_size = sector_size
        from cryptography.hazmat.primitives.ciphers import algorithms
        from cryptography.hazmat.primitives.ciphers import Cipher
        from cryptography.hazmat.primitives.ciphers import modes
        self._cipher = Cipher
        self._algorithm = algorithms.AES(key)
        mode, ivgen = spec.split("-", 2)[1:]
        self._mode = modes.XTS if mode == "xts" else modes.CBC
        self._iv = _plain64 if ivgen == "plain64" else _essiv(key)

    def encrypt(self, data: bytes, sector: int = 0) -> bytes:
        """Encrypt whole sectors, the first of which has number *sector*.

        :param sector: in units of 512 bytes
        :raises ValueError: *data* is not a whole number of sectors
        """
        return self._run(data, sector, encrypt=True)

    def decrypt(self, data: bytes, sector: int = 0) -> bytes:
        """Undo :meth:`encrypt`."""
        return self._run(data, sector, encrypt=False)

    def _run(self, data: bytes, sector: int, encrypt: bool) -> bytes:
        size = self._sector_size
        if len(data) % size:
            raise ValueError(f"{len(data)} bytes are not whole sectors")
        algorithm, mode, iv = self._algorithm, self._mode, self._iv
        view = memoryview(data)
        out = []
        for start in range(0, len(data), size):
            cipher = self._cipher(algorithm,
                                  mode(iv(sector + start // SECTOR)))
            context = cipher.encryptor() if encrypt else cipher.decryptor()
            out.append(context.update(view[start:start + size]))
        return b"".join(out)
