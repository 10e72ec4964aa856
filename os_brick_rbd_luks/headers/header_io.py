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
from typing import Any, Callable, Iterable, TypeVar, Union

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
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


def read_start(image: base.Image) -> bytes:
    """The bytes at the start of an image that tell what it holds.

    One read is enough for a header as programs make it by default. A second
    copy of a LUKS2 header is looked for where the first one is no good.
    """
    start = image.read(0, detect.START)
    wanted = detect.wanted(start)
    if wanted > detect.START:
        start = image.read(0, wanted)
    if not _needs_second_copy(start) or detect.secondaries(start):
        return start
    for offset in detect.LUKS2_SIZES:
        if detect.is_secondary(image.read(offset, detect.PEEK), offset):
            return image.read(0, 2 * offset)
    return start


def _needs_second_copy(start: bytes) -> bool:
    try:
        if detect.detect(start) in detect.LUKS1:
            return False
        header_copies.read(start, header_copies.PRIMARY, 0)
    except exception.HeaderError:
        return True
    return False


@names_image
def read_header(image: base.Image) -> Header:
    """The header of *image*.

    :raises HeaderError: there is none, or none that we can use
    """
    return parse(read_start(image), image.size())


def is_encrypted(image: base.Image) -> bool:
    """Whether *image* has a header of any kind."""
    return detect.detect(read_start(image)) is not detect.Format.NONE


def parse(start: bytes, size: int) -> Header:
    """The header that an image of *size* bytes has with this *start*.

    :param start: what :func:`read_start` gives
    :raises HeaderError: see :func:`read_header`
    """
    header: Header
    if detect.detect(start) in detect.LUKS2:
        header = luks2.Luks2Header.parse(start)
        field, offset = "segments.0.offset", 0
    else:
        header = luks1.Luks1Header.parse(start)
        field, offset = "payload_offset", ondisk.OFFSETS["payload_offset"]
    if header.data_offset > size:
        raise exception.CorruptHeader(
            field=field, offset=offset,
            reason=f"is {header.data_offset} bytes, behind the end of the "
                   f"image of {size} bytes")
    return header


@names_image
def apply(image: base.Image, plan: plans.Plan, destructive: bool = False,
          check: Callable[[], None] = lambda: None) -> None:
    """Write *plan* under the image's lock, a flush behind each stage.

    Before each further stage the lock is renewed and what was written before
    is read again: a client that was stopped for longer than a lock lasts may
    have come between.

    :param destructive: refuse while anybody else has the image open
    :param check: called under the lock before anything is written
    :raises HeaderChanged: the image is no longer what the plan expects
    :raises ImageLocked: somebody else has it open, or changes the header
    """
    with image.lock() as lock:
        if destructive:
            refuse_watchers(image)
        _compare(image, plan.expected)
        check()
        for number, stage in enumerate(plan.stages):
            if number:
                lock.renew()
                _compare(image, plan.stages[number - 1])
            for write in stage:
                LOG.debug("%s: stage %d: writing %d bytes at %d", image.name,
                          number, len(write.data), write.offset)
                image.write(write.offset, write.data)
            image.flush()


def _compare(image: base.Image, writes: Iterable[plans.Write]) -> None:
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
