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
"""New clones, by upstream's way or ours, as volumes of their own."""

from __future__ import annotations

from typing import Any, Dict, Optional

from os_brick_rbd_luks.volume import deletion
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import rekey
from os_brick_rbd_luks.volume import sizes


def with_own_key(volume: encrypted.Volume, source: Any,
                 update: Optional[Dict[str, Any]]
                 ) -> Optional[Dict[str, Any]]:
    """Give a new clone its size, and a key that its source has not.

    :param source: the volume or snapshot that it is a clone of
    :param update: what the manager is to store of it
    :returns: that, and the key
    :raises VolumeBackendAPIException: there is no clone
    """
    record = volume.record
    if not record.encryption_key_id:
        # A temporary volume, too, of which a backup reads the bytes.
        return update
    with deletion.removed_on_error(volume):
        sizes.resize(volume, volume.size)
        if record.encryption_key_id != source.encryption_key_id:
            rekey.own_key(volume)
    return {**(update or {}), "encryption_key_id": record.encryption_key_id}
