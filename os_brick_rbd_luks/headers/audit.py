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

"""What is wrong, or soon will be, with one volume.

Each sentence begins with one of the kinds in
:mod:`~os_brick_rbd_luks.headers.problem_kinds`.
"""

from __future__ import annotations

import dataclasses
from typing import Callable, cast, Dict, List, Optional, Sequence

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import at_rest
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import records

_GIB = 1024 ** 3

#: Gives what the layers below an image are, see :attr:`.at_rest.AtRest.below`.
Below = Callable[[base.RBDImage], Sequence[str]]


@dataclasses.dataclass(frozen=True)
class Report:
    """One volume; sizes are bytes."""

    #: the format's name, "none" for a plain image
    type: str
    image_size: int
    decrypted_size: Optional[int]
    #: numbers of the keyslots in use
    keyslots: List[int]
    problems: List[str]
    #: whether every byte that a guest writes is encrypted
    encryption: at_rest.AtRest = at_rest.unknown("it was not looked at")

    @property
    def is_plain(self) -> bool:
        """Whether there is no header, or but a second copy of one."""
        return self.type == detect.Format.NONE.value


@header_io.names_image
def audit(image: base.Image, below: Optional[Below] = None) -> Report:
    """Inspect *image*; nothing is written.

    :param below: called for what the layers below it are, of a clone with
        a header of its own
    :raises ImageError: it cannot be read
    """
    size = image.size()
    start = header_io.read_start(image)
    name = "unknown"
    try:
        found = header_io.format_of(start)
        name = found.value
        if found is detect.Format.NONE:
            return Report(name, size, None, [], [], at_rest.of_plain())
        header = header_io.parse(start, size)
    except exception.OnlySecondCopy as error:
        return Report(detect.Format.NONE.value, size, None, [],
                      [f"only a second copy of a header: {error.msg}"],
                      at_rest.of_plain("the image is plain to QEMU, librbd "
                                       "and guests"))
    except exception.CorruptHeader as error:
        return _unreadable(name, size, "damaged header", error)
    except exception.NoPayload as error:
        return _unreadable(name, size, "no payload", error)
    except exception.NotLuks as error:
        # The magic is there, and the rest was cut off.
        return _unreadable(name, size, "damaged header", error)
    except exception.UnexpectedMetadata as error:
        return _unreadable(
            name, size, "cut sector" if error.reason == luks2_check.CUT_SECTOR
            else "not inspected", error)
    except exception.HeaderError as error:
        return _unreadable(name, size, "not inspected", error)
    store = engines.Store.of(image)
    layers = (below(cast(base.RBDImage, image))
              if below and header.clone and store.has_parent else None)
    return Report(name, size, header_io.decrypted_size(header, size),
                  [slot.number for slot in header.keyslots],
                  problems(header, size, store),
                  at_rest.judge(header, layers,
                                engines.lost_parent(header, store)))


def _unreadable(name: str, size: int, what: str,
                error: exception.HeaderError) -> Report:
    return Report(name, size, None, [], [f"{what}: {error.msg}"],
                  at_rest.unknown(f"{what}, see its problems"))


def problems(header: header_io.Header, size: int,
             store: engines.Store) -> List[str]:
    """What an operator should look at, one sentence each."""
    found = [f"damaged keyslot {slot.number}: {slot.damage}"
             for slot in header.keyslots if slot.damage]
    if isinstance(header, luks2.Luks2Header):
        found += _luks2_problems(header)
    encryption = at_rest.judge(header)
    if encryption.encrypted is False:
        found.append(f"not encrypted: {encryption.reason}")
    if engines.lost_parent(header, store):
        found.append("lost parent: it has the mark of a clone with a header "
                     "of its own, and no parent any more; what it had of that "
                     "is not encrypted, or with a key that it has not")
    unbound = [str(slot.number) for slot in header.keyslots if slot.other_key]
    if all(slot.damage or slot.other_key for slot in header.keyslots):
        found.append("no keyslot: no passphrase opens the volume" + (
            f"; keyslot {', '.join(unbound)} has another key than its"
            if unbound else ""))
    elif not any(slot.usable for slot in header.keyslots):
        found.append("no keyslot of ours: other programs may open the volume "
                     "with " + "; ".join(
                         f"keyslot {slot.number} {slot.foreign}"
                         for slot in header.keyslots
                         if slot.foreign and not slot.other_key))
    if header.data_offset % _GIB and not size % _GIB:
        found.append(
            f"cut tail: the image has whole GiB, so the guest's disk is "
            f"{header.data_offset} bytes short")
    found += _payload_problems(header, size)
    if header.data_offset % store.stripe_period:
        found.append(
            f"unaligned payload: librbd of Ceph 18 and newer refuses a data "
            f"offset of {header.data_offset} with a stripe period of "
            f"{store.stripe_period}")
    if store.interleaves:
        found.append(f"striping: {engines.INTERLEAVED}; what a guest wrote "
                     "through librbd may read differently by others")
    if store.journaling:
        found.append("journaling: librbd refuses encryption with this "
                     "feature, only QEMU's luks driver opens the volume")
    return found


def _payload_problems(header: header_io.Header, size: int) -> List[str]:
    """What is cut, or of a form that only cryptsetup knows.

    :param size: bytes of the image
    """
    found = []
    for number, segment in _segments(header).items():
        which = f"segment {number}" if number else "the payload"
        if segment.size is None:
            cut = max(size - segment.offset, 0) % segment.sector_size
            if cut:
                found.append(
                    f"cut sector: {which} ends with {cut} bytes of a sector "
                    f"of {segment.sector_size} bytes, which no guest sees")
    end = max(segment.offset + (segment.size or 0)
              for segment in _segments(header).values())
    if end > size:
        found.append(f"cut payload: by the header it goes up to byte {end}, "
                     f"and the image ends at byte {size}")
    odd = engines.odd_payload(header, size)
    # What has requirements has that problem already.
    if odd and not odd.startswith("requirement"):
        found.append(f"unusual payload: {odd}; librbd and this package do not "
                     "read its data")
    return found


def _segments(header: header_io.Header) -> Dict[int, records.Segment]:
    """The parts of a payload, without those of another time."""
    if not isinstance(header, luks2.Luks2Header):
        return {0: records.Segment(
            "crypt", header.data_offset, None, (),
            sector_size=header.sector_size)}
    return {number: segment
            for number, segment in header.metadata.segments.items()
            if not segment.backup}


def _luks2_problems(header: luks2.Luks2Header) -> List[str]:
    found = []
    if header.ailment is not None and header.ailment.damage:
        found.append(f"damaged header copy, the {header.ailment.which} one: "
                     f"{header.ailment.damage}")
    elif header.ailment is not None:
        found.append(f"stale header copy, the {header.ailment.which} one: a "
                     f"change was cut off; the next one puts it right")
    if header.metadata.requirements:
        found.append("requirement: " + ", ".join(
            name.encode("ascii", "backslashreplace").decode()
            for name in header.metadata.requirements))
    return found
