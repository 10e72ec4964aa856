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

"""Which programs can open a volume, and why not.

Source: librbd ``crypto/luks/LoadRequest.cc`` (ciphers, alignment and the mark
of a clone from Ceph 18 on), ``crypto/LoadRequest.cc`` (journaling); what is
said of all three is compared with them by ``tests/claims.py``.
"""

from __future__ import annotations

import dataclasses
from typing import cast, Dict, Optional

from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import libcryptsetup
from os_brick_rbd_luks.headers import qemu_luks
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks2 import header as luks2

#: Why librbd is not used, see
#: :attr:`~os_brick_rbd_luks.image.capabilities.Librbd.knows_interleaving`.
INTERLEAVED = ("librbd garbles data where a stripe unit is smaller than the "
               "object and there is more than one object to a stripe")

#: The ciphers librbd has (``crypto/CryptoLoadRequest``): AES-128 and -256.
LIBRBD_CIPHER = "aes-xts-plain64"
_LIBRBD_KEY_BITS = (256, 512)

_TWO_MARKS = "one copy has the mark of a clone, the other is damaged"


@dataclasses.dataclass(frozen=True)
class Host:
    """What this host has: why a program cannot be used, None if it can."""

    qemu: Optional[str]
    #: one without encryption cannot be used, either; of no meaning for what
    #: is no RBD image
    librbd: capabilities.Librbd
    cryptsetup: Optional[str]


@dataclasses.dataclass(frozen=True)
class Store:
    """What matters of the image besides its header."""

    is_rbd: bool
    journaling: bool
    #: bytes
    stripe_period: int
    #: see :meth:`~os_brick_rbd_luks.image.base.Image.is_deep_clone`
    deep_clone: bool = False
    #: see :meth:`~os_brick_rbd_luks.image.base.Image.interleaves`
    interleaves: bool = False
    #: whether it shares data with a parent
    has_parent: bool = False
    #: bytes, None if it is of no interest
    size: Optional[int] = None

    @classmethod
    def of(cls, image: base.Image) -> Store:
        """The facts of an open image."""
        return cls(image.is_rbd, "journaling" in image.features(),
                   image.stripe_period(), image.is_deep_clone(),
                   image.interleaves(), has_parent(image),
                   image.size() if image.is_rbd else None)


def has_parent(image: base.Image) -> bool:
    """Whether *image* shares data with a parent."""
    return image.is_rbd and cast(
        base.RBDImage, image).parent() is not None


def lost_parent(header: header_io.Header, store: Store) -> bool:
    """Whether a clone's own header has lost what it is a clone of.

    A header over a parent has a mark, which librbd takes away when it flattens
    the clone with all keys. Flattened or copied without them, the part of
    the payload that was the parent's is what it was there: plain text, or
    encrypted with a key that the image has not.
    """
    return header.clone and store.is_rbd and not store.has_parent


def fails_on_deep_clones(header: header_io.Header, librbd: capabilities.Librbd
                         ) -> bool:
    """Whether nothing can read
    :meth:`~os_brick_rbd_luks.image.base.Image.is_deep_clone` ones.

    Only librbd reads LUKS2.
    """
    return (header.type == "luks2" and librbd.encrypts
            and not librbd.reads_deep_clones)


def engines(header: header_io.Header, store: Store,
            host: Host) -> Dict[str, claim.Claim]:
    """What each program does with the volume here, given a passphrase."""
    return {
        "qemu": claim.no(host.qemu) if host.qemu else qemu_luks.opens(header),
        "librbd": librbd(header, store, host.librbd),
        "cryptsetup": (claim.no(host.cryptsetup) if host.cryptsetup
                       else cryptsetup(header)),
    }


def cryptsetup(header: header_io.Header) -> claim.Claim:
    """Whether cryptsetup opens the volume through a mapped device."""
    if header.clone:
        if _is_damaged(header):
            return claim.unknown(_TWO_MARKS)
        return claim.no("only librbd knows the own header of a clone")
    if (isinstance(header, luks2.Luks2Header) and header.ailment
            and header.ailment.version):
        return claim.no(f"it goes by the {header.ailment.which} copy, and "
                        f"{header.ailment.damage}")
    found = libcryptsetup.finds_key(header)
    if found.usable is False:
        return found
    if not is_one_run(header):
        return claim.unknown("see what cryptsetup says of such a payload: "
                             + odd_payload(header))
    if (header.cipher_spec not in cipher.SUPPORTED or (header.key_bits or 0)
            // 8 not in cipher.SUPPORTED[header.cipher_spec]):
        return claim.unknown(
            f"it depends on the host's kernel whether it has the cipher "
            f"{header.cipher_spec} with a key of {header.key_bits} bits")
    return found


def _is_damaged(header: header_io.Header) -> bool:
    """Whether one copy is; it may be without the mark of a clone."""
    return (isinstance(header, luks2.Luks2Header)
            and header.ailment is not None
            and header.ailment.damage is not None)


def librbd(header: header_io.Header, store: Store,
           installed: capabilities.Librbd) -> claim.Claim:
    """Whether librbd opens the volume."""
    reason = librbd_reason(header, store, installed)
    if reason:
        return claim.no(reason)
    if header.clone and _is_damaged(header):
        return claim.unknown(_TWO_MARKS)
    return libcryptsetup.finds_key(header)


def librbd_reason(header: header_io.Header, store: Store,
                  librbd: capabilities.Librbd) -> Optional[str]:
    """Why *librbd* cannot open the volume, if it cannot for sure."""
    if not store.is_rbd:
        return "it is not an RBD image"
    if not librbd.encrypts:
        return "librbd with encryption (Ceph 16 or newer) is not installed"
    if header.cipher_spec != LIBRBD_CIPHER:
        return f"librbd has no cipher {header.cipher_spec}"
    if header.key_bits not in _LIBRBD_KEY_BITS:
        return (f"librbd has no cipher {header.cipher_spec} with a key of "
                f"{header.key_bits} bits")
    if store.journaling:
        return "librbd has no encryption with the journaling feature"
    if header.clone and not librbd.loads_layers and not _is_damaged(header):
        return "the own header of a clone needs librbd of Ceph 18 or newer"
    if lost_parent(header, store) and not _is_damaged(header):
        return ("it has the mark of a clone, and no parent any more: "
                "flattened or copied without its keys")
    if store.deep_clone and not librbd.reads_deep_clones:
        return (f"{librbd} fails on clones of clones, and on those that are "
                "larger than their source")
    return _payload_reason(header, store, librbd)


def closing_reason(store: Store, librbd: capabilities.Librbd
                   ) -> Optional[str]:
    """Why a process that lives on should not let *librbd* decrypt the volume.

    Besides :func:`librbd_reason`: what it reads and writes is right.
    """
    if store.has_parent and not librbd.closes_clones:
        return (f"librbd, {librbd}, damages memory when it closes a clone "
                "that it has decrypted")
    return None


def _payload_reason(header: header_io.Header, store: Store,
                    librbd: capabilities.Librbd) -> Optional[str]:
    """Why *librbd* cannot read a payload where it is, if it cannot."""
    if store.interleaves and not librbd.knows_interleaving:
        return INTERLEAVED
    odd = odd_payload(header, store.size)
    if odd:
        return f"librbd does not know such a payload: {odd}"
    if header.data_offset % header.sector_size:
        return (f"librbd reads no payload at {header.data_offset}, which is "
                f"no multiple of its sectors of {header.sector_size} bytes")
    if (librbd.needs_alignment
            and header.data_offset % store.stripe_period):
        return (f"the payload at {header.data_offset} is not aligned to the "
                f"stripe period of {store.stripe_period} bytes")
    found = libcryptsetup.finds_key(header)
    return found.reason if found.usable is False else None


def is_one_run(header: header_io.Header) -> bool:
    """Whether it is what cryptsetup maps as one device without conditions."""
    if not isinstance(header, luks2.Luks2Header):
        return True
    return not (header.metadata.requirements
                or len(header.metadata.segments) > 1
                or header.segment.integrity
                or header.segment.encryption is None)


def odd_payload(header: header_io.Header,
                image_size: Optional[int] = None) -> str:
    """What neither librbd nor we know of a payload, empty for a usual one.

    :param image_size: bytes: a fixed size that goes up to its end, or beyond,
        is as good as none
    """
    if not isinstance(header, luks2.Luks2Header):
        return ""
    if header.metadata.requirements:
        return "requirement " + ascii(header.metadata.requirements[0])
    if len(header.metadata.segments) > 1:
        return "several segments"
    if header.segment.integrity:
        return "with integrity"
    if header.segment.encryption is None:
        return f"of type {header.segment.type}"
    if header.segment.iv_tweak:
        return f"IVs that begin with {header.segment.iv_tweak}"
    if header.segment.size is not None and (
            image_size is None
            or header.data_offset + header.segment.size < image_size):
        return "of a fixed size"
    return ""
