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

import logging
from typing import Any

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base

LOG = logging.getLogger(__name__)


def create(store: base.ImageStore, name: str, size: int, passphrase: bytes,
           options: formatting.Options = formatting.Options(),
           **image_options: Any) -> header_io.Header:
    """Create image *name* and format it; it is complete or not there.

    :param size: decrypted size in bytes, a multiple of the sector size (512
        in LUKS1); the image is that plus the data offset
    :param image_options: for the store: object size, features, ...
    :raises InvalidParameter: *size* is not as said, or see
        :func:`~os_brick_rbd_luks.headers.formatting.check`
    :raises ImageExists: there is an image of that name, which stays as it is
    """
    formatting.check(passphrase, options)
    formatting.check_size(size, formatting.sector_size(options))
    offset = formatting.data_offset(store.stripe_period(**image_options),
                                    options)
    created = False
    try:
        with store.create(name, size + offset, **image_options) as image:
            created = True
            # A pool may have defaults of its own for the striping.
            actual = formatting.data_offset(image.stripe_period(), options)
            if actual != offset:
                image.resize(size + actual)
            return formatting.format_new(image, passphrase, options)
    except exception.HeaderChanged:
        # Nothing of ours is on it, but something of somebody else's.
        LOG.warning("%s: another client wrote to the new image, so it stays",
                    name)
        raise
    except BaseException:
        if created:
            LOG.debug("%s: formatting failed, removing the new image", name)
            base.remove_quietly(store, name)
        raise
