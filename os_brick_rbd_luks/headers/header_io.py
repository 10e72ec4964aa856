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

"""Read and check the header of an image; apply a plan to it."""

from __future__ import annotations

import functools
import logging
from typing import Any, Callable, Iterable, Optional, TypeVar, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import flatten_note
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.luks import plans

LOG = logging.getLogger(__name__)

Header = Union[luks1.Luks1Header, luks2.Luks2Header]

Function = TypeVar("Function", bound=Callable[..., Any])


def names_image(function: Function) -> Function:
    """Let errors of a function name the image, its first argument."""
    @functools.wraps(function)
    def wrapper(image: base.Image, *args: Any, **kwargs: Any) -> Any:
        with exception.about(image.name):
            return function(image, *args, **kwargs)
    return wrapper  # type: ignore[return-value]


def read_start(image: base.Image, second_copy: bool = False) -> bytes:
    """The bytes at the start of an image that tell what it holds.

    One read is enough for a plain image, and for a header as programs make it
    by default. A second copy of a LUKS2 header is looked for where the first
    one is damaged.

    :param second_copy: also where there is no first one
    """
    start = image.read(0, detect.START)
    wanted = detect.wanted(start)
    if wanted > detect.START:
        start = image.read(0, wanted)
    if not (second_copy and not _has_magic(start)
            or _is_damaged(start)) or detect.secondaries(start):
        return start
    for offset in detect.LUKS2_SIZES:
        if detect.is_secondary(image.read(offset, detect.PEEK), offset):
            return image.read(0, 2 * offset)
    return start


def _has_magic(start: bytes) -> bool:
    return start[:len(detect.MAGIC)] in (detect.MAGIC, detect.CLONE_MAGIC)


def _is_damaged(start: bytes) -> bool:
    """Whether it begins like a header that only a second copy can tell of."""
    try:
        if detect.detect(start) not in detect.LUKS2:
            return False
        header_copies.read(start, header_copies.PRIMARY, 0)
    except exception.HeaderError:
        return True
    return False


@names_image
def read_header(image: base.Image, *, second_copy: bool = False,
                backup: bool = False) -> Header:
    """The header of *image*.

    :param second_copy: of a LUKS2 header do as well, where the first one is
        gone: QEMU, librbd and guests take that image for a plain one
    :param backup: a header without a payload will do
    :raises HeaderError: there is none, or none that we can use
    """
    return parse(read_start(image, second_copy), image.size(),
                 second_copy=second_copy, backup=backup)


@names_image
def header_if_any(image: base.Image) -> Optional[Header]:
    """The header of *image*, None if it is plain (see :func:`is_encrypted`).

    :raises HeaderError: one that we cannot use
    """
    start = read_start(image)
    if begins_as(start) is detect.Format.NONE:
        return None
    return parse(start, image.size())


def is_encrypted(image: base.Image) -> bool:
    """Whether *image* has a header of any kind."""
    return begins_as(read_start(image)) is not detect.Format.NONE


def looks_encrypted(image: base.Image) -> bool:
    """Whether *image* begins as LUKS does, of whatever version.

    librbd asks for no more before it wants a passphrase for a layer.

    :raises ImageError: it cannot be read
    """
    return _has_magic(image.read(0, len(detect.MAGIC)))


def parse(start: bytes, size: int, *, second_copy: bool = False,
          backup: bool = False) -> Header:
    """The header that an image of *size* bytes has with this *start*.

    :param start: what :func:`read_start` gives
    :param second_copy: see :func:`read_header`
    :param backup: see :func:`read_header`
    :raises HeaderError: see :func:`read_header`
    """
    header: Header
    if format_of(start, second_copy) in detect.LUKS2:
        header = luks2.Luks2Header.parse(start)
    else:
        header = luks1.Luks1Header.parse(start)
    if header.data_offset > size and not (
            backup and header.keyslots_end <= size):
        raise exception.NoPayload(size=size, data_offset=header.data_offset)
    return header


def decrypted_size(header: Header, image_size: int) -> Optional[int]:
    """Bytes that a guest sees of an image: whole sectors of the payload.

    :returns: None of a header without a payload, which is a backup
    """
    size = image_size - header.data_offset
    if size < 0:
        return None
    if isinstance(header, luks2.Luks2Header):
        return sum(_seen(segment, image_size)
                   for segment in header.metadata.segments.values()
                   if not segment.backup)
    return size - size % header.sector_size


def _seen(segment: records.Segment, image_size: int) -> int:
    """Bytes of one part of a payload: whole sectors that the image has."""
    size = max(image_size - segment.offset, 0)
    if segment.size is not None:
        size = min(size, segment.size)
    return size - size % segment.sector_size


def guest_size(image: base.Image, header: Header) -> int:
    """Bytes that a guest sees of *image*: whole sectors of the payload.

    :param header: of *image*, as :func:`read_header` gives it
    :raises NoPayload: it is a backup, of which no guest sees anything
    """
    size = decrypted_size(header, image.size())
    if size is None:
        raise exception.NoPayload(size=image.size(),
                                  data_offset=header.data_offset)
    return size


def format_of(start: bytes, second_copy: bool = False) -> detect.Format:
    """What an image with this *start* is to be read as.

    :param start: what :func:`read_start` gives
    :param second_copy: see :func:`read_header`
    :raises OnlySecondCopy: as nothing, but for *second_copy*
    :raises UnsupportedHeader: LUKS of a version that nobody defined
    """
    found = begins_as(start)
    if found is not detect.Format.NONE:
        return found
    second = header_copies.second(start)
    if second is None:
        return found
    if not second_copy:
        raise exception.OnlySecondCopy(offset=second)
    return detect.secondary(start, second)


def begins_as(start: bytes) -> detect.Format:
    """What an image with this *start* is to QEMU, librbd and a guest.

    :param start: what :func:`read_start` gives
    :raises UnsupportedHeader: LUKS of a version that nobody defined, unless a
        good second copy says that this is what is damaged
    """
    try:
        return detect.detect(start)
    except exception.UnsupportedHeader:
        second = header_copies.second(start)
        if second is None:
            raise
        return detect.secondary(start, second)


@names_image
def apply(image: base.Image, plan: plans.Plan, destructive: bool = False,
          check: Optional[Callable[[], None]] = None) -> None:
    """Write *plan* under the image's lock, a flush behind each stage.

    Immediately before each stage the lock is renewed and what is there is read
    again: a lock runs out, and while a client was stopped, or has looked at a
    large image for longer than that, another may have come between. Before
    each further write of a stage the lock is renewed, too.

    :param destructive: refuse while anybody else has the image open
    :param check: called under the lock before anything is written; it may take
        longer than a lock lasts
    :raises HeaderChanged: the image is no longer what the plan expects
    :raises ImageLocked: somebody else has it open, or changes the header
    :raises FlattenUnderway: somebody flattens it, and would undo the change
    """
    with image.lock() as lock:
        flatten_note.refuse(image)
        write_locked(image, lock, plan, destructive, check)


def write_locked(image: base.Image, lock: base.HeldLock, plan: plans.Plan,
                 destructive: bool = False,
                 check: Optional[Callable[[], None]] = None) -> None:
    """Do as :func:`apply`, for who has the lock and has looked for a flatten.

    :param lock: of *image*
    """
    before = plan.expected
    if check:
        compare(image, before)
        check()
        lock.renew()
    if destructive:
        refuse_watchers(image)
    for number, stage in enumerate(plan.stages):
        if number:
            lock.renew()
        compare(image, before)
        before = stage
        for write in stage:
            if write is not stage[0]:
                lock.renew()
            LOG.debug("%s: stage %d: writing %d bytes at %d", image.name,
                      number, len(write.data), write.offset)
            image.write(write.offset, write.data)
        image.flush()


def write_new(image: base.Image, *made: plans.Plan) -> None:
    """Write what plans, one after the other, leave of a new image.

    Nobody else knows it, and it has its name when all is written
    (:mod:`~os_brick_rbd_luks.image.partial`): so there is no lock, nothing is
    read, and no stage has to be there before another one. A new header and
    its keyslot are one write.
    """
    for write in plans.joined(write for plan in made for stage in plan.stages
                              for write in stage):
        LOG.debug("%s: writing %d bytes at %d", image.name, len(write.data),
                  write.offset)
        image.write(write.offset, write.data)
    image.flush()


def compare(image: base.Image, writes: Iterable[plans.Write]) -> None:
    """Make sure that an image has what *writes* would write.

    :raises HeaderChanged: it has not
    """
    for write in writes:
        if image.read(write.offset, len(write.data)) != write.data:
            raise exception.HeaderChanged()


def refuse_watchers(image: base.Image) -> None:
    """Refuse an image that somebody else has open.

    :raises ImageLocked: with their addresses
    """
    holders = image.watchers()
    if holders:
        raise exception.ImageLocked(holders=", ".join(holders))
