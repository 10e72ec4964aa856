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
import logging
import os
from typing import Callable, Optional, Tuple
import uuid as uuids

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks import kdf
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import layout
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks import plan as plans
from os_brick_rbd_luks.operations import header_io

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Options:
    """What a new volume is to be like; all but *iterations* is for ever."""

    cipher_spec: str = "aes-xts-plain64"
    #: bytes of the volume key; XTS has two keys in it: 64 is AES-256
    key_bytes: int = 64
    hash_name: str = "sha256"
    #: PBKDF2 iterations of the first keyslot. The default is for a key
    #: manager's random keys; stretch what a human typed
    #: (:mod:`kdf_cost`).
    iterations: int = kdf.MIN_ITERATIONS
    uuid: Optional[str] = None
    random: Callable[[int], bytes] = os.urandom


def from_volume_type(header_type: str, cipher_spec: Optional[str],
                     key_size: Optional[int], iterations: int) -> Options:
    """The options that the encryption of a Cinder volume type asks for.

    :param header_type: luks1; others are refused
    :param cipher_spec: as dm-crypt writes it; None for the default
    :param key_size: of AES in bits, see :func:`cipher.key_bytes`; None for
        the largest
    :raises UnsupportedHeader: what we do not write
    """
    if header_type != detect.Format.LUKS1.value:
        raise exception.UnsupportedHeader(
            what=f"formatting as {header_type}",
            supported=detect.Format.LUKS1.value)
    spec = cipher_spec or Options.cipher_spec
    return Options(cipher_spec=spec, iterations=iterations,
                   key_bytes=cipher.key_bytes(spec, key_size or 256))


@header_io.names_image
def format_image(image: base.Image, passphrase: bytes,
                 options: Options = Options(), *,
                 force: bool = False) -> luks1.Luks1Header:
    """Write a header with one keyslot for *passphrase*.

    :param force: destroy what the image holds
    :raises AlreadyFormatted: it holds a header
    :raises ImageNotEmpty: it holds data
    :raises ImageTooSmall: there is no room for a payload
    :raises ImageLocked: somebody has it open
    """
    start = header_io.read_start(image)
    if force:
        offset = _data_offset(image)
        # The old header first: no cut leaves a mixture of the two.
        return _write(image, start, passphrase, options, (
            (plans.Write(0, bytes(layout.KEYSLOT_ALIGNMENT)),),
            (plans.Write(layout.KEYSLOT_ALIGNMENT,
                         bytes(offset - layout.KEYSLOT_ALIGNMENT)),)))
    found = detect.detect(start)
    if found is not detect.Format.NONE:
        raise exception.AlreadyFormatted(what=found.value.upper())

    def check() -> None:
        if image.has_data():
            raise exception.ImageNotEmpty(length=_data_offset(image))

    check()
    # Once more under the lock: the key derivation takes its time.
    return _write(image, start, passphrase, options, check=check)


@header_io.names_image
def format_new(image: base.Image, passphrase: bytes,
               options: Options = Options()) -> luks1.Luks1Header:
    """Do as :func:`format_image` to an image that was just created.

    It has no data to be looked for, which takes as long as it is large.
    """
    return _write(image, bytes(ondisk.SIZE), passphrase, options)


def _data_offset(image: base.Image) -> int:
    offset = layout.data_offset(image.stripe_period())
    size = image.size()
    if size <= offset:
        raise exception.ImageTooSmall(size=size, needed=offset)
    if size % cipher.SECTOR:
        raise exception.InvalidParameter(
            name="image size", value=size,
            reason=f"is not a multiple of {cipher.SECTOR} bytes, so a guest "
                   f"could not see all of it; resize the image")
    return offset


def _write(image: base.Image, start: bytes, passphrase: bytes,
           options: Options, wipe: Tuple[plans.Stage, ...] = (),
           check: Callable[[], None] = lambda: None) -> luks1.Luks1Header:
    change = _new_header(passphrase, options, _data_offset(image))
    header_io.apply(image, plans.Plan((plans.Write(0, start),),
                                      wipe + change.plan.stages),
                    destructive=True, check=check)
    LOG.info("%s: formatted as %s %s, UUID %s", image.name, change.header.type,
             options.cipher_spec, change.header.uuid)
    return change.header


def _new_header(passphrase: bytes, options: Options,
                offset: int) -> luks1.Change:
    volume_key = options.random(options.key_bytes)
    header = luks1.Luks1Header.build(
        volume_key, cipher_spec=options.cipher_spec,
        hash_name=options.hash_name, data_offset=offset,
        uuid=options.uuid or str(uuids.uuid4()), random=options.random)
    return header.add(volume_key, passphrase, iterations=options.iterations,
                      random=options.random)


def check(passphrase: bytes, options: Options) -> None:
    """Refuse what :func:`format_image` would, before an image is made.

    :raises UnsupportedHeader: cipher, key length or hash
    :raises InvalidParameter: passphrase length or iterations
    """
    luks1.check_new(passphrase, options.iterations)
    luks1.check_format(options.cipher_spec, options.key_bytes,
                       options.hash_name)
