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

"""What every native attachment does first: read the header, or make one."""

from __future__ import annotations

import logging
from typing import Any, Callable, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)

#: What all keyslots together may cost for a passphrase to be tried when a
#: volume is attached: milliseconds. Where it would take
#: seconds, whoever decrypts the volume does the same work right after.
CHEAP = 10_000

#: Tells how a header is made, if one has to be made: a volume that has one is
#: whatever its header says, though its type may have changed since.
FormatOptions = Callable[[], formatting.Options]


def opened(image: base.Image, passphrase: bytes,
           format_options: FormatOptions
           ) -> Tuple[Any, Optional[unlocking.Unlocked]]:
    """The header of an image; a blank image gets one.

    As upstream's encryptors do for a new volume, but only for one that is
    provably blank: nothing was ever written to it.

    :param image: open for writing, or it will not be formatted
    :returns: and what *passphrase* opens, if that is cheap to know
    :raises WrongPassphrase: it opens no keyslot, if that is cheap to know
    :raises OperationRefused: there is no header, but data
    :raises HeaderError: a header that we cannot use
    """
    try:
        found = header_io.read_header(image)
    except exception.NotLuks:
        return _format(image, passphrase, format_options), None
    if sum(slot.cost for slot in found.keyslots) > CHEAP:
        return found, None
    return found, unlocking.unlock_header(image, found, passphrase)


def _format(image: base.Image, passphrase: bytes,
            format_options: FormatOptions) -> Any:
    try:
        made = formatting.format_image(image, passphrase, format_options())
    except exception.ImageNotEmpty:
        raise exception.OperationRefused(
            reason="it has no LUKS header and holds data, so it is not "
                   "formatted; restore its header with 'rbd-luks header "
                   "restore'") from None
    LOG.warning("%s: the image was blank and is formatted now; the guest "
                "sees %d bytes, %d fewer than the image has", image.name,
                image.size() - made.data_offset, made.data_offset)
    return made
