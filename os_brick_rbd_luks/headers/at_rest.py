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

"""Whether every byte a guest writes is encrypted, by what, and who can open
it.
"""

from __future__ import annotations

import dataclasses
from typing import List, Optional, Sequence

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.luks.luks2 import header as luks2

PLAIN = "plain"
ENCRYPTED = "encrypted"


@dataclasses.dataclass(frozen=True)
class AtRest:
    """The answer for one image."""

    #: None where it cannot be told
    encrypted: Optional[bool]
    #: why not, or why it cannot be told
    reason: Optional[str] = None
    #: as dm-crypt writes it, of the first part if there are several
    cipher: Optional[str] = None
    key_bits: Optional[int] = None
    #: how many keyslots a passphrase may open the volume with, by any program
    keyslots: int = 0
    #: how many tokens tell programs where to find such a passphrase
    tokens: int = 0
    #: what the layers below it are, the nearest first: ``plain``,
    #: ``encrypted`` or ``not known``; None where nobody has looked
    below: Optional[Sequence[str]] = None
    #: bytes that are encrypted with one IV
    sector_size: Optional[int] = None

    def __str__(self) -> str:
        """One line for people."""
        said = [{True: "yes", False: "no", None: "not known"}[self.encrypted]]
        if self.reason:
            said.append(self.reason)
        if self.cipher:
            bits = f" with {self.key_bits}-bit key" if self.key_bits else ""
            said.append(f"{self.cipher}{bits}")
            said.append(_count(self.keyslots, "keyslot")
                        + (f" and {_count(self.tokens, 'token')}"
                           if self.tokens else ""))
        if self.below:
            said.append("what it has not written itself is in layers below: "
                        + ", ".join(self.below))
        return "; ".join(said)


def _count(number: int, what: str) -> str:
    return f"{number or 'no'} {what}{'' if number == 1 else 's'}"


def of_plain(reason: str = "the image is plain") -> AtRest:
    """The answer for an image without a header."""
    return AtRest(False, reason)


def unknown(reason: str) -> AtRest:
    """The answer where the header says nothing that can be relied on."""
    return AtRest(None, reason)


def judge(header: header_io.Header, below: Optional[Sequence[str]] = None,
          lost_parent: bool = False) -> AtRest:
    """The answer for an image with *header*.

    :param below: see :attr:`AtRest.below`
    :param lost_parent: see
        :func:`~os_brick_rbd_luks.headers.engines.lost_parent`
    """
    reasons = [f"the cipher is {spec}, which encrypts nothing"
               for spec in _ciphers(header) if is_null(spec)]
    unsure = ["the parent of the clone that it was is lost, and what it had "
              "of that may be plain"] if lost_parent else []
    tokens = 0
    if isinstance(header, luks2.Luks2Header):
        tokens = len(header.metadata.tokens)
        reasons += _open(header)
        unsure += _unsure(header)
    encrypted = False if reasons else None if unsure else True
    return AtRest(
        encrypted, next(iter(reasons + unsure), None), header.cipher_spec,
        header.key_bits,
        sum(not slot.damage and slot.bound for slot in header.keyslots),
        tokens, below, header.sector_size)


def is_null(spec: str) -> bool:
    """Whether a cipher spec is that of the null cipher.

    Not one whose IVs are null, ``aes-cbc-null``.
    """
    return "null" in spec.split("-", 1)[0].lower()


def _ciphers(header: header_io.Header) -> List[str]:
    """Of all parts of the payload."""
    if not isinstance(header, luks2.Luks2Header):
        return [header.cipher_spec]
    return [segment.encryption
            for segment in header.metadata.segments.values()
            if segment.encryption is not None and not segment.backup]


def _open(header: luks2.Luks2Header) -> List[str]:
    """What lets everybody read a part of it."""
    found = [f"a part of it is plain (segment {number} is linear)"
             for number, segment in header.metadata.segments.items()
             if segment.type == "linear" and not segment.backup]
    return found + [
        f"keyslot {number} holds its key in plain text "
        f"({slot.area.encryption})"
        for number, slot in header.metadata.keyslots.items()
        if slot.area.encryption and is_null(slot.area.encryption)]


def _unsure(header: luks2.Luks2Header) -> List[str]:
    if header.metadata.requirements:
        return ["its header has the requirement " + ascii(
            header.metadata.requirements[0])]
    return [f"segment {number} is of a type that nobody defined"
            for number, segment in header.metadata.segments.items()
            if segment.type not in ("crypt", "linear")]
