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

"""What to say when a passphrase is set that QEMU takes from nobody.

It is no reason to refuse: librbd and cryptsetup open a volume with it.

QEMU's luks driver, which gives LUKS1 to guests, asks for UTF-8 without NUL.
Its rbd driver, by which librbd decrypts LUKS2, takes any bytes.

Source: QEMU ``crypto/secret_common.c`` (``qcrypto_secret_lookup_as_utf8``),
``crypto/block-luks.c``, ``block/rbd.c`` (``qemu_rbd_convert_luks_options``).
"""

from __future__ import annotations

import logging

from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io

LOG = logging.getLogger(__name__)


def is_text(passphrase: bytes) -> bool:
    """Whether QEMU's luks driver takes it: UTF-8 without NUL."""
    try:
        return "\0" not in passphrase.decode("utf-8")
    except UnicodeDecodeError:
        return False


def say(image: str, header: header_io.Header, passphrase: bytes) -> None:
    """Warn of a passphrase that was set, if QEMU does not take it.

    :param image: its name
    :param header: the one that it opens. The own header of a clone is nothing
        to QEMU's luks driver in any case
    """
    if header.type != "luks1" or header.clone or is_text(passphrase):
        return
    LOG.warning(
        "%s: the new passphrase is not UTF-8, or has a NUL, so QEMU's luks "
        "driver does not take it: %s; set another one with 'rbd-luks rekey'",
        image, "a guest opens the volume with it only where librbd decrypts"
        if header.cipher_spec == engines.LIBRBD_CIPHER else
        f"no guest opens the volume with it, for librbd has no cipher "
        f"{header.cipher_spec}; cryptsetup does")
