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

"""How much memory this process gives to the derivations of passphrases.

A header says what its KDF takes, and anybody may have written it: a volume
made of a user's image has the user's header. Argon2 takes up to 2 GiB, so a
service that opens some such volumes at the same time would have none left.
So they wait for each other, and a service may allow less for each.

They wait in native threads: see
:mod:`~os_brick_rbd_luks.image.native_threads`. Who has a place derives, and
waits for nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any, Iterator, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits

#: KiB that can be allowed at least: what Argon2 takes for as many threads as
#: there may be.
_LEAST_KIB = kdfs.ARGON2_MIN_KIB_PER_CPU * limits.MAX_ARGON2_CPUS


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What derivations of Argon2 may take."""

    #: KiB for each of them
    memory_kib: int = limits.MAX_ARGON2_MEMORY_KIB
    #: how many run at the same time
    at_a_time: int = 2


class _Places:
    """As many as may derive at the same time."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        # What a queue of Python's own has is taken by one native thread each.
        self._free: Any = native_threads.original("queue").SimpleQueue()
        for _number in range(bounds.at_a_time):
            self._free.put(None)

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        self._free.get()
        try:
            yield
        finally:
            self._free.put(None)


_places = _Places(Bounds())


def bound(bounds: Bounds) -> None:
    """Let *bounds* hold from now on, for the whole process.

    What derives already goes on, and is not counted any more.

    :raises InvalidParameter: more than a header may ask for, or nothing
    """
    global _places
    for name, value, least, most in (
            ("Argon2 memory in KiB", bounds.memory_kib, _LEAST_KIB,
             limits.MAX_ARGON2_MEMORY_KIB),
            ("derivations at a time", bounds.at_a_time, 1, 1024)):
        if not least <= value <= most:
            raise exception.InvalidParameter(
                name=name, value=value,
                reason=f"is not between {least} and {most}")
    if bounds != _places.bounds:
        _places = _Places(bounds)


def check(kdf: Optional[kdfs.KDF]) -> None:
    """Refuse a derivation that takes more than is allowed here.

    :raises HeaderLimitExceeded: naming what it takes
    """
    if isinstance(kdf, kdfs.Argon2):
        limits.check("Argon2 memory in KiB", kdf.cost.memory_kib,
                     _places.bounds.memory_kib)


def affords(kdf: Optional[kdfs.KDF]) -> bool:
    """Whether :func:`check` does not refuse it."""
    try:
        check(kdf)
    except exception.HeaderLimitExceeded:
        return False
    return True


@contextlib.contextmanager
def place(kdf: Optional[kdfs.KDF]) -> Iterator[None]:
    """Wait until a derivation may begin; what runs in the context is one.

    PBKDF2 takes no memory, and does not wait.
    """
    if not isinstance(kdf, kdfs.Argon2):
        yield
        return
    with _places.one():
        yield
