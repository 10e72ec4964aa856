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

"""What still has the volume key of a volume that is being deleted: a warning.

Only what the image itself tells of is looked at, never the whole pool: a
deletion is to be quick. It is never a reason not to delete.
"""

from __future__ import annotations

import logging
from typing import List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import same_key
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors

LOG = logging.getLogger(__name__)

#: How many places a warning names.
_NAMED = 20


def known_by(image: base.Image) -> Optional[same_key.Sought]:
    """What the volume key of *image* is known by, None if by nothing.

    To be asked before it is erased.
    """
    try:
        return same_key.sought(image)
    except exception.RBDLuksError as error:
        LOG.debug("nothing to look for: %s", error)
        return None


def look(volume: encrypted.Volume, sought: Optional[same_key.Sought]
         ) -> List[reachable.Place]:
    """Look for it while the image is there; whatever fails, that is logged.

    Blocks: to be called in a native thread.
    """
    if sought is None:
        return []
    try:
        with volume.pool() as pool:
            return reachable.nearby(pool, volume.name, sought)
    except exception.ImageNotFound as error:
        LOG.debug("%s: not looked at: %s", volume.name, error)
    except exception.RBDLuksError as error:
        LOG.warning("%s: whether its snapshots, clones or parents still have "
                    "its volume key is not known: %s", volume.name, error)
    return []


def warn(volume: encrypted.Volume, places: List[reachable.Place]) -> None:
    """Name the places in the log, now that the volume is deleted."""
    if places:
        named = errors.first([f"{place.place} {place.name} ({place.why})"
                              for place in places], _NAMED)
        LOG.warning("%s is deleted, but its volume key can still be had from "
                    "%s", volume.name, "; ".join(named))
