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

"""What a LUKS2 header must fulfil before anything is done by it.

In stages: magic and version, bounds, the checksum (what lies before it says
that a copy is damaged); then the rules between objects. What a keyslot or a
digest costs is for those to refuse that would derive a key by it: one that is
too dear spoils no header.

Source: LUKS2 On-Disk Format Specification 1.1.4; rules between objects as
cryptsetup enforces them (``luks2_json_metadata.c``).
"""

from __future__ import annotations

from typing import List, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import records

SECTOR_SIZES = (512, 1024, 2048, 4096)

#: Why a segment of a size of its own is refused, by cryptsetup as well.
CUT_SECTOR = "is not whole sectors"

#: Those that new volumes may have.
WRITABLE_SECTOR_SIZES = (512, 4096)


def _corrupt(field: str, offset: int, reason: str
             ) -> exception.CorruptHeader:
    return exception.CorruptHeader(field=field, offset=offset, reason=reason)


def text(binary: ondisk.Binary, field: str) -> str:
    """The text of *field* up to the first NUL, as it can be shown.

    Whoever named a volume chose the bytes: they are kept, and what no
    terminal should see is a question mark here.
    """
    value = getattr(binary, field).partition(b"\0")[0]
    return "".join(char if char.isprintable() and char != "\ufffd" else "?"
                   for char in value.decode("utf-8", "replace"))


def check_binary(binary: ondisk.Binary, which: str, offset: int) -> None:
    """Refuse the binary header of a copy that does not belong at *offset*.

    :param which: :data:`~os_brick_rbd_luks.luks.luks2.ondisk.PRIMARY` or
        :data:`~os_brick_rbd_luks.luks.luks2.ondisk.SECONDARY`
    :raises NotLuks: there is no magic of that copy
    :raises UnsupportedHeader: another version or checksum
    :raises CorruptHeader: a field cannot be
    """
    if binary.magic not in (ondisk.MAGICS[which, False],
                            ondisk.MAGICS[which, True]):
        raise exception.NotLuks()
    if binary.version != 2:
        raise exception.UnsupportedHeader(
            what=f"LUKS version {binary.version}", supported="2")
    if binary.hdr_offset != offset:
        raise _corrupt("hdr_offset", offset + ondisk.OFFSETS["hdr_offset"],
                       f"is {binary.hdr_offset}, but it lies at {offset}")
    if binary.hdr_size not in detect.LUKS2_SIZES:
        raise _corrupt("hdr_size", offset + ondisk.OFFSETS["hdr_size"],
                       f"is {binary.hdr_size}, which no header has")
    if which == ondisk.SECONDARY and binary.hdr_size != offset:
        raise _corrupt("hdr_size", offset + ondisk.OFFSETS["hdr_size"],
                       f"is {binary.hdr_size}, but the copy lies at "
                       f"{offset}")
    algorithm = text(binary, "csum_alg").lower()
    if algorithm not in kdfs.READABLE_HASHES:
        raise exception.UnsupportedHeader(
            what=f"checksum {algorithm or 'without a name'}",
            supported=", ".join(kdfs.READABLE_HASHES))


def check(binary: ondisk.Binary, found: records.Metadata) -> None:
    """Refuse metadata that is damaged, hostile or detached.

    :param binary: of the copy with that metadata
    :raises UnsupportedHeader: a detached header
    :raises CorruptHeader: objects contradict each other
    :raises HeaderLimitExceeded: there is too much of something
    """
    limits.check("seqid", binary.seqid, limits.MAX_SEQID)
    _Rules(binary, found).check()


class _Rules:
    """The rules between the objects of one copy."""

    def __init__(self, binary: ondisk.Binary,
                 found: records.Metadata) -> None:
        self._found = found
        self._hdr_size = binary.hdr_size
        self._at = binary.hdr_offset + ondisk.SIZE

    def corrupt(self, field: str, reason: str) -> exception.CorruptHeader:
        return _corrupt(field, self._at, reason)

    def check(self) -> None:
        self._config()
        self._digests()
        self._segments()
        self._keyslots()

    def _config(self) -> None:
        size = luks2_layout.json_size(self._hdr_size)
        if self._found.json_size != size:
            raise self.corrupt("config.json_size", f"is "
                               f"{self._found.json_size}, not {size}")
        size = self._found.keyslots_size
        if size % luks2_layout.AREA_ALIGNMENT:
            raise self.corrupt("config.keyslots_size", f"is {size}, no "
                               f"multiple of {luks2_layout.AREA_ALIGNMENT}")
        limits.check("config.keyslots_size", size, limits.MAX_KEYSLOTS_SIZE)

    def _digests(self) -> None:
        for kind in ("keyslots", "segments"):
            seen: List[int] = []
            for number, digest in self._found.digests.items():
                for other in getattr(digest, kind):
                    # While re-encrypting, a segment has two keys.
                    if other in seen and not self._found.requirements:
                        raise self.corrupt(
                            f"digests.{number}.{kind}",
                            f"names {kind[:-1]} {other}, which has another "
                            f"digest")
                    seen.append(other)
            for number in getattr(self._found, kind):
                if number not in seen and self._needs_digest(kind, number):
                    raise self.corrupt(f"{kind}.{number}", "has no digest")
        for number, digest in self._found.digests.items():
            if len(digest.digest) > 64:
                raise self.corrupt(f"digests.{number}.digest",
                                   "is longer than a hash")

    def _needs_digest(self, kind: str, number: int) -> bool:
        return (kind == "keyslots"
                or self._found.segments[number].encryption is not None)

    def _segments(self) -> None:
        segments = self._found.segments
        if not segments:
            raise self.corrupt("segments", "is empty")
        if list(segments) != list(range(len(segments))):
            raise self.corrupt("segments", "has a gap in its numbers")
        for number, segment in segments.items():
            self._segment(f"segments.{number}", segment)
        regular = {number: segment for number, segment in segments.items()
                   if not segment.backup}
        if 0 not in regular:
            raise self.corrupt("segments.0", "is a backup")
        if len(regular) - 1 not in regular:
            raise self.corrupt("segments", "has one behind a backup")
        end = 0
        for number, segment in sorted(
                regular.items(), key=lambda item: item[1].offset):
            if segment.offset < end:
                raise self.corrupt(f"segments.{number}.offset",
                                   "overlaps another segment")
            end = 2 ** 64 if segment.size is None else (
                segment.offset + segment.size)
        data_offset = min(segment.offset for segment in segments.values())
        if data_offset == 0:
            raise exception.UnsupportedHeader(
                what="a detached header (segment offset 0)",
                supported="a header on the volume itself")
        if data_offset < 2 * self._hdr_size + self._found.keyslots_size:
            raise self.corrupt("config.keyslots_size",
                               "lets keyslots reach into the payload")

    def _segment(self, path: str, segment: records.Segment) -> None:
        if segment.offset % cipher.SECTOR:
            raise self.corrupt(f"{path}.offset", "is not aligned")
        if segment.sector_size not in SECTOR_SIZES:
            raise self.corrupt(f"{path}.sector_size", f"is "
                               f"{segment.sector_size}")
        if segment.size == 0:
            raise self.corrupt(f"{path}.size", "is 0")
        if segment.size is not None and segment.size % segment.sector_size:
            raise self.corrupt(f"{path}.size", CUT_SECTOR)

    def _keyslots(self) -> None:
        for number, slot in self._found.keyslots.items():
            self._keyslot(f"keyslots.{number}", slot)
        start = 2 * self._hdr_size
        limit = start + self._found.keyslots_size
        end, previous = start, ""
        for number, slot in sorted(
                self._found.keyslots.items(),
                key=lambda item: (item[1].area.offset, item[0])):
            path = f"keyslots.{number}.area"
            if slot.area.offset < end:
                raise self.corrupt(f"{path}.offset", "overlaps " + (
                    previous or "the header"))
            end = slot.area.offset + slot.area.size
            previous = f"keyslot {number}"
            if end > limit:
                raise self.corrupt(f"{path}.size",
                                   "reaches beyond the keyslots area")

    def _keyslot(self, path: str, slot: records.Keyslot) -> None:
        area = slot.area
        if area.offset % cipher.SECTOR:
            raise self.corrupt(f"{path}.area.offset", "is not aligned")
        if area.size == 0:
            raise self.corrupt(f"{path}.area.size", "is 0")
        if slot.hash_name is None:
            return
        if slot.stripes != luks2_layout.STRIPES:
            raise self.corrupt(f"{path}.af.stripes", f"is {slot.stripes}, "
                               f"not {luks2_layout.STRIPES}")
        needed = keymaterial.area_bytes(slot.key_size, slot.stripes)
        if area.size < needed:
            raise self.corrupt(f"{path}.area.size", f"is {area.size}, less "
                               f"than the {needed} of its key")


def check_format(cipher_spec: str, key_bytes: int, hash_name: str,
                 sector_size: int) -> None:
    """Refuse what no header is built with.

    :raises UnsupportedHeader: with what is supported
    """
    cipher.check(cipher_spec, key_bytes)
    kdfs.check_hash(hash_name, writing=True)
    if sector_size not in WRITABLE_SECTOR_SIZES:
        raise exception.UnsupportedHeader(
            what=f"sector size {sector_size}", supported=", ".join(
                map(str, WRITABLE_SECTOR_SIZES)))


def check_uuid(uuid: str) -> None:
    """Refuse what is no text for the field of a new header.

    :raises InvalidParameter: with what is
    """
    if not (uuid.isascii() and uuid.isprintable()
            and 0 < len(uuid) < ondisk.UUID_SIZE):
        raise exception.InvalidParameter(
            name="UUID", value=uuid,
            reason=f"is not 1 to {ondisk.UUID_SIZE - 1} printable ASCII "
                   f"characters")


def requirements(found: records.Metadata) -> None:
    """Refuse to do anything by a header that asks for more than we know.

    :raises UnsupportedHeader: naming what it asks for
    """
    if found.requirements:
        names: Tuple[str, ...] = tuple(
            "".join(char if char.isascii() and char.isprintable() else "?"
                    for char in name[:50]) for name in found.requirements)
        raise exception.UnsupportedHeader(
            what=f"a header with the requirement {', '.join(names[:5])}",
            supported="headers without requirements; finish a "
                      "re-encryption with cryptsetup first")


def movable(found: records.Metadata) -> None:
    """Refuse a payload that is more than one run of encrypted sectors.

    One of a fixed size, or whose IVs begin elsewhere, moves as any other.

    :raises UnsupportedHeader: with what it is
    """
    requirements(found)
    segment = found.segments[0]
    for wrong, what in (
            (len(found.segments) > 1, "a payload of several segments"),
            (segment.encryption is None,
             f"a payload of type {segment.type[:50]}"),
            (segment.integrity, "a payload with integrity")):
        if wrong:
            raise exception.UnsupportedHeader(
                what=f"another data offset for {what}",
                supported="payloads of one segment of type crypt")
