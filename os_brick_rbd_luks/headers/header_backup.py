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
from typing import Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks1 import restore as luks1_restore
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import restore as luks2_restore
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.luks import restore_steps
from os_brick_rbd_luks.luks import whole

LOG = logging.getLogger(__name__)

# Where both formats have the UUID.
_UUID = (ondisk.OFFSETS["uuid"], ondisk.OFFSETS["uuid"] + 40)

# A backup says nothing of the image's size.
_ANY_SIZE = 2 ** 64


@header_io.names_image
def backup(image: base.Image) -> bytes:
    """The header, its keyslot areas, and zeros between them.

    Zeros: what lies between may be the remains of something else.
    """
    header = header_io.read_header(image)
    data = whole.join(header, read_areas(image, header))
    return data.ljust(keymaterial.round_up(
        header.keyslots_end, luks1_layout.KEYSLOT_ALIGNMENT), b"\0")


@header_io.names_image
def restore(image: base.Image, data: bytes, *, force: bool = False
            ) -> header_io.Header:
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
        _refuse_useless(header)
    if image.size() <= header.data_offset:
        raise exception.ImageTooSmall(size=image.size(),
                                      needed=header.data_offset)
    start = header_io.read_start(image)
    try:
        current = header_io.parse(start, image.size())
    except exception.HeaderError as error:
        if not force:
            _refuse_foreign(header, start, error)
        plan = plan_over_nothing(header, areas, start)
    else:
        if current.same_volume(header):
            plan = _plan_over_own(image, current, header, areas, start, force)
        elif force:
            plan = plan_over_nothing(header, areas, start)
        else:
            raise exception.OperationRefused(
                reason="the backup is of another volume or volume key (UUID "
                       f"{header.uuid}, here {current.uuid}); its "
                       "passphrases would open only noise: insist with "
                       "--force (force=True)")
    header_io.apply(image, plan, destructive=True)
    LOG.info("%s: header restored, UUID %s", image.name, header.uuid)
    return header


def _refuse_useless(header: header_io.Header) -> None:
    if isinstance(header, luks2.Luks2Header):
        luks2_check.requirements(header.metadata)
    restore_steps.refuse_useless(header.keyslots)


def plan_over_nothing(header: header_io.Header, areas: whole.Areas,
                      start: bytes) -> plans.Plan:
    """How to write *header* where no header is worth keeping.

    :param areas: bytes of the area of each of its keyslots
    :param start: what the image begins with now
    """
    if isinstance(header, luks2.Luks2Header):
        return luks2_restore.over_nothing(header, areas, start)
    return luks1_restore.over_nothing(header, areas, start)


def _plan_over_header(image: base.Image, current: header_io.Header,
                      header: header_io.Header, areas: whole.Areas
                      ) -> plans.Plan:
    present = read_areas(image, current)
    if (isinstance(current, luks2.Luks2Header)
            and isinstance(header, luks2.Luks2Header)):
        return luks2_restore.over_header(current, present, header, areas)
    if (isinstance(current, luks1.Luks1Header)
            and isinstance(header, luks1.Luks1Header)):
        return luks1_restore.over_header(current, present, header, areas)
    raise TypeError("headers of the same volume have the same format")


def _plan_over_own(image: base.Image, current: header_io.Header,
                   header: header_io.Header, areas: whole.Areas,
                   start: bytes, force: bool) -> plans.Plan:
    try:
        return _plan_over_header(image, current, header, areas)
    except exception.OperationRefused:
        if not force:
            raise
        return plan_over_nothing(header, areas, start)


def _refuse_foreign(header: header_io.Header, start: bytes,
                    error: exception.HeaderError) -> None:
    """Refuse unless what is there is this volume's damaged header.

    A sound header that we cannot use is somebody's.
    """
    packed = header.pack()
    version, place = slice(6, 8), slice(*_UUID)
    other_format = start[version] in {b"\0\1", b"\0\2"} - {packed[version]}
    sound = (isinstance(error, exception.UnsupportedHeader)
             and start[version] == packed[version])
    if (start[:6] == packed[:6] and start[place] == packed[place]
            and _same_key(header, start, error)
            and not other_format and not sound):
        return
    raise exception.OperationRefused(
        reason=f"the image holds no header with the backup's UUID "
               f"{header.uuid} ({error.msg}); if it is the right image, "
               f"insist with --force (force=True)") from error


def _same_key(header: header_io.Header, start: bytes,
              error: exception.HeaderError) -> bool:
    """Whether the digest's bytes are the backup's, or are the damage.

    A volume that was re-encrypted keeps its UUID. A LUKS2 header whose
    metadata cannot be read does not say which key it is of.
    """
    if (not isinstance(header, luks1.Luks1Header)
            or getattr(error, "field", "").startswith("mk_digest")):
        return True
    first, last = (ondisk.OFFSETS[name] for name in ("mk_digest", "uuid"))
    return header.pack()[first:last] == start[first:last]


def read_areas(image: base.Image, header: header_io.Header) -> whole.Areas:
    """The area of each keyslot in use, by number."""
    return {slot.number: image.read(slot.offset, slot.length)
            for slot in header.keyslots}


def _parse_backup(data: bytes) -> Tuple[header_io.Header, whole.Areas]:
    try:
        header = header_io.parse(data, _ANY_SIZE)
    except exception.HeaderError as error:
        raise exception.InvalidParameter(
            name="header backup", value=f"of {len(data)} bytes",
            reason=f"is none that can be restored: {error.msg}") from error
    areas = whole.areas(header, data)
    if any(len(areas[slot.number]) < slot.length for slot in header.keyslots):
        raise exception.InvalidParameter(
            name="header backup", value=f"of {len(data)} bytes",
            reason="ends before its last keyslot; it was cut off")
    return header, areas
