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
"""Which volume of Cinder's an image is named for, and whether that lives."""

from __future__ import annotations

from typing import Any, Optional
import uuid

from cinder import context as cinder_context
from cinder import objects
from cinder.volume import volume_utils
from oslo_config import cfg


def volume_id(name: str) -> Optional[str]:
    """The id in the name of an image, if it is called just like a volume.

    As the database writes ids: whoever writes them otherwise, or a name
    around them, has made that image.

    :param name: without a pool
    :returns: None of any other image
    """
    found = volume_utils.extract_id_from_volume_name(name)
    try:
        is_id = str(uuid.UUID(found)) == found
    except (TypeError, ValueError):
        return None
    return found if is_id and cfg.CONF.volume_name_template % found == name \
        else None


def living(found: str) -> Optional[Any]:
    """The record of a volume whose image has, or may have, this id.

    The image of a migrated volume has another id than its volume. Asks the
    database, so not in a native thread.

    :param found: see :func:`volume_id`
    :returns: None where there is no such volume, or it is deleted
    """
    admin = cinder_context.get_admin_context()
    for column in ("id", "_name_id"):
        for record in objects.VolumeList.get_all(admin,
                                                 filters={column: found}):
            return record
    return None
