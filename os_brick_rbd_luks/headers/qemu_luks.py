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

"""What QEMU's luks driver makes of a header.

Source: QEMU ``crypto/block-luks.c``: the checks of a header, the maps of names
and ``qcrypto_block_luks_essiv_cipher``; each tried.
"""

from __future__ import annotations

from typing import Dict, Optional, Tuple

from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk

#: The hashes that it has in every build (``qcrypto_hash``). It reads their
#: names as they are: no capital letters, no ``sha-256``.
_HASHES = ("sha1", "sha224", "sha256", "sha384", "sha512")

#: Those that it has in some.
_RARE_HASHES = ("md5", "ripemd160", "sm3")

#: Cipher -> lengths of its keys in bytes.
_CIPHERS: Dict[str, Tuple[int, ...]] = {
    "aes": (16, 24, 32), "cast5": (16,), "serpent": (16, 24, 32),
    "twofish": (16, 24, 32), "sm4": (16,)}

_MODES = ("ecb", "cbc", "xts", "ctr")

#: Of these it asks for nothing behind a colon.
_PLAIN = ("plain", "plain64")

#: Hashes of ESSIV whose digest is a key of the cipher.
_ESSIV_HASHES = ("sha256",)

#: Bytes that no keyslot area may begin in.
_HEADER_BYTES = 4096


def opens(header: header_io.Header) -> claim.Claim:
    """Whether it opens the volume, given a passphrase that does."""
    if not isinstance(header, luks1.Luks1Header):
        return claim.no("QEMU's luks driver knows only LUKS1")
    if header.clone:
        return claim.no("only librbd knows the own header of a clone")
    reason = _cipher(header) or _hash(header) or _keyslots(header)
    if reason is not None:
        return claim.no(reason)
    for rare, what in ((_is_rare(header), f"cipher {header.cipher_spec}"),
                       (header.hash_spec not in _HASHES,
                        f"hash {header.hash_spec}")):
        if rare:
            return claim.unknown("it depends on how QEMU was built whether it "
                                 f"has the {what}")
    return claim.YES


def _is_rare(header: luks1.Luks1Header) -> bool:
    """Whether it has the cipher in some builds only: all but AES-128 and -256
    in CBC and XTS.
    """
    name, mode, _ivs, iv_hash = _parts(header)
    key = header.key_bits // (2 if mode == "xts" else 1)
    return (name != "aes" or mode not in ("cbc", "xts") or key == 192
            or bool(iv_hash) and iv_hash not in _HASHES)


def refusal(header: header_io.Header) -> Optional[str]:
    """Why it cannot be relied on to open the volume, None if it can be."""
    return opens(header).reason


def _parts(header: luks1.Luks1Header) -> Tuple[str, str, str, str]:
    """Cipher, mode, IV generator and what is behind its colon."""
    name, _dash, mode = header.cipher_spec.partition("-")
    mode, _dash, ivs = mode.partition("-")
    ivs, _colon, iv_hash = ivs.partition(":")
    return name, mode, ivs, iv_hash


def _cipher(header: luks1.Luks1Header) -> Optional[str]:
    name, mode, ivs, iv_hash = _parts(header)
    size = header.key_bits // 8
    key = size // 2 if mode == "xts" else size
    if (mode not in _MODES or key not in _CIPHERS.get(name, ())
            or mode == "xts" and name == "cast5"):
        return (f"QEMU's luks driver has no cipher {name} in mode "
                f"{mode or '?'} with a key of {size * 8} bits")
    if iv_hash and iv_hash not in (*_HASHES, *_RARE_HASHES):
        return f"QEMU's luks driver has no hash {iv_hash}"
    if not (ivs in _PLAIN or ivs == "essiv" and name != "cast5"
            and iv_hash in _ESSIV_HASHES):
        return (f"QEMU's luks driver has no IVs like "
                f"{header.cipher_spec.split('-', 2)[-1]}")
    if size * ondisk.STRIPES % cipher.SECTOR:
        return (f"QEMU ends with an assertion where a key of {size * 8} bits "
                "makes its areas no whole sectors")
    return None


def _hash(header: luks1.Luks1Header) -> Optional[str]:
    if header.hash_spec not in (*_HASHES, *_RARE_HASHES):
        return f"QEMU's luks driver has no hash {header.hash_spec}"
    return None


def _keyslots(header: luks1.Luks1Header) -> Optional[str]:
    """It refuses the whole header for one keyslot, used or not."""
    for slot in header.keyslots:
        if slot.damage:
            return ("QEMU's luks driver refuses a header with a damaged "
                    f"keyslot: {slot.number}")
    if header.keyslots_start < _HEADER_BYTES:
        return ("QEMU's luks driver refuses a header with keyslots in its "
                f"first {_HEADER_BYTES} bytes")
    if not header.keyslots:
        return "it has no keyslot"
    return None
