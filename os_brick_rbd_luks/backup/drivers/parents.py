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

"""What a volume was a clone of that was overwritten by a restore."""

from __future__ import annotations

import logging
from typing import Any

from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.services import threads

LOG = logging.getLogger(__name__)


@threads.native
def release(handle: Any, parent: base.Parent, name: str) -> None:
    """Remove what there was only for a clone that is none any more.

    Its deletion does that else, and would not find it.
    """
    try:
        with brick.pool_of(handle) as pool:
            flattening.release_parents(pool, parent, name)
    except exception.RBDLuksError as error:
        LOG.warning("%s: cannot tidy up; if this snapshot has no clone, "
                    "remove it by hand: %s", parent, error)
