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

Source: QEMU ``block/crypto.c`` and ``crypto/block-luks.c``; librbd
``crypto/luks/LoadRequest.cc`` (ciphers, alignment from Ceph 18 on) and
``crypto/LoadRequest.cc`` (journaling); all three tried on real volumes.
"""

from __future__ import annotations

import dataclasses
from typing import Dict, Optional

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks2 import header as luks2

#: The hashes that QEMU has for LUKS (``qcrypto_hash``), in every release.
_QEMU_HASHES = ("md5", "sha1", "sha224", "sha256", "sha384", "sha512",
                "ripemd160")

#: Why librbd is not used, see
#: :attr:`~os_brick_rbd_luks.image.base.Librbd.knows_interleaving`.
INTERLEAVED = ("librbd garbles data where a stripe unit is smaller than the "
               "object and there is more than one object to a stripe")

#: The ciphers librbd has (``crypto/CryptoLoadRequest``): AES-128 and -256.
_LIBRBD_CIPHER = "aes-xts-plain64"


@dataclasses.dataclass(frozen=True)
class Host:
    """What this host has: why a program cannot be used, None if it can."""

    qemu: Optional[str]
    #: one without encryption cannot be used, either; of no meaning for what
    #: is no RBD image
    librbd: base.Librbd
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

    @classmethod
    def of(cls, image: base.Image) -> Store:
        """The facts of an open image."""
        return cls(image.is_rbd, "journaling" in image.features(),
                   image.stripe_period(), image.is_deep_clone(),
                   image.interleaves())


def fails_on_deep_clones(header: header_io.Header, librbd: base.Librbd
                         ) -> bool:
    """Whether nothing can read
    :meth:`~os_brick_rbd_luks.image.base.Image.is_deep_clone` ones.

    Only librbd reads LUKS2.
    """
    return (header.type == "luks2" and librbd.encrypts
            and not librbd.reads_deep_clones)


def engines(header: header_io.Header, store: Store,
            host: Host) -> Dict[str, Optional[str]]:
    """Program -> why it cannot open the volume here, None if it can."""
    return {
        "qemu": host.qemu or qemu_refusal(header),
        "librbd": librbd_reason(header, store, host.librbd),
        "cryptsetup": host.cryptsetup or _clone_refusal(header),
    }


def qemu_refusal(header: header_io.Header) -> Optional[str]:
    """Why QEMU's luks driver refuses the volume, if it does."""
    if header.type != "luks1":
        return "QEMU's luks driver knows only LUKS1"
    if header.cipher_spec not in cipher.SUPPORTED:
        return f"not known for cipher {header.cipher_spec}"
    if header.hash_name not in _QEMU_HASHES:
        return f"QEMU's luks driver has no hash {header.hash_name}"
    for slot in header.keyslots:
        if slot.damage:
            return ("QEMU's luks driver refuses a header with a damaged "
                    f"keyslot: {slot.number}")
    return _clone_refusal(header)


def _clone_refusal(header: header_io.Header) -> Optional[str]:
    if header.clone:
        return "only librbd knows the own header of a clone"
    return None


def librbd_reason(header: header_io.Header, store: Store,
                  librbd: base.Librbd) -> Optional[str]:
    """Why *librbd* cannot open the volume, if it cannot."""
    if not store.is_rbd:
        return "it is not an RBD image"
    if not librbd.encrypts:
        return "librbd with encryption (Ceph 16 or newer) is not installed"
    if header.cipher_spec != _LIBRBD_CIPHER:
        return f"librbd has no cipher {header.cipher_spec}"
    if store.journaling:
        return "librbd has no encryption with the journaling feature"
    if header.clone and not librbd.loads_layers:
        return "the own header of a clone needs librbd of Ceph 18 or newer"
    if store.deep_clone and not librbd.reads_deep_clones:
        return (f"{librbd} fails on clones of clones, and on those that are "
                "larger than their source")
    if store.interleaves and not librbd.knows_interleaving:
        return INTERLEAVED
    if odd_payload(header):
        return "librbd does not know such a payload: " + odd_payload(header)
    if (librbd.needs_alignment
            and header.data_offset % store.stripe_period):
        return (f"the payload at {header.data_offset} is not aligned to the "
                f"stripe period of {store.stripe_period} bytes")
    return None


def odd_payload(header: header_io.Header) -> str:
    """What neither librbd nor we know of a payload, empty for a usual one."""
    if not isinstance(header, luks2.Luks2Header):
        return ""
    if header.metadata.requirements:
        return "requirement " + ascii(header.metadata.requirements[0])
    if len(header.metadata.segments) > 1:
        return "several segments"
    if header.segment.integrity:
        return "with integrity"
    if header.segment.iv_tweak:
        return f"IVs that begin with {header.segment.iv_tweak}"
    if header.segment.size is not None:
        return "of a fixed size"
    return ""
