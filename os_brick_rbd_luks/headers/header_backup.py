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

import dataclasses
import logging
from typing import cast, Dict, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks1 import restore as luks1_restore
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import restore as luks2_restore
from os_brick_rbd_luks.luks.luks2 import tokens
from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.luks import restore_steps
from os_brick_rbd_luks.luks import sealing
from os_brick_rbd_luks.luks import whole

# A backup says nothing of the image's size.
_ANY_SIZE = 2 ** 64

LOG = logging.getLogger(__name__)


@header_io.names_image
def backup(image: base.Image) -> bytes:
    """The header, its keyslot areas, and zeros between them.

    Zeros: what lies between may be the remains of something else.

    :raises HeaderChanged: somebody changed it while it was read
    """
    header, areas = read(image)
    return whole.join(header, areas).ljust(size(header), b"\0")


def size(header: header_io.Header) -> int:
    """Bytes of a backup of *header*, zeros at its end included."""
    return keymaterial.round_up(
        header.keyslots_end, luks1_layout.KEYSLOT_ALIGNMENT)


@header_io.names_image
def read(image: base.Image) -> Tuple[header_io.Header, whole.Areas]:
    """The header of *image* and the areas of its keyslots, of one moment.

    :raises HeaderChanged: somebody changed it while it was read
    """
    start = header_io.read_start(image)
    header = header_io.parse(start, image.size())
    areas = read_areas(image, header)
    # An old header with the new bytes of its areas would open nothing. No
    # header that stays names an area that is overwritten; one whose keyslot is
    # being destroyed may name noise, which was not to open it any more.
    if header_io.read_start(image) != start:
        raise exception.HeaderChanged()
    return header, areas


@header_io.names_image
def restore(image: base.Image, data: bytes, *, force: bool = False,
            lose_passphrases: bool = False) -> header_io.Header:
    """Put a backup back.

    On a volume that still has the header of the same volume key, passphrases
    of now work until those of the backup do.

    :param data: what :func:`backup` or cryptsetup gave
    :param force: although the image does not hold that volume's header, and
        as *lose_passphrases*
    :param lose_passphrases: although the header is not damaged, and has a
        passphrase that the backup has not
    :raises InvalidParameter: *data* is no backup
    :raises OperationRefused: the image does not hold that volume's header, or
        it is not damaged
    :raises ImageTooSmall: the image ends before the payload begins
    :raises ImageLocked: somebody has the image open
    """
    header, areas = _parse_backup(data)
    header = _with_mark(header, image)
    if not force:
        _refuse_useless(header)
    if image.size() <= header.data_offset:
        raise exception.ImageTooSmall(size=image.size(),
                                      needed=header.data_offset)
    start = header_io.read_start(image, second_copy=True)
    try:
        current = header_io.parse(start, image.size(), second_copy=True)
    except exception.HeaderError as error:
        if not force:
            _refuse_foreign(header, start, error)
        plan = plan_over_nothing(header, areas, start)
    else:
        if current.same_volume(header):
            present = read_areas(image, current)
            header = _with_sealed(header, current)
            if not (force or lose_passphrases):
                _refuse_newer(current, present, header, areas)
                _refuse_other_metadata(current, header)
            plan = _plan_over_own(current, present, header, areas, start,
                                  force)
        elif force:
            plan = plan_over_nothing(header, areas, start)
        else:
            raise exception.OperationRefused(
                reason=f"the backup is of {_difference(header, current)}; its "
                       "passphrases would open only noise: insist with "
                       "--force (force=True)")
    header_io.apply(image, plan, destructive=True)
    LOG.info("%s: header restored, UUID %s", image.name, header.uuid)
    return header


def _with_mark(header: header_io.Header, image: base.Image
               ) -> header_io.Header:
    """A backup without the mark of a clone, if the image is none any more.

    It was flattened since, which takes the mark away: librbd would look for a
    parent.
    """
    if header.clone and not (
            image.is_rbd and cast(base.RBDImage, image).parent()):
        return header.unmarked()
    return header


def _with_sealed(header: header_io.Header, current: header_io.Header
                 ) -> header_io.Header:
    """A backup of the same volume with what *current* has sealed in it.

    That is for the layers below the image, which are what they were. The
    backup may be of its source, or of a time before it had any of its own.
    """
    if (isinstance(header, luks2.Luks2Header)
            and isinstance(current, luks2.Luks2Header)):
        token = tokens.read(current)
        if token is not None and token != tokens.read(header):
            return dataclasses.replace(tokens.put(header, token), found=None)
    return header


def _refuse_newer(current: header_io.Header, present: whole.Areas,
                  header: header_io.Header, areas: whole.Areas) -> None:
    """Refuse to take working passphrases from a healthy header."""
    kept = {(slot.kdf, areas[slot.number]) for slot in header.keyslots}
    lost = [str(slot.number) for slot in current.keyslots
            if not slot.damage
            and (slot.kdf, present[slot.number]) not in kept]
    if lost:
        raise exception.OperationRefused(
            reason=f"its header is not damaged, and the backup has no keyslot "
                   f"like its keyslot {', '.join(lost)}: the passphrase of "
                   f"now would be lost; to go back to those of the backup, "
                   f"insist with --force (force=True)")


def _refuse_other_metadata(current: header_io.Header,
                           header: header_io.Header) -> None:
    """Refuse to take from a healthy header what is not a passphrase of ours.

    A token of another program may be the only one who knows a passphrase.
    """
    if not (isinstance(current, luks2.Luks2Header)
            and isinstance(header, luks2.Luks2Header)):
        return
    there, back = _other_metadata(current), _other_metadata(header)
    lost = [what for what, value in there.items()
            if value and value != back[what]]
    if lost:
        raise exception.OperationRefused(
            reason=f"its header is not damaged, and has {' and '.join(lost)} "
                   "that the backup has not, which would be lost; to go back "
                   "to those of the backup, insist with --force (force=True)")


def _other_metadata(header: luks2.Luks2Header) -> Dict[str, object]:
    """What a header has besides keyslots: how it is called, and its value."""
    tree = header.metadata.tree
    return {
        "tokens": {number: token for number, token in tree["tokens"].items()
                   if token["type"] != sealing.TYPE},
        "flags": tree["config"].get("flags"),
        "priorities": {number: slot["priority"]
                       for number, slot in tree["keyslots"].items()
                       if "priority" in slot},
        "a label": header.primary.label.rstrip(b"\0"),
        "a subsystem": header.primary.subsystem.rstrip(b"\0")}


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


def _plan_over_header(current: header_io.Header, present: whole.Areas,
                      header: header_io.Header, areas: whole.Areas
                      ) -> plans.Plan:
    if (isinstance(current, luks2.Luks2Header)
            and isinstance(header, luks2.Luks2Header)):
        return luks2_restore.over_header(current, present, header, areas)
    if (isinstance(current, luks1.Luks1Header)
            and isinstance(header, luks1.Luks1Header)):
        return luks1_restore.over_header(current, present, header, areas)
    raise TypeError("headers of the same volume have the same format")


def _plan_over_own(current: header_io.Header, present: whole.Areas,
                   header: header_io.Header, areas: whole.Areas,
                   start: bytes, force: bool) -> plans.Plan:
    if isinstance(current, luks2.Luks2Header):
        # Amid a re-encryption, nobody may insist: data would be lost.
        luks2_check.requirements(current.metadata)
    try:
        return _plan_over_header(current, present, header, areas)
    except (exception.OperationRefused, exception.UnsupportedHeader):
        # Also if what is there can be read, and not be changed.
        if not force:
            raise
        return plan_over_nothing(header, areas, start)


def _refuse_foreign(header: header_io.Header, start: bytes,
                    error: exception.HeaderError) -> None:
    """Refuse unless what is there is this volume's damaged header.

    That it is damaged has to be proved: it may be newer than the backup, and
    what we cannot use is somebody's.
    """
    packed = header.pack()
    version, place = slice(6, 8), ondisk.UUID
    other_format = start[version] in {b"\0\1", b"\0\2"} - {packed[version]}
    # The mark of a clone is the image's, and no difference.
    if (start[:6] not in (detect.MAGIC, detect.CLONE_MAGIC)
            or start[place] != packed[place] or other_format):
        reason = f"the image holds no header with the backup's UUID " \
                 f"{header.uuid} ({error.msg})"
    elif isinstance(header, luks2.Luks2Header):
        if not header_copies.is_sound(start):
            return
        reason = "nothing shows that the header is damaged, although we " \
                 f"cannot use it ({error.msg})"
    else:
        if _only_constants_differ(header.phdr, start):
            return
        reason = "the header's keyslots are not those of the backup, so it " \
                 "may be newer, although we cannot use it as it is " \
                 f"({error.msg})"
    raise exception.OperationRefused(
        reason=f"{reason}; passphrases of now would be lost: if it is the "
               "right image and the right backup, insist with --force "
               "(force=True)") from error


def _only_constants_differ(phdr: ondisk.Phdr, start: bytes) -> bool:
    """Whether a LUKS1 header differs only in what no change of it changes.

    A passphrase that came or went since the backup was made has changed state,
    iterations and salt of a keyslot; a re-encryption the digest.
    """
    there = ondisk.unpack(start)
    same_key = all(
        getattr(phdr, field) == getattr(there, field)
        for field in ("mk_digest", "mk_digest_salt"))
    return same_key and all(
        (ours.active, ours.iterations, ours.salt)
        == (theirs.active, theirs.iterations, theirs.salt)
        for ours, theirs in zip(phdr.key_blocks, there.key_blocks))


def _difference(header: header_io.Header, current: header_io.Header) -> str:
    """How the volume of a backup differs from the present one."""
    if header.uuid != current.uuid:
        return (f"another volume (UUID {header.uuid}, here {current.uuid})")
    if header.type != current.type:
        return (f"the same volume as {header.type.upper()}, before it was "
                f"converted to {current.type.upper()}")
    if header.data_offset != current.data_offset:
        return (f"the same volume with its data at {header.data_offset}, "
                f"which is at {current.data_offset} now")
    return "the same volume with another volume key, or another layout"


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
