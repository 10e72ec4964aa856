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

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks.luks1 import header as luks1

#: The ciphers librbd has (``crypto/CryptoLoadRequest``): AES-128 and -256.
_LIBRBD_CIPHER = "aes-xts-plain64"


@dataclasses.dataclass(frozen=True)
class Host:
    """What this host has: why a program cannot be used, None if it can."""

    qemu: Optional[str]
    #: Ceph release of librbd's encryption (16, 18), None without one
    librbd: Optional[int]
    cryptsetup: Optional[str]


@dataclasses.dataclass(frozen=True)
class Store:
    """What matters of the image besides its header."""

    is_rbd: bool
    journaling: bool
    #: bytes
    stripe_period: int

    @classmethod
    def of(cls, image: base.Image) -> Store:
        """The facts of an open image."""
        return cls(not image.name.startswith("file:"),
                   "journaling" in image.features(), image.stripe_period())


def engines(header: luks1.Luks1Header, store: Store,
            host: Host) -> Dict[str, Optional[str]]:
    """Program -> why it cannot open the volume here, None if it can."""
    return {
        "qemu": host.qemu or _known_cipher(header),
        "librbd": librbd_reason(header, store, host.librbd),
        "cryptsetup": host.cryptsetup,
    }


def _known_cipher(header: luks1.Luks1Header) -> Optional[str]:
    if header.cipher_spec in cipher.SUPPORTED:
        return None
    return f"not known for cipher {header.cipher_spec}"


def librbd_reason(header: luks1.Luks1Header, store: Store,
                  release: Optional[int]) -> Optional[str]:
    """Why this host's librbd cannot open the volume, if it cannot.

    :param release: see :class:`Host`
    """
    if release is None:
        return "librbd with encryption (Ceph 16 or newer) is not installed"
    return librbd_refusal(header, store, release)


def librbd_refusal(header: luks1.Luks1Header, store: Store,
                   release: int) -> Optional[str]:
    """Why librbd of that Ceph *release* refuses the volume, if it does."""
    if not store.is_rbd:
        return "it is not an RBD image"
    if header.cipher_spec != _LIBRBD_CIPHER:
        return f"librbd has no cipher {header.cipher_spec}"
    if store.journaling:
        return "librbd has no encryption with the journaling feature"
    if release >= 18 and header.data_offset % store.stripe_period:
        return (f"the payload at {header.data_offset} is not aligned to the "
                f"stripe period of {store.stripe_period} bytes")
    return None
