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

"""Make an encrypted image whose decrypted size is what was asked for."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import tokens

LOG = logging.getLogger(__name__)


def create(store: base.ImageStore, name: str, size: int, passphrase: bytes,
           options: formatting.Options = formatting.Options(), *,
           restart: bool = False, **image_options: Any) -> header_io.Header:
    """Create image *name* and format it; it is complete or not there.

    :param size: decrypted size in bytes, a multiple of the sector size (512
        in LUKS1); the image is that plus the data offset
    :param restart: see :func:`~os_brick_rbd_luks.image.partial.new`
    :param image_options: for the store: object size, features, ...
    :raises InvalidParameter: *size* is not as said, or see
        :func:`~os_brick_rbd_luks.headers.formatting.check`
    :raises ImageExists: there is an image of that name, which stays as it is
    :raises HalfMade: an interrupted run left something, and not *restart*
    """
    needed = image_size(store, size, passphrase, options, **image_options)
    begun: List[formatting.Begun] = []

    def make(half: str) -> base.Image:
        if not begun:
            # librbd waits for the cluster meanwhile.
            begun.append(formatting.Begun(passphrase, options, needed - size))
        return store.create(half, needed, **image_options)

    with partial.new(store, name, make, restart=restart) as image:
        return format_new(image, size, passphrase, options, *begun)


def create_alike(store: base.ImageStore, name: str, size: int,
                 source: base.Image, *, restart: bool = False,
                 **image_options: Any) -> header_io.Header:
    """Create image *name* with the header of another one, and no data.

    The same passphrases open it, for the same volume key; nobody has to know
    them. What the header says of layers below is left out.

    :param size: decrypted size in bytes, as of :func:`create`
    :param source: the other image, open
    :raises HeaderError: it has no header, or none that we can use
    :raises OperationRefused: librbd would not load that header here
    """
    header = header_io.read_header(source)
    areas = header_backup.read_areas(source, header)
    if header.clone:
        header = header.unmarked()
    if isinstance(header, luks2.Luks2Header):
        header = dataclasses.replace(tokens.put(header, None), ailment=None,
                                     found=None)
    formatting.check_size(size, header.sector_size)
    offset = header.data_offset
    with partial.new(store, name, lambda half: store.create(
            half, size + offset, **image_options), restart=restart) as image:
        formatting.refuse_striping(image, header.type)
        if header.type == "luks2" and offset % image.stripe_period():
            raise exception.OperationRefused(
                reason=f"the payload at {offset} would not be aligned to the "
                       f"stripe period of {image.stripe_period()} bytes")
        header_io.write_new(image, header_backup.plan_over_nothing(
            header, areas, bytes(detect.START)))
    LOG.info("%s: created with the header of %s, UUID %s", name, source.name,
             header.uuid)
    return header


def image_size(store: base.ImageStore, size: int, passphrase: bytes,
               options: formatting.Options, **image_options: Any) -> int:
    """Bytes of an image whose decrypted size is *size*.

    :raises InvalidParameter: see :func:`create`
    """
    formatting.check(passphrase, options)
    formatting.check_size(size, formatting.sector_size(options))
    return size + formatting.data_offset(
        store.stripe_period(**image_options), options)


def format_new(image: base.Image, size: int, passphrase: bytes,
               options: formatting.Options,
               begun: Optional[formatting.Begun] = None) -> header_io.Header:
    """Format an image of :func:`image_size` that was just created.

    :param size: decrypted size in bytes
    :param begun: its header, if that is being built already
    """
    # A pool may have defaults of its own for the striping.
    needed = size + formatting.data_offset(image.stripe_period(), options)
    if image.size() != needed:
        image.resize(needed)
    return formatting.format_new(image, passphrase, options, begun)
