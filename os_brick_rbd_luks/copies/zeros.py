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

"""What a copy does with zeros: one value, decided once for each copy.

A guest has to read the same zeros in the copy. Zeros that are written take
space and time; what is left out is a *hole*, and what a hole reads as depends
on who reads it:

==========  ================================  ==============================
the copy    a hole is                         so zeros are
==========  ================================  ==============================
a file, or  zeros                             left out, in whole grains of
a plain                                       64 KiB: smaller ones are worth
image                                         no further request
LUKS1       noise to QEMU's luks driver;      written: any engine may read
            zeros or noise to librbd          it next
LUKS2       zeros to librbd where a whole     left out in grains of 64 KiB,
            object was never written; in an   if the OSDs were found to tell
            object with data only if OSDs     (``holes.stay_zeros``; the copy
            tell of holes, and are asked      gets the note that has them
            (``layers.holes``)                asked); else written
==========  ================================  ==============================

What the source never wrote need not be written where its own readers could
not rely on zeros there (:class:`Holes`). It is then left out by whole objects
of the copy: these are holes that read as those of the source did. A part of
one would be a hole in an object with data.

``thick`` writes all zeros: for a copy that programs will copy on which know
no holes.

Cipher text that is moved as it is has zeros for every hole, and no key is
there to encrypt zeros with. No cipher text of a sector is all zeros, so each
sector that is, is left out: a hole again, of whatever size. To write one as
zeros would make it noise to librbd.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from typing import Iterable, Iterator, Optional, Tuple

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import zero_runs
from os_brick_rbd_luks.luks import cipher

Extents = Iterable[Tuple[int, int]]


class Holes(enum.Enum):
    """What readers of a source find where nothing was written."""

    #: zeros, for all of them: a file, a plain image, or a volume that was
    #: made for the zeros of one
    ZEROS = enum.auto()
    #: zeros where a whole object is missing: LUKS2, which librbd reads
    OBJECTS = enum.auto()
    #: nothing that a guest could rely on: LUKS1, noise to QEMU
    NOISE = enum.auto()


@dataclasses.dataclass(frozen=True)
class Policy:
    """Which zeros of a copy are written; without arguments: all of them."""

    #: bytes; zeros that fill whole grains, counted from where the copy
    #: begins, are left out, and so is all that the source never wrote
    grain: Optional[int] = None
    #: bytes of the copy's stripe period; those in which the source never
    #: wrote anything are left out, and no other zeros
    period: Optional[int] = None
    #: bytes of the copy's image before its payload, see *period*
    data_offset: int = 0

    def touched(self, size: int, extents: Extents) -> Iterator[
            Tuple[int, int]]:
        """Offset and length of what is not left out as a whole.

        :param size: bytes of the source
        :param extents: where it may have data, in ascending order
        """
        if self.grain:
            yield from extents
        elif self.period:
            yield from self._periods(self.period, extents)
        else:
            yield 0, size

    def _periods(self, period: int, extents: Extents) -> Iterator[
            Tuple[int, int]]:
        first = -self.data_offset % period
        if first:
            # It shares an object with the header.
            yield 0, first
        for offset, length in extents:
            begin = offset + self.data_offset
            end = begin + length
            begin, end = begin - begin % period, end + -end % period
            yield begin - self.data_offset, end - begin

    def written(self, data: bytes) -> Iterator[Tuple[int, bytes]]:
        """What of *data* is written, with its offsets in it.

        :param data: that begins with a whole grain
        """
        if self.grain:
            return zero_runs.runs(data, self.grain)
        return iter(((0, data),))


#: All zeros are written.
WRITTEN = Policy()


def skipped(grain: Optional[int] = None) -> Policy:
    """Leave out whole grains of zeros, where the target reads as zeros.

    :param grain: bytes, :data:`~os_brick_rbd_luks.image.base.GRAIN` if None
    """
    return Policy(grain=grain or base.GRAIN)


def of_copy(target: Optional[header_io.Header], source: Holes, *, thick: bool,
            told: bool, period: int) -> Policy:
    """What to do in a copy of plain text.

    :param target: the copy's header, None of a plain image
    :param source: what holes of the source are
    :param thick: write all zeros
    :param told: whether OSDs tell librbd of the holes in the copy's objects
    :param period: bytes of the copy's stripe period
    """
    if thick:
        return WRITTEN
    if target is None or told:
        return skipped()
    if source is Holes.NOISE or (source is Holes.OBJECTS
                                 and target.type == "luks2"):
        return Policy(period=period, data_offset=target.data_offset)
    # Also of a LUKS2 source in LUKS1: what librbd showed as zeros would be
    # noise to QEMU.
    return WRITTEN


def of_cipher_text(header: header_io.Header, begin: int = 0, *,
                   noted: bool = False) -> Policy:
    """What to do where cipher text is moved as it is.

    :param header: of the volume
    :param begin: bytes of the image before what is moved
    :param noted: whether the volume has the note of
        :mod:`~os_brick_rbd_luks.layers.holes`
    """
    if header.type == "luks1" and not noted:
        # QEMU reads noise from each hole, written as zeros or not.
        return skipped()
    # A sector need not begin at a multiple of its size in the image.
    return skipped(math.gcd(header.sector_size, header.data_offset - begin))


def of_unknown_cipher_text() -> Policy:
    """Do as :func:`of_cipher_text` before anybody can know the header.

    Sectors of 4096 bytes are several of 512; what is left out of one is all
    of it.
    """
    return skipped(cipher.SECTOR)
