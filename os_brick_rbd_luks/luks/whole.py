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

"""A header and its keyslot areas as one piece of bytes.

That is a header backup as ``cryptsetup luksHeaderBackup`` writes it, and what
an image with the same keyslots begins with. It has zeros between the areas:
what lies there on an image may be the remains of something else.

Source: cryptsetup-luksHeaderBackup(8), tried.
"""

from __future__ import annotations

from typing import Dict, Mapping, Protocol, Tuple

from os_brick_rbd_luks.luks import keyslot_views

Areas = Dict[int, bytes]


class Header(Protocol):
    """What it depends on of a header."""

    @property
    def keyslots(self) -> Tuple[keyslot_views.Keyslot, ...]:
        """The keyslots that have an area."""

    @property
    def keyslots_end(self) -> int:
        """The first byte behind all keyslot areas."""

    def pack(self) -> bytes:
        """The bytes of the header, all copies."""


def join(header: Header, areas: Mapping[int, bytes]) -> bytes:
    """The ``keyslots_end`` bytes that a volume with that header begins with.

    :param areas: bytes of the area of each of its keyslots, by number
    """
    return used(header, areas).ljust(header.keyslots_end, b"\0")


def used(header: Header, areas: Mapping[int, bytes]) -> bytes:
    """What :func:`join` gives, up to the end of the last keyslot's area.

    The zeros behind it are most of a header of LUKS2: 16 MiB of which half a
    megabyte is used.

    :param areas: as :func:`join` takes them
    """
    packed = header.pack()
    data = bytearray(max([len(packed), *(
        slot.offset + slot.length for slot in header.keyslots)]))
    data[:len(packed)] = packed
    for slot in header.keyslots:
        area = areas[slot.number]
        if len(area) != slot.length:
            raise ValueError(f"the area of keyslot {slot.number} has "
                             f"{slot.length} bytes, not {len(area)}")
        data[slot.offset:slot.offset + slot.length] = area
    return bytes(data)


def areas(header: Header, data: bytes) -> Areas:
    """The area of each keyslot of *header* in use, by number.

    :param data: the ``keyslots_end`` bytes that the volume begins with; the
        areas behind the end of fewer are cut off
    """
    return {slot.number: data[slot.offset:slot.offset + slot.length]
            for slot in header.keyslots}
