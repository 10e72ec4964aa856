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

"""The two copies of a header: which one to believe, and what ails the other.

A copy is *damaged* when it cannot be what was written, *stale* when it is
sound but older: that is what a change leaves which was cut off between the
two.

Source: LUKS2 On-Disk Format Specification 1.1.4, "Metadata Recovery".
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Dict, NamedTuple, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import records

PRIMARY = ondisk.PRIMARY
SECONDARY = ondisk.SECONDARY


class Copy(NamedTuple):
    """One copy whose checksum is right."""

    which: str
    binary: ondisk.Binary
    json_area: bytes


class Ailment(NamedTuple):
    """What is wrong with the copy that is not believed."""

    which: str
    #: None for one that is merely stale
    damage: Optional[str]
    #: whether it begins like a header of a version that nobody defined
    version: bool = False
    #: whether its checksum is right: it is what somebody wrote
    sound: bool = False


class Believed(NamedTuple):
    """What the copies say together."""

    #: as in the primary copy, wherever it was read from
    primary: ondisk.Binary
    secondary_salt: bytes
    metadata: records.Metadata
    ailment: Optional[Ailment]


def other(which: str) -> str:
    """The name of the other copy."""
    return (SECONDARY if which == PRIMARY else PRIMARY)


def derived_salt(salt: bytes) -> bytes:
    """A salt for the copy whose own cannot be read."""
    return hashlib.sha512(salt).digest()


def to_primary(binary: ondisk.Binary) -> ondisk.Binary:
    """The fields that the primary copy has in common with *binary*."""
    return dataclasses.replace(
        binary, magic=ondisk.MAGICS[PRIMARY, binary.clone],
        hdr_offset=0, csum=bytes(64))


def to_secondary(primary: ondisk.Binary, salt: bytes) -> ondisk.Binary:
    """The secondary copy's binary header, not sealed yet."""
    return dataclasses.replace(
        primary, magic=ondisk.MAGICS[SECONDARY, primary.clone],
        hdr_offset=primary.hdr_size, salt=salt, csum=bytes(64))


def read(data: bytes, which: str, offset: int) -> Copy:
    """The copy that begins at *offset* in *data*.

    :param data: bytes from the start of the image
    :raises HeaderError: it is damaged
    """
    if len(data) < offset + ondisk.SIZE:
        raise exception.NotLuks()
    binary = ondisk.unpack(data[offset:offset + ondisk.SIZE])
    luks2_check.check_binary(binary, which, offset)
    area = data[offset + ondisk.SIZE:offset + binary.hdr_size]
    if len(area) < binary.hdr_size - ondisk.SIZE:
        raise exception.CorruptHeader(field="JSON area", reason="is cut off",
                                      offset=offset + ondisk.SIZE)
    if not binary.verify(area):
        raise exception.CorruptHeader(
            field="csum", offset=offset + ondisk.OFFSETS["csum"],
            reason="is not that of the header")
    return Copy(which, binary, area)


def believe(data: bytes) -> Believed:
    """Read both copies from the bytes that an image begins with.

    The newer one is believed, unless its objects make no sense. One that
    makes sense but that we must not or cannot use is never passed over for
    an older one.

    :raises HeaderError: of the copy that should be believed
    """
    sound: Dict[str, Copy] = {}
    failures: Dict[str, exception.HeaderError] = {}
    _try(data, PRIMARY, 0, sound, failures)
    places = (detect.secondaries(data) if PRIMARY in failures
              else (sound[PRIMARY].binary.hdr_size,))
    for offset in places:
        _try(data, SECONDARY, offset, sound, failures)
        if SECONDARY in sound:
            break
    for copy in sorted(sound.values(),
                       key=lambda copy: -copy.binary.seqid):
        try:
            found = records.parse(copy.json_area,
                                  copy.binary.hdr_offset + ondisk.SIZE)
            luks2_check.check(copy.binary, found)
        except exception.CorruptHeader as error:
            # Not by damage: the checksum is right.
            failures[copy.which] = exception.UnexpectedMetadata(
                field=error.field, offset=error.offset, reason=error.reason)
            continue
        return _believed(copy, found, sound.get(other(copy.which)),
                         failures.get(other(copy.which)))
    raise _telling(failures)


def second(data: bytes) -> Optional[int]:
    """Where a second copy with the right checksum begins, if one does.

    :param data: bytes from the start of the image
    """
    for offset in detect.secondaries(data):
        try:
            read(data, SECONDARY, offset)
        except exception.HeaderError:
            continue
        return offset
    return None


def is_sound(data: bytes) -> bool:
    """Whether a copy may be what was written: nothing shows that it is not.

    It may be none that we can use, or of which we can tell.

    :param data: bytes from the start of the image
    """
    for which, offset in ((PRIMARY, 0), *(
            (SECONDARY, place) for place in detect.secondaries(data))):
        try:
            read(data, which, offset)
        except exception.UnsupportedHeader:
            return True
        except exception.HeaderError:
            continue
        return True
    return False


def _try(data: bytes, which: str, offset: int, sound: Dict[str, Copy],
         failures: Dict[str, exception.HeaderError]) -> None:
    try:
        sound[which] = read(data, which, offset)
    except exception.HeaderError as error:
        failures[which] = error


def _telling(failures: Dict[str, exception.HeaderError]
             ) -> exception.HeaderError:
    """The error that tells most when there is no copy to believe."""
    primary = failures[PRIMARY]
    if isinstance(primary, exception.NotLuks):
        return failures.get(SECONDARY, primary)
    return primary


def _believed(copy: Copy, found: records.Metadata, rival: Optional[Copy],
              failure: Optional[exception.HeaderError]) -> Believed:
    ailment = None
    if failure is not None:
        ailment = Ailment(
            other(copy.which), _damage(failure), _is_version(failure),
            isinstance(failure, exception.UnexpectedMetadata))
    elif rival is not None and rival.binary.seqid < copy.binary.seqid:
        ailment = Ailment(rival.which, None)
    elif rival is not None and not _same(copy, rival):
        ailment = Ailment(rival.which, "it differs from the other copy, "
                          "though neither is newer")
    own = copy.binary.salt
    theirs = rival.binary.salt if rival else derived_salt(own)
    primary = to_primary(copy.binary)
    if copy.which == SECONDARY:
        primary, own, theirs = (dataclasses.replace(primary, salt=theirs),
                                theirs, own)
    return Believed(primary.seal(copy.json_area), theirs, found, ailment)


def _is_version(error: exception.HeaderError) -> bool:
    return (isinstance(error, exception.UnsupportedHeader)
            and error.what.startswith("LUKS version "))


def _same(left: Copy, right: Copy) -> bool:
    return (left.json_area == right.json_area
            and dataclasses.replace(
                to_primary(left.binary), salt=b"", padding=b"",
                padding4096=b"")
            == dataclasses.replace(
                to_primary(right.binary), salt=b"", padding=b"",
                padding4096=b""))


def _damage(error: exception.HeaderError) -> str:
    """What is wrong with one copy, without the whole header's remedies."""
    if isinstance(error, (exception.CorruptHeader,
                          exception.UnexpectedMetadata)):
        return f"its field {error.field} {error.reason}"
    if isinstance(error, exception.UnsupportedHeader):
        return f"it has {error.what}"
    return "it does not begin like one"
