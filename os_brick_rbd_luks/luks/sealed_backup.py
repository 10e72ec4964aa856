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

"""Header backups, sealed with a passphrase of the operator's.

A sealed backup is, in this order: eight letters and a version, which name the
form; the length of the *facts*; the facts, JSON that everybody may read: which
image's header it is, of when, and how the key is derived; a nonce; the header
backup without the zeros at its end, which are most of one of LUKS2, encrypted
with AES-256-GCM, and its tag. All that is before the nonce
is bound to it, so that no backup can be passed off as that of another image,
or of another time.

scrypt stretches the passphrase once for all backups with the same salt. HKDF
with SHA-256 derives from that a key for each backup, by a salt of its own, and
a *check*, by which a wrong passphrase is told from damage.

Source: RFC 7914 (scrypt); RFC 5869 (HKDF); NIST SP 800-38D (GCM).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hmac
import json
import os
import struct
from typing import Any, Callable, Dict

from cryptography import exceptions as crypto_exceptions
from cryptography.hazmat.primitives.ciphers import aead
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf import hkdf
from cryptography.hazmat.primitives.kdf import scrypt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits

MAGIC = b"RBDLUKHB"

#: The one form that there is.
VERSION = 1

#: How scrypt stretches: 128 MiB, about half a second, once for a run.
COST = 17

#: Costs that are believed; the greatest takes 1 GiB.
_COSTS = range(10, 21)

#: Magic, version, and bytes of the facts.
_START = struct.Struct(">8sHI")

#: More facts than these nobody writes.
_MAX_FACTS = 32768

#: Bytes that hold what :func:`read` reads.
MAX_START = _START.size + _MAX_FACTS

_SALT_BYTES = 32
_NONCE_BYTES = 12
_TAG_BYTES = 16
_CHECK_BYTES = 16

#: Bytes of the largest sealed one.
MAX_BYTES = MAX_START + _NONCE_BYTES + limits.MAX_BACKUP_BYTES + _TAG_BYTES

_INFO = f"rbd-luks header backup {VERSION}"


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a backup says of itself; to be believed when it is unsealed."""

    #: the pool, or POOL/NAMESPACE
    pool: str
    #: the image's name when the backup was made
    image: str
    #: see :func:`~os_brick_rbd_luks.image.base.image_id`
    image_id: str
    #: counts the backups of one image, from 1
    version: int
    #: as in ``2026-11-29T19:26:49Z``
    time: str
    #: the header's format and UUID
    type: str
    uuid: str
    #: bytes of the header backup, zeros at its end included
    size: int


@dataclasses.dataclass(frozen=True)
class Key:
    """A passphrase, stretched."""

    salt: bytes
    #: the logarithm of scrypt's N, to the base 2; r is 8, and p is 1
    cost: int
    stretched: bytes = dataclasses.field(repr=False)

    @property
    def check(self) -> bytes:
        """What tells it from the key of another passphrase."""
        return _derive(self.stretched, b"", f"{_INFO} check")[:_CHECK_BYTES]


def stretch(passphrase: bytes, *, salt: bytes = b"", cost: int = COST,
            random: Callable[[int], bytes] = os.urandom) -> Key:
    """The key of a passphrase.

    :param salt: of the backups to be opened; a new one by default
    :param cost: likewise
    :raises InvalidParameter: the passphrase is empty or too long
    """
    if not 0 < len(passphrase) <= limits.MAX_PASSPHRASE_BYTES:
        raise exception.InvalidParameter(
            name="passphrase length", value=len(passphrase),
            reason=f"is not between 1 and {limits.MAX_PASSPHRASE_BYTES}")
    salt = salt or random(_SALT_BYTES)
    return Key(salt, cost, scrypt.Scrypt(
        salt=salt, length=32, n=2 ** cost, r=8, p=1).derive(passphrase))


@dataclasses.dataclass(frozen=True)
class Sealed:
    """The beginning of a sealed backup: what everybody may read."""

    facts: Facts
    #: scrypt's
    salt: bytes
    cost: int
    check: bytes
    #: HKDF's
    own_salt: bytes
    #: bytes that are bound to what is sealed, and that come before it
    clear: bytes

    def matches(self, key: Key) -> bool:
        """Whether it was sealed with that passphrase, as far as it says."""
        return (self.salt == key.salt and self.cost == key.cost
                and hmac.compare_digest(self.check, key.check))


def seal(data: bytes, facts: Facts, key: Key, *,
         random: Callable[[int], bytes] = os.urandom) -> bytes:
    """Seal a header backup.

    :param data: as :func:`~os_brick_rbd_luks.headers.header_backup.backup`
        gives it
    """
    own_salt, nonce = random(_SALT_BYTES), random(_NONCE_BYTES)
    text = json.dumps({
        **dataclasses.asdict(facts), "scrypt_salt": _base64(key.salt),
        "scrypt_cost": key.cost, "check": _base64(key.check),
        "salt": _base64(own_salt)}).encode("ascii")
    clear = _START.pack(MAGIC, VERSION, len(text)) + text
    return clear + nonce + aead.AESGCM(
        _derive(key.stretched, own_salt, _INFO)).encrypt(
            nonce, without_zeros(data), clear)


def read(data: bytes) -> Sealed:
    """What everybody may read of a sealed backup.

    :param data: the backup, or its first :data:`MAX_START` bytes
    :raises BackupNotReadable: it is none, or none of a form that we know
    """
    if len(data) < _START.size or not data.startswith(MAGIC):
        raise _unreadable("it is no sealed header backup")
    _magic, version, length = _START.unpack_from(data)
    if version != VERSION:
        raise _unreadable(f"it is of version {version}, and we know version "
                          f"{VERSION}; use a newer os-brick-rbd-luks")
    clear = data[:_START.size + length]
    if length > _MAX_FACTS or len(clear) < _START.size + length:
        raise _unreadable("it was cut off or changed")
    try:
        found = json.loads(clear[_START.size:].decode("ascii"))
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _unreadable("it was changed")
    cost = _number(found, "scrypt_cost")
    if cost not in _COSTS:
        raise _unreadable(f"its scrypt_cost is {cost}, not between "
                          f"{_COSTS[0]} and {_COSTS[-1]}")
    size = _number(found, "size")
    if size > limits.MAX_BACKUP_BYTES:
        raise _unreadable(f"its size is {size}, and no header is larger than "
                          f"{limits.MAX_BACKUP_BYTES}")
    facts = Facts(
        _text(found, "pool"), _text(found, "image"),
        _text(found, "image_id"), _number(found, "version"),
        _text(found, "time"), _text(found, "type"), _text(found, "uuid"),
        size)
    return Sealed(facts, _binary(found, "scrypt_salt", _SALT_BYTES), cost,
                  _binary(found, "check", _CHECK_BYTES),
                  _binary(found, "salt", _SALT_BYTES), clear)


def unseal(data: bytes, key: Key) -> bytes:
    """The header backup that :func:`seal` was given.

    :param data: all of it
    :param key: by the salt and the cost that :func:`read` gives
    :raises WrongBackupPassphrase: it is sealed with another passphrase
    :raises BackupNotReadable: it was changed or cut off
    """
    return unseal_used(data, key).ljust(read(data).facts.size, b"\0")


def unseal_used(data: bytes, key: Key) -> bytes:
    """What :func:`unseal` gives, without the zeros at its end.

    :param data: all of it
    :param key: by the salt and the cost that :func:`read` gives
    :raises WrongBackupPassphrase: it is sealed with another passphrase
    :raises BackupNotReadable: it was changed or cut off
    """
    sealed = read(data)
    if not sealed.matches(key):
        raise exception.WrongBackupPassphrase()
    rest = data[len(sealed.clear):]
    if len(rest) < _NONCE_BYTES + _TAG_BYTES:
        raise _unreadable("it was cut off")
    try:
        return aead.AESGCM(
            _derive(key.stretched, sealed.own_salt, _INFO)).decrypt(
                rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], sealed.clear)
    except crypto_exceptions.InvalidTag:
        raise _unreadable("it was cut off or changed") from None


def without_zeros(data: bytes) -> bytes:
    """*data* up to its last byte that is not zero.

    By blocks: ``rstrip`` alone looks at 16 MiB a byte at a time.
    """
    zeros, end = bytes(65536), len(data)
    while data[max(end - len(zeros), 0):end] == zeros:
        end -= len(zeros)
    return data[:end].rstrip(b"\0")


def _derive(stretched: bytes, salt: bytes, info: str) -> bytes:
    return hkdf.HKDF(algorithm=hashes.SHA256(), length=32, salt=salt,
                     info=info.encode()).derive(stretched)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _text(found: Dict[str, Any], name: str) -> str:
    value = found.get(name)
    if not isinstance(value, str):
        raise _unreadable(f"it has no {name}")
    return value


def _number(found: Dict[str, Any], name: str) -> int:
    value = found.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise _unreadable(f"it has no {name}")
    return value


def _binary(found: Dict[str, Any], name: str, length: int) -> bytes:
    try:
        data = base64.b64decode(_text(found, name), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != length:
        raise _unreadable(f"it has no {name}")
    return data


def _unreadable(reason: str) -> exception.BackupNotReadable:
    return exception.BackupNotReadable(reason=reason)
