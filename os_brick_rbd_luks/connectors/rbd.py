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

"""os-brick's RBD connector, which knows the decrypted size of a volume.

Source: ``os_brick.initiator.connectors.rbd.RBDConnector``, 6.1 to 7.1.
"""

from __future__ import annotations

import logging
from typing import Any, Dict, Optional

from os_brick.initiator.connectors import rbd

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.layers import attaching
from os_brick_rbd_luks.services import brick_errors
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.services import threads

LOG = logging.getLogger(__name__)


class RBDLuksConnector(rbd.RBDConnector):  # type: ignore[misc]
    """As upstream's; the attachment of an encrypted volume is marked."""

    @brick_errors.raised
    def connect_volume(self, connection_properties: Dict[str, Any]
                       ) -> Dict[str, Any]:
        """As upstream's, with :data:`~os_brick_rbd_luks.attachment.KEY` beside
        ``path``.

        A volume without a header that we can use has no mark: whether that
        is an error is for the encryptor to say.
        """
        result: Dict[str, Any] = super().connect_volume(connection_properties)
        path = result["path"]
        if connection_properties.get("encrypted") and hasattr(
                path, "rbd_image"):
            try:
                facts = threads.call(
                    _facts, brick.over_handle(
                        path, connection_properties["name"]),
                    connection_properties)
            except BaseException:
                self.disconnect_volume(connection_properties, result)
                raise
            if facts:
                attachment.mark({"data": result}, facts)
        return result

    @brick_errors.raised
    def extend_volume(self, connection_properties: Dict[str, Any]) -> int:
        """The bytes that a user of the volume sees now.

        :raises HeaderError: an encrypted volume without a usable header
        """
        local = connection_properties.get("do_local_attach",
                                          self.do_local_attach)
        if local or not connection_properties.get("encrypted"):
            size: int = super().extend_volume(connection_properties)
            return size
        return threads.call(_decrypted_size, connection_properties)


def _facts(image: base.RBDImage, properties: Dict[str, Any]
           ) -> Optional[attachment.Native]:
    volume = properties.get("volume_id") or properties["name"].rpartition(
        "/")[2]
    try:
        return attaching.read_facts(image, volume)
    except exception.HeaderError as error:
        LOG.warning("%s; the attachment is not marked as native", error)
        return None


def _decrypted_size(properties: Dict[str, Any]) -> int:
    with brick.attached(properties, opts.options().ceph_conf) as image:
        return header_io.guest_size(image, header_io.read_header(image))
