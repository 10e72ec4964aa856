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

"""Save a header and its keyslots, and put them back.

A backup is the bytes from the start of the volume to the end of the last
keyslot area, as ``cryptsetup luksHeaderBackup`` writes them: either tool
restores the other's. Whoever has it and a passphrase of its time opens the
volume, also after that passphrase was removed.
"""

from __future__ import annotations

import logging
from typing import Dict

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks1 import restore as restoring
from os_brick_rbd_luks.luks import plan as plans
from os_brick_rbd_luks.operations import header_io

LOG = logging.getLogger(__name__)


@header_io.names_image
def backup(image: base.Image) -> bytes:
    """The header, its keyslot areas, and zeros between them.

    Zeros: what lies between may be the remains of something else.
    """
    header = header_io.read_header(image)
    data = bytearray(layout.round_up(header.keyslots_end,
                                     layout.KEYSLOT_ALIGNMENT))
    data[:ondisk.SIZE] = header.pack()
    for number, area in read_areas(image, header).items():
        slot = header.keyslot(number)
        data[slot.offset:slot.offset + slot.length] = area
    return bytes(data)


@header_io.names_image
def restore(image: base.Image, data: bytes, *, force: bool = False
            ) -> luks1.Luks1Header:
    """Put a backup back.

    On a volume that still has the header of the same volume key, passphrases
    of now work until those of the backup do.

    :param data: what :func:`backup` or cryptsetup gave
    :param force: although the image does not hold that volume's header
    :raises InvalidParameter: *data* is no backup
    :raises OperationRefused: the image does not hold that volume's header
    :raises ImageTooSmall: the image ends before the payload begins
    :raises ImageLocked: somebody has the image open
    """
    header, areas = _parse_backup(data)
    if not force:
        restoring.refuse_useless(header)
    if image.size() <= header.data_offset:
        raise exception.ImageTooSmall(size=image.size(),
                                      needed=header.data_offset)
    start = header_io.read_start(image)
    try:
        current = header_io.parse(start, image.size())
    except exception.HeaderError as error:
        if not force:
            _refuse_foreign(header, start, error)
        plan = restoring.over_nothing(header, areas, start)
    else:
        if current.same_volume(header):
            plan = _keeping(image, current, header, areas, force)
        elif force:
            plan = restoring.over_nothing(header, areas, start)
        else:
            raise exception.OperationRefused(
                reason="the backup is of another volume or volume key (UUID "
                       f"{header.uuid}, here {current.uuid}); its "
                       "passphrases would open only noise: insist with "
                       "--force (force=True)")
    header_io.apply(image, plan, destructive=True)
    LOG.info("%s: header restored, UUID %s", image.name, header.uuid)
    return header


def _keeping(image: base.Image, current: luks1.Luks1Header,
             header: luks1.Luks1Header, areas: Dict[int, bytes],
             force: bool) -> plans.Plan:
    try:
        return restoring.over_header(current, read_areas(image, current),
                                     header, areas)
    except exception.OperationRefused:
        if not force:
            raise
        return restoring.over_nothing(header, areas, current.pack())


def _refuse_foreign(header: luks1.Luks1Header, start: bytes,
                    error: exception.HeaderError) -> None:
    """Refuse unless what is there is this volume's damaged header.

    A sound header that we cannot use is somebody's: LUKS2 has the UUID in the
    same place.
    """
    uuid = start[ondisk.OFFSETS["uuid"]:ondisk.OFFSETS["uuid"] + 40]
    damaged = (not isinstance(error, exception.UnsupportedHeader)
               or start[6:8] not in (b"\0\1", b"\0\2"))
    if (start.startswith(detect.MAGIC) and header.phdr.uuid == uuid
            and _same_key(header, start, error) and damaged):
        return
    raise exception.OperationRefused(
        reason=f"the image holds no header with the backup's UUID "
               f"{header.uuid} ({error.msg}); if it is the right image, "
               f"insist with --force (force=True)") from error


def _same_key(header: luks1.Luks1Header, start: bytes,
              error: exception.HeaderError) -> bool:
    """Whether the digest's bytes are the backup's, or are the damage.

    A volume that was re-encrypted keeps its UUID.
    """
    if getattr(error, "field", "").startswith("mk_digest"):
        return True
    first, last = (ondisk.OFFSETS[name] for name in ("mk_digest", "uuid"))
    return header.pack()[first:last] == start[first:last]


def read_areas(image: base.Image, header: luks1.Luks1Header
               ) -> Dict[int, bytes]:
    """The area of each keyslot in use, by number."""
    return {slot.number: image.read(slot.offset, slot.length)
            for slot in header.keyslots}


def _parse_backup(data: bytes) -> tuple[luks1.Luks1Header, Dict[int, bytes]]:
    try:
        header = luks1.Luks1Header.parse(data)
    except exception.HeaderError as error:
        raise exception.InvalidParameter(
            name="header backup", value=f"of {len(data)} bytes",
            reason=f"is none that can be restored: {error.msg}") from error
    areas = {slot.number: data[slot.offset:slot.offset + slot.length]
             for slot in header.keyslots}
    if any(len(areas[slot.number]) < slot.length for slot in header.keyslots):
        raise exception.InvalidParameter(
            name="header backup", value=f"of {len(data)} bytes",
            reason="ends before its last keyslot; it was cut off")
    return header, areas
