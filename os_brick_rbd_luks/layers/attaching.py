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

"""What a hypervisor has to know of an image to attach it.

The one place that knows how to tell it from the image: the connector, the
encryptors, Cinder's driver and the command all ask here.
"""

from __future__ import annotations

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import sealed


def read_facts(image: base.RBDImage, volume: str,
               luks1_engine: str = attachment.QEMU) -> attachment.Native:
    """The facts of an image, whose header is read.

    :param volume: id of the volume, by which its secrets are found
    :param luks1_engine: see :func:`facts`
    :raises HeaderError: there is none, or none that we can use
    :raises LayersNotReadable: see
        :func:`~os_brick_rbd_luks.layers.sealed.look`
    """
    return facts(image, header_io.read_header(image), volume, luks1_engine)


def facts(image: base.RBDImage, header: header_io.Header, volume: str,
          luks1_engine: str = attachment.QEMU) -> attachment.Native:
    """The facts of an image with that *header*.

    :param luks1_engine: who is to decrypt LUKS1; QEMU does it where librbd
        would not load the volume, or would harm the guest's process
    """
    if luks1_engine == attachment.LIBRBD:
        store = engines.Store.of(image)
        if (engines.librbd_reason(header, store, image.librbd)
                or engines.closing_reason(store, image.librbd)):
            luks1_engine = attachment.QEMU
    return attachment.native(
        header.type, header.data_offset, image.size(), volume,
        clone=header.clone, layers=sealed.needed(image, header).count,
        luks1_engine=luks1_engine)
