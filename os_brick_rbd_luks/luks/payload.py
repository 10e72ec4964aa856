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

"""Where the payload of a volume may be moved to, in either format.

Its cipher text moves as it is: IVs count from the payload's start, so the
volume key and all keyslots stay what they are.

Source: LUKS1 On-Disk Format Specification 1.2.3, "payload-offset"; LUKS2
On-Disk Format Specification 1.1.4, "Segments Object".
"""

from __future__ import annotations

from typing import Protocol

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher


class Header(Protocol):
    """What it depends on of a header."""

    @property
    def clone(self) -> bool:
        """Whether it is the own header of a clone."""

    @property
    def keyslots_end(self) -> int:
        """The first byte behind all keyslot areas."""

    @property
    def sector_size(self) -> int:
        """Bytes of the payload's sectors."""


def check_offset(header: Header, data_offset: int, limit: int) -> None:
    """Refuse another data offset that *header* cannot have.

    :param data_offset: bytes
    :param limit: bytes, the first data offset that the format cannot say
    :raises InvalidParameter: it is none, with the reason
    :raises UnsupportedHeader: the payload cannot be moved alone
    """
    if header.clone:
        # Parts of the payload may be in the parent, with another key.
        raise exception.UnsupportedHeader(
            what="another data offset for the own header of a clone",
            supported="volumes that share no data with a parent; flatten "
                      "the clone first")
    unit = max(cipher.SECTOR, header.sector_size)
    for wrong, reason in (
            (data_offset % unit, f"is not a multiple of the payload's "
                                 f"sectors of {unit} bytes"),
            (data_offset < header.keyslots_end,
             f"lies before the end of the keyslot areas at "
             f"{header.keyslots_end}"),
            (data_offset >= limit, "is more than the header has room for")):
        if wrong:
            raise exception.InvalidParameter(
                name="data offset", value=data_offset, reason=reason)
