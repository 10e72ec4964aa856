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
"""Who decrypts a volume while its data is copied: librbd, QEMU or Python.

librbd where it can: it knows holes, and all formats. Else QEMU's luks driver,
and where data comes from a pipe, which neither of them reads, Python.
"""

from __future__ import annotations

import logging
from typing import Callable, List, Optional, Sequence, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import qemu_luks
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import chain
from os_brick_rbd_luks.layers import plaintext

LOG = logging.getLogger(__name__)

#: Gives the passphrase that has a key manager's id.
Fetch = Callable[[str], bytes]

#: A volume as plain text, decrypted by librbd or by Python.
View = Union[base.RBDImage, plaintext.Plaintext]

#: Header type -> QEMU's name of it in its rbd driver.
_FORMATS = {"luks1": "luks", "luks2": "luks2"}


def no_keys(key_id: str) -> bytes:
    """A :data:`Fetch` for those who have no key manager.

    :raises OperationRefused: always
    """
    raise exception.OperationRefused(
        reason=f"librbd needs key {key_id or 'of its source'} as well to "
               "read what it has of its parent; flatten it first, or name "
               "the key manager that has the key")


def refuse_ignored(header: header_io.Header, keyslot: Optional[int]) -> None:
    """Refuse a keyslot that whoever reads the data would not try.

    :param keyslot: the one that is named, None if any will do
    :raises KeyslotNotFound: it is not in use
    :raises InvalidParameter: its priority is 0
    """
    if keyslot is not None and header.keyslot(keyslot).priority == 0:
        raise exception.InvalidParameter(
            name="keyslot", value=keyslot,
            reason="is of priority ignore, and librbd, which reads the data, "
                   "tries no such keyslot; change that with 'cryptsetup "
                   "config --priority normal'")


def lacks_keys(image: base.RBDImage, header: header_io.Header) -> bool:
    """Whether librbd cannot read a clone for want of keys, and others can.

    A re-keyed LUKS1 clone has the volume key of its source. QEMU's luks
    driver, and Python, know nothing of layers.
    """
    return (qemu_luks.refusal(header) is None
            and chain.UNKNOWN in chain.needed(image))


def below(image: base.RBDImage, header: header_io.Header, fetch: Fetch
          ) -> List[bytes]:
    """The passphrases of the layers below *image* that librbd asks for.

    None of them, if it lacks one and is not to read the image.
    """
    if lacks_keys(image, header):
        return []
    return _passphrases(image, chain.needed(image), fetch)


def _passphrases(image: base.RBDImage, keys: List[str], fetch: Fetch
                 ) -> List[bytes]:
    with exception.about(image.name):
        return [fetch(key) if key != chain.UNKNOWN else no_keys(key)
                for key in keys]


def _librbd_reason(image: base.RBDImage, header: header_io.Header
                   ) -> Optional[str]:
    """Why the librbd of *image* cannot decrypt it, None if it can."""
    return engines.librbd_reason(header, engines.Store.of(image),
                                 image.librbd)


def block_options(options: base.BlockOptions, image: base.RBDImage,
                  header: header_io.Header, passphrase: bytes,
                  fetch: Fetch = no_keys) -> base.BlockOptions:
    """How QEMU opens a volume as plain text.

    :param options: how it opens the image as it is
    :param image: the same image, open
    :raises UnsupportedHeader: it cannot
    :raises OperationRefused: a passphrase of a layer below is not known
    """
    reason = _librbd_reason(image, header)
    qemu = qemu_luks.refusal(header)
    keys = [] if reason else chain.needed(image)
    # QEMU's own driver reads a re-keyed clone with its own passphrase.
    if reason is None and not (qemu is None and keys):
        layers = [passphrase, *_passphrases(image, keys, fetch)]
        found, prefix = dict(options), "encrypt."
        for number, value in enumerate(layers):
            found[f"{prefix}format"] = ("luks-any" if number
                                        else _FORMATS[header.type])
            found[f"{prefix}key-secret"] = base.Secret(value)
            prefix += "parent."
        return found
    if qemu is None:
        return {"driver": "luks", "key-secret": base.Secret(passphrase),
                **{f"file.{name}": value for name, value in options.items()}}
    raise exception.UnsupportedHeader(
        what=f"copying the data of {image.name}",
        supported=f"what librbd ({reason}) or QEMU ({qemu}) opens")


def open_view(image: base.RBDImage, header: header_io.Header,
              passphrase: bytes, passphrases_below: Sequence[bytes],
              opened: Optional[unlocking.Unlocked] = None) -> View:
    """Read and write a volume as plain text by *image* itself.

    Afterwards *image* is plain text, if librbd decrypts.

    :param opened: what *passphrase* has opened, or Python opens it, too
    """
    reason = _librbd_reason(image, header)
    if reason is None and lacks_keys(image, header):
        reason = "the key of the volume that it is a clone of is not known"
    if reason is None:
        image.load_encryption(header.type, passphrase, *passphrases_below)
        return image
    LOG.warning("%s: decrypted by Python, which is slow: %s", image.name,
                reason)
    return plaintext.Plaintext(
        image, opened or unlocking.unlock_header(image, header, passphrase))
