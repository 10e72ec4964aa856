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
"""What a connection says of an encrypted volume."""

from __future__ import annotations

import logging
from typing import Any, Dict

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import attaching
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted

LOG = logging.getLogger(__name__)


@threads.native
def mark(volume: encrypted.Volume, connection: Dict[str, Any]) -> None:
    """Mark the connection as native, without any secret.

    A volume without a header that we can use gets no mark: whether that is
    an error is for the encryptor to say.

    :param connection: of upstream's driver; its ``data`` is changed
    """
    try:
        with volume.image(read_only=True) as image:
            facts = attaching.read_facts(image, volume.record.id)
    except exception.RBDLuksError as error:
        LOG.warning("%s; the connection is not marked as native", error)
        return
    attachment.mark(connection, facts)
    # What the guest discards would not free any space.
    connection["data"]["discard"] = facts.discard
