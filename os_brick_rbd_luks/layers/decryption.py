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
and where data comes from a pipe, which neither of them reads, Python. Python
also reads clones with a librbd that would damage this process when it closes
them (:attr:`.capabilities.Librbd.closes_clones`).
"""

from __future__ import annotations

import logging
from typing import List, Optional, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import qemu_luks
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.layers import sealed

LOG = logging.getLogger(__name__)

#: A volume as plain text, decrypted by librbd or by Python.
View = Union[base.RBDImage, plaintext.Plaintext]

#: Header type -> QEMU's name of it in its rbd driver.
_FORMATS = {"luks1": "luks", "luks2": "luks2"}


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


def below(image: base.RBDImage, header: header_io.Header,
          passphrase: bytes, opened: Optional[unlocking.Unlocked] = None
          ) -> List[bytes]:
    """The passphrases of the layers below *image* that librbd asks for.

    :param header: of *image*, which *passphrase* opens
    :param opened: what it has opened, by who has tried
    :raises WrongPassphrase: it does not, and there are layers below
    :raises LayersNotReadable: what is sealed in it was changed
    """
    found = sealed.needed(image, header)
    if not found.count:
        return []
    return found.passphrases(
        opened or unlocking.unlock_header(image, header, passphrase),
        passphrase)


def block_options(options: base.BlockOptions, image: base.RBDImage,
                  header: header_io.Header, passphrase: bytes
                  ) -> base.BlockOptions:
    """How QEMU opens a volume as plain text.

    :param options: how it opens the image as it is
    :param image: the same image, open
    :raises UnsupportedHeader: it cannot
    :raises LayersNotReadable: see :func:`below`
    """
    reason = engines.librbd_reason(header, engines.Store.of(image),
                                   image.librbd)
    qemu = qemu_luks.refusal(header)
    # QEMU's own driver reads a re-keyed clone with its own passphrase. A clone
    # that librbd should not close is closed once, where QEMU's process ends.
    if reason is None and not (
            qemu is None and sealed.needed(image, header).count):
        found, prefix = dict(options), "encrypt."
        for number, value in enumerate(
                [passphrase, *below(image, header, passphrase)]):
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
              passphrase: bytes, opened: Optional[unlocking.Unlocked] = None
              ) -> View:
    """Read and write a volume as plain text by *image* itself.

    Afterwards *image* is plain text, if librbd decrypts.

    :param opened: what *passphrase* has opened, by who has tried
    """
    store = engines.Store.of(image)
    unread = engines.librbd_reason(header, store, image.librbd)
    reason = unread or engines.closing_reason(store, image.librbd)
    if reason is None:
        image.load_encryption(header.type, passphrase,
                              *below(image, header, passphrase, opened))
        return image
    LOG.warning("%s: decrypted by Python, which is slow: %s", image.name,
                reason)
    return plaintext.Plaintext(
        image, opened or unlocking.unlock_header(image, header, passphrase),
        # In place of librbd, as it shows them.
        holes=None if unread else True)
