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

"""Make an image a LUKS volume."""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
from typing import Any, Callable, cast, Dict, Optional, Tuple, Union
import uuid as uuids

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import passphrase_advice
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.luks.luks2 import check as luks2_check
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import layout as luks2_layout
from os_brick_rbd_luks.luks import plans

LOG = logging.getLogger(__name__)

# Of an old header, which is destroyed by that much.
_BLOCK = 4096
_PIECE = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True)
class Options:
    """What a new volume is to be like.

    All but the KDF of the first keyslot is for ever.
    """

    #: ``luks1``, which QEMU, librbd and cryptsetup open, or ``luks2``, which
    #: QEMU does not
    type: str = "luks1"
    cipher_spec: str = "aes-xts-plain64"
    #: bytes of the volume key; XTS has two keys in it: 64 is AES-256
    key_bytes: int = 64
    hash_name: str = "sha256"
    #: PBKDF2 iterations of the first keyslot. The default is for a key
    #: manager's random keys; stretch what a human typed
    #: (:mod:`~os_brick_rbd_luks.headers.kdf_cost`).
    iterations: int = kdfs.MIN_ITERATIONS
    #: Argon2id's cost, for a keyslot with that instead; LUKS2 only
    argon2: Optional[kdfs.Argon2Cost] = None
    #: bytes of the payload's sectors: 512 or 4096; LUKS1 has 512
    sector_size: Optional[int] = None
    uuid: Optional[str] = None
    random: Callable[[int], bytes] = os.urandom


def from_volume_type(header_type: str, cipher_spec: Optional[str],
                     key_size: Optional[int], iterations: int) -> Options:
    """The options that the encryption of a Cinder volume type asks for.

    :param header_type: luks1 or luks2
    :param cipher_spec: as dm-crypt writes it; None for the default
    :param key_size: of AES in bits, see
        :func:`~os_brick_rbd_luks.luks.cipher.key_bytes`; None for the largest
    :raises InvalidParameter: a type that we do not write
    :raises UnsupportedHeader: another thing that we do not write
    """
    _check_type(header_type)
    spec = cipher_spec or Options.cipher_spec
    return Options(type=header_type, cipher_spec=spec, iterations=iterations,
                   key_bytes=cipher.key_bytes(spec, key_size or 256))


@header_io.names_image
def format_image(image: base.Image, passphrase: bytes,
                 options: Options = Options(), *,
                 force: bool = False) -> header_io.Header:
    """Write a header with one keyslot for *passphrase*.

    :param force: destroy what the image holds
    :raises AlreadyFormatted: it holds a header
    :raises ImageNotEmpty: it holds data
    :raises ImageTooSmall: there is no room for a payload
    :raises InvalidParameter: its payload would end with a part of a sector,
        or see :func:`check`
    :raises UnsupportedHeader: see :func:`check`
    :raises ImageLocked: somebody has it open
    """
    check(passphrase, options)
    start = header_io.read_start(image, second_copy=force)
    if force:
        offset = _data_offset(image, options)
        # One piece that is written again and again: a stripe may be large.
        zeros = bytes(_PIECE)
        # The old header first: no cut leaves a mixture of the two.
        return _write(image, start, passphrase, options, (
            tuple(plans.Write(at, bytes(_BLOCK))
                  for at in (0, *detect.secondaries(start))),
            tuple(plans.Write(at, zeros[:offset - at])
                  for at in range(_BLOCK, offset, len(zeros)))))
    found = header_io.begins_as(start)
    if found is not detect.Format.NONE:
        raise exception.AlreadyFormatted(what=found.value.upper())

    def no_data() -> None:
        if image.has_data():
            raise exception.ImageNotEmpty(
                length=_data_offset(image, options))

    no_data()
    # Once more under the lock: the key derivation takes its time.
    return _write(image, start, passphrase, options, safe=no_data)


class Begun:
    """A new header that is built while something else is waited for."""

    def __init__(self, passphrase: bytes, options: Options, offset: int
                 ) -> None:
        """Begin.

        :param offset: bytes before the payload, as far as that is known
        """
        self._offset = offset
        self._build = functools.partial(_new_header, passphrase, options)
        self._built = native_threads.begin(
            functools.partial(self._build, offset))

    def change(self, offset: int) -> Union[luks1.Change, luks2.Change]:
        """Wait for it.

        :param offset: bytes before the payload: it is built once more if a
            pool has turned out to be unlike its cluster
        """
        built = self._built()
        return built if offset == self._offset else self._build(offset)


@header_io.names_image
def format_new(image: base.Image, passphrase: bytes,
               options: Options = Options(),
               begun: Optional[Begun] = None) -> header_io.Header:
    """Do as :func:`format_image` to an image that was just created.

    It has no data to be looked for, which takes as long as it is large, and
    nobody else knows it: see
    :func:`~os_brick_rbd_luks.headers.header_io.write_new`.

    :param begun: the header, if it is being built already, of the same
        passphrase and options
    :raises InvalidParameter: see :func:`refuse_striping`
    :raises JournaledImage: it is LUKS2, and the image has a journal
    """
    check(passphrase, options)
    _refuse_journal(image, options)
    offset = _data_offset(image, options)
    header = _written(image, begun.change(offset) if begun else _new_header(
        passphrase, options, offset))
    passphrase_advice.say(image.name, header, passphrase)
    return header


@header_io.names_image
def format_clone(image: base.RBDImage, passphrase: bytes,
                 options: Options) -> unlocking.Unlocked:
    """Give a clone that was just made a header of its own.

    What it has of its parent in the place of the header is dropped, the rest
    stays the parent's. Only librbd of Ceph 18 and newer knows such a volume.
    """
    _refuse_journal(image, options)
    offset = _data_offset(image, options)
    volume_key = options.random(options.key_bytes)
    change = _new_header(passphrase, options, offset, clone=True,
                         volume_key=volume_key)
    image.zero(0, offset)
    return unlocking.Unlocked(_written(image, change), change.keyslot,
                              volume_key)


def _written(image: base.Image, change: Union[luks1.Change, luks2.Change]
             ) -> header_io.Header:
    """Write the header of an image that was just made."""
    header_io.write_new(image, _plan(change, bytes(detect.START)))
    header = change.header
    LOG.info("%s: formatted as %s%s %s, UUID %s", image.name,
             "the own header of a clone, " if header.clone else "",
             header.type, header.cipher_spec, header.uuid)
    return header


def data_offset(stripe_period: int, options: Options) -> int:
    """Bytes before the payload of a volume on such an image."""
    if options.type == "luks2":
        return luks2_layout.data_offset(stripe_period)
    return luks1_layout.data_offset(stripe_period)


def refuse_striping(image: base.Image, header_type: str) -> None:
    """Refuse a format that would have nobody to decrypt it on *image*.

    :raises InvalidParameter: LUKS2, which only librbd gives to guests, and
        objects that interleave the image
    """
    if (header_type == "luks2" and image.is_rbd and image.interleaves()
            and not cast(base.RBDImage, image).librbd.knows_interleaving):
        raise exception.InvalidParameter(
            name="type", value=header_type,
            reason=f"is not for this striping: {engines.INTERLEAVED}; make "
                   "the stripe unit as large as the objects, or choose luks1")


def _data_offset(image: base.Image, options: Options) -> int:
    refuse_striping(image, options.type)
    offset = data_offset(image.stripe_period(), options)
    size = image.size()
    if size <= offset:
        raise exception.ImageTooSmall(size=size, needed=offset)
    _check_whole(size, offset, sector_size(options))
    return offset


def _check_whole(size: int, offset: int, sector: int) -> None:
    """Refuse an image whose payload would end with a part of a sector.

    :param size: bytes of the image
    :param offset: bytes before the payload
    :param sector: bytes
    :raises InvalidParameter: with a size that would do
    """
    cut = (size - offset) % sector
    if cut:
        smaller = (f", or choose --sector-size {cipher.SECTOR} "
                   f"(sector_size={cipher.SECTOR})"
                   if cut % cipher.SECTOR == 0 else "")
        raise exception.InvalidParameter(
            name="image size", value=size,
            reason=f"leaves {cut} bytes of a sector of {sector} bytes at the "
                   f"end, which no guest would see; resize the image to "
                   f"{size - cut + sector} bytes{smaller}")


def _write(image: base.Image, start: bytes, passphrase: bytes,
           options: Options, wipe: Tuple[plans.Stage, ...] = (),
           safe: Optional[Callable[[], None]] = None) -> header_io.Header:
    check(passphrase, options)
    _refuse_journal(image, options)
    change = _new_header(passphrase, options, _data_offset(image, options))
    header_io.apply(image, _plan(change, start, wipe), destructive=True,
                    check=safe)
    LOG.info("%s: formatted as %s %s, UUID %s", image.name, change.header.type,
             options.cipher_spec, change.header.uuid)
    passphrase_advice.say(image.name, change.header, passphrase)
    return change.header


def _refuse_journal(image: base.Image, options: Options) -> None:
    """Refuse a volume that only librbd could open where it opens none.

    :raises JournaledImage: it is LUKS2, and the image has a journal
    """
    if options.type == "luks2" and "journaling" in image.features():
        raise exception.JournaledImage()


def _plan(change: Union[luks1.Change, luks2.Change], start: bytes,
          wipe: Tuple[plans.Stage, ...] = ()) -> plans.Plan:
    """The plan for an image that begins with *start*.

    Nothing is there to fall back on: both copies of LUKS2 in one write.
    """
    return plans.Plan((plans.Write(0, start),), (
        *wipe, change.plan.stages[0],
        (plans.Write(0, change.header.pack()),)))


def header_area(passphrase: bytes, options: Options, offset: int,
                volume_key: bytes) -> bytes:
    """What is before the payload of a new volume, up to its last keyslot.

    :param offset: bytes before the payload; those behind are zeros
    :raises UnsupportedHeader: see :func:`check`
    """
    check(passphrase, options)
    change = _new_header(passphrase, options, offset, volume_key=volume_key)
    first, = plans.joined(
        write for stage in _plan(change, bytes(detect.START)).stages
        for write in stage)
    return first.data


def _new_header(passphrase: bytes, options: Options, offset: int,
                clone: bool = False, volume_key: Optional[bytes] = None
                ) -> Union[luks1.Change, luks2.Change]:
    if volume_key is None:
        volume_key = options.random(options.key_bytes)
    common: Dict[str, Any] = {
        "cipher_spec": options.cipher_spec, "hash_name": options.hash_name,
        "data_offset": offset, "random": options.random, "clone": clone,
        "uuid": options.uuid or str(uuids.uuid4())}
    header: header_io.Header
    if options.type == "luks2":
        header = luks2.Luks2Header.build(
            volume_key, sector_size=sector_size(options), **common)
    else:
        header = luks1.Luks1Header.build(volume_key, **common)
    return header.add(volume_key, passphrase, iterations=options.iterations,
                      argon2=options.argon2, random=options.random)


def sector_size(options: Options) -> int:
    """Bytes of the payload's sectors, by default librbd's."""
    default = 4096 if options.type == "luks2" else cipher.SECTOR
    return default if options.sector_size is None else options.sector_size


def check_size(size: int, sector: int) -> None:
    """Refuse a decrypted size that is not whole sectors.

    :param size: bytes
    :param sector: bytes
    :raises InvalidParameter: it is not, or none at all
    """
    if size <= 0 or size % sector:
        raise exception.InvalidParameter(
            name="size", value=size,
            reason=f"is not a positive multiple of {sector} bytes, the "
                   f"sectors of the volume; choose {_whole(size, sector)}")


def _whole(size: int, sector: int) -> int:
    return max(keymaterial.round_up(size, sector), sector)


def check(passphrase: bytes, options: Options) -> None:
    """Refuse what :func:`format_image` would, before an image is made.

    :raises UnsupportedHeader: cipher, key length, hash or sector size
    :raises InvalidParameter: type, passphrase length or the KDF's cost
    """
    if options.type == "luks2":
        kdfs.check_new(passphrase, options.iterations, options.argon2)
        luks2_check.check_format(options.cipher_spec, options.key_bytes,
                                 options.hash_name, sector_size(options))
        return
    _check_type(options.type)
    luks1.check_new(passphrase, options.iterations, options.argon2)
    luks1.check_format(options.cipher_spec, options.key_bytes,
                       options.hash_name)
    if sector_size(options) != cipher.SECTOR:
        raise exception.InvalidParameter(
            name="sector size", value=options.sector_size,
            reason="is not there in LUKS1, which has sectors of 512 bytes")


def _check_type(name: str) -> None:
    if name not in ("luks1", "luks2"):
        raise exception.InvalidParameter(name="type", value=name,
                                         reason="is not luks1 or luks2")
