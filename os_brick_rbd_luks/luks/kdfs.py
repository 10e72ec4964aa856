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

Source: RFC 8018 section 5.2 (PBKDF2), which LUKS1 uses throughout; RFC 9106
(Argon2, version 0x13), which LUKS2 knows as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Optional, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits

#: Hashes we write headers with, and those we read.
WRITABLE_HASHES = ("sha256", "sha512")
READABLE_HASHES = ("sha1", "sha224", "sha256", "sha384", "sha512")

#: The least that LUKS1 allows. It is the default: a key manager's key is
#: 256 random bits, which stretching cannot make harder to guess.
MIN_ITERATIONS = 1000

#: The least that Argon2 takes: KiB for each lane, and bytes of salt.
ARGON2_MIN_KIB_PER_CPU = 8
ARGON2_MIN_SALT = 8


def check_hash(name: str, writing: bool = False) -> None:
    """Refuse a hash that we cannot read, or do not write.

    :raises UnsupportedHeader: with what is supported
    """
    supported = WRITABLE_HASHES if writing else READABLE_HASHES
    if name not in supported:
        raise exception.UnsupportedHeader(
            what=f"hash {name}", supported=", ".join(supported))


def check_new(passphrase: bytes, iterations: int,
              argon2: Optional[Argon2Cost] = None) -> None:
    """Refuse what no keyslot is made of.

    :param argon2: of Argon2 instead of PBKDF2
    :raises InvalidParameter: passphrase length, iterations or cost
    """
    if not 0 < len(passphrase) <= limits.MAX_PASSPHRASE_BYTES:
        raise exception.InvalidParameter(
            name="passphrase length", value=len(passphrase),
            reason=f"is not between 1 and {limits.MAX_PASSPHRASE_BYTES}")
    bounds = [("iterations", iterations, MIN_ITERATIONS,
               limits.MAX_ITERATIONS)]
    if argon2 is not None:
        least = ARGON2_MIN_KIB_PER_CPU * argon2.cpus
        bounds = [
            ("Argon2 threads", argon2.cpus, 1, limits.MAX_ARGON2_CPUS),
            ("Argon2 memory in KiB", argon2.memory_kib, least,
             limits.MAX_ARGON2_MEMORY_KIB),
            ("Argon2 passes", argon2.time, 1,
             limits.MAX_ARGON2_WORK_KIB // max(argon2.memory_kib, 1))]
    for name, value, least, most in bounds:
        if not least <= value <= most:
            raise exception.InvalidParameter(
                name=name, value=value,
                reason=f"is not between {least} and {most}")


def check_cost(kdf: KDF) -> None:
    """Refuse a derivation that a hostile header made dear.

    :raises HeaderLimitExceeded: it takes too much time or memory
    :raises UnsupportedHeader: Argon2 that no library computes
    """
    if isinstance(kdf, Pbkdf2):
        limits.check("iterations", kdf.iterations, limits.MAX_ITERATIONS)
        return
    cost = kdf.cost
    limits.check("Argon2 threads", cost.cpus, limits.MAX_ARGON2_CPUS)
    limits.check("Argon2 memory in KiB", cost.memory_kib,
                 limits.MAX_ARGON2_MEMORY_KIB)
    limits.check("Argon2 passes", cost.time,
                 limits.MAX_ARGON2_WORK_KIB // max(cost.memory_kib, 1))
    least = ARGON2_MIN_KIB_PER_CPU * cost.cpus
    if cost.memory_kib < least:
        raise exception.UnsupportedHeader(
            what=f"Argon2 with {cost.memory_kib} KiB for {cost.cpus} threads",
            supported=f"at least {least} KiB")


def pbkdf2(hash_name: str, passphrase: bytes, salt: bytes, iterations: int,
           length: int) -> bytes:
    """Stretch *passphrase* into *length* bytes.

    Releases the interpreter's lock while it works.

    :raises UnsupportedHeader: a hash that we do not read
    """
    check_hash(hash_name)
    return hashlib.pbkdf2_hmac(hash_name, passphrase, salt, iterations,
                               length)


@dataclasses.dataclass(frozen=True)
class Argon2Cost:
    """What a try of a passphrase costs with Argon2."""

    #: passes over the memory
    time: int
    memory_kib: int
    #: threads
    cpus: int


def argon2(variant: str, passphrase: bytes, salt: bytes, cost: Argon2Cost,
           length: int) -> bytes:
    """Stretch *passphrase* into *length* bytes.

    Releases the interpreter's lock while it works.

    :param variant: ``argon2i`` or ``argon2id``
    :raises MissingDependency: argon2-cffi is not installed
    :raises MemoryError: there is less than the cost asks for
    """
    try:
        from argon2 import exceptions
        from argon2 import low_level
    except ImportError as error:
        raise exception.MissingDependency(
            name="argon2-cffi", package="argon2-cffi") from error
    kind = {"argon2i": low_level.Type.I, "argon2id": low_level.Type.ID}
    try:
        return bytes(low_level.hash_secret_raw(
            passphrase, salt, time_cost=cost.time,
            memory_cost=cost.memory_kib, parallelism=cost.cpus,
            hash_len=length, type=kind[variant], version=0x13))
    except exceptions.HashingError as error:
        # All else that it refuses was refused when the cost was read.
        raise MemoryError(str(error)) from None


@dataclasses.dataclass(frozen=True)
class Pbkdf2:
    """PBKDF2 with all but the passphrase."""

    hash_name: str
    iterations: int
    salt: bytes

    @property
    def name(self) -> str:
        """As LUKS2 and users spell it."""
        return "pbkdf2"

    def derive(self, passphrase: bytes, length: int) -> bytes:
        """See :func:`pbkdf2`."""
        return pbkdf2(self.hash_name, passphrase, self.salt,
                      self.iterations, length)


@dataclasses.dataclass(frozen=True)
class Argon2:
    """Argon2 with all but the passphrase."""

    #: ``argon2i`` or ``argon2id``
    name: str
    cost: Argon2Cost
    salt: bytes

    def derive(self, passphrase: bytes, length: int) -> bytes:
        """See :func:`argon2`."""
        return argon2(self.name, passphrase, self.salt, self.cost, length)


KDF = Union[Pbkdf2, Argon2]
