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

"""Passphrases of the layers below a clone, sealed under its volume key.

Whoever opens the clone has them, nobody else does. A key for this purpose
alone is derived from the volume key and a salt of its own (HKDF with
SHA-256); AES-256-GCM encrypts the passphrases and proves that nobody changed
them. What is sealed is bound to the header's UUID and to how many passphrases
there are, which everybody may read: it takes that many secrets to open the
clone.

The form is that of a LUKS2 token. cryptsetup and librbd keep tokens of types
that they do not know, and ignore them.

Source: RFC 5869 (HKDF); NIST SP 800-38D (GCM); LUKS2 On-Disk Format
Specification 1.1.4, "Tokens Object".
"""

from __future__ import annotations

import base64
import binascii
import os
import struct
from typing import Any, Callable, Dict, List, Mapping, Sequence

from cryptography import exceptions as crypto_exceptions
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf import hkdf

from os_brick_rbd_luks import exception

#: The type of the token.
TYPE = "rbd-luks-layers"

#: The one form that there is.
VERSION = 1

_SALT_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16

#: Before each passphrase: its bytes.
_LENGTH = struct.Struct(">H")

#: Bytes of a passphrase that the form has room for.
MAX_BYTES = 2 ** (8 * _LENGTH.size) - 1


def check(passphrases: Sequence[bytes]) -> None:
    """Refuse what :func:`seal` could not, before anything is made.

    :param passphrases: of the layers below
    :raises InvalidParameter: one has more than :data:`MAX_BYTES` bytes
    """
    for passphrase in passphrases:
        if len(passphrase) > MAX_BYTES:
            raise exception.InvalidParameter(
                name="length of the source's passphrase",
                value=len(passphrase),
                reason=f"is more than the {MAX_BYTES} bytes that a clone can "
                       "keep of the layers below it; flatten the clone "
                       "(--flatten), or give its source a shorter passphrase "
                       "(rbd-luks rekey)")


def seal(passphrases: Sequence[bytes], volume_key: bytes, uuid: str, *,
         random: Callable[[int], bytes] = os.urandom) -> Dict[str, Any]:
    """Seal *passphrases*, at least one, under *volume_key*.

    :param passphrases: of the layers below, the nearest first
    :param uuid: of the clone's header
    :returns: the members of a token
    :raises InvalidParameter: see :func:`check`
    """
    check(passphrases)
    salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
    text = b"".join(_LENGTH.pack(len(passphrase)) + passphrase
                    for passphrase in passphrases)
    sealed = aead.AESGCM(_key(volume_key, salt)).encrypt(
        nonce, text, _bound(uuid, len(passphrases)))
    return {"type": TYPE, "keyslots": [], "version": VERSION,
            "layers": len(passphrases), "salt": _base64(salt),
            "nonce": _base64(nonce), "sealed": _base64(sealed)}


def count(token: Mapping[str, Any]) -> int:
    """How many passphrases *token* has.

    :raises UnsupportedHeader: it is of a later version
    :raises LayersNotReadable: it is none of ours
    """
    if token.get("type") != TYPE:
        raise _unexpected("is not of type " + TYPE)
    version = token.get("version")
    if version != VERSION:
        raise exception.UnsupportedHeader(
            what=f"token {TYPE} of version {ascii(version)}",
            supported=f"version {VERSION}; use a newer os-brick-rbd-luks, or "
                      "flatten the clone with one")
    found = token.get("layers")
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise _unexpected("does not say how many layers it is for")
    return found


def unseal(token: Mapping[str, Any], volume_key: bytes, uuid: str
           ) -> List[bytes]:
    """The passphrases that :func:`seal` was given.

    :param uuid: of the header that *token* is of
    :raises UnsupportedHeader: it is of a later version
    :raises LayersNotReadable: it is none of ours, is of another volume, or
        somebody changed it
    """
    number = count(token)
    salt = _binary(token, "salt", _SALT_BYTES)
    nonce = _binary(token, "nonce", _NONCE_BYTES)
    sealed = _binary(token, "sealed", _TAG_BYTES)
    try:
        text = aead.AESGCM(_key(volume_key, salt)).decrypt(
            nonce, sealed, _bound(uuid, number))
    except crypto_exceptions.InvalidTag:
        raise _unexpected("is of another volume, or was changed") from None
    found, at = [], 0
    while at + _LENGTH.size <= len(text):
        end = at + _LENGTH.size + _LENGTH.unpack_from(text, at)[0]
        found.append(text[at + _LENGTH.size:end])
        at = end
    return found


def _key(volume_key: bytes, salt: bytes) -> bytes:
    return hkdf.HKDF(
        algorithm=hashes.SHA256(), length=32, salt=salt,
        info=f"{TYPE} {VERSION}".encode()).derive(volume_key)


def _bound(uuid: str, number: int) -> bytes:
    return f"{TYPE} {VERSION} {number} {uuid}".encode()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _binary(token: Mapping[str, Any], name: str, least: int) -> bytes:
    value = token.get(name)
    try:
        if isinstance(value, str):
            data = base64.b64decode(value, validate=True)
            if len(data) >= least:
                return data
    except (binascii.Error, ValueError):
        pass
    raise _unexpected(f"has no {name}")


def _unexpected(reason: str) -> exception.LayersNotReadable:
    return exception.LayersNotReadable(token=TYPE, reason=reason)
