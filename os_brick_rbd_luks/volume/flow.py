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
"""Let Cinder's manager ask the driver before it downloads an image.

For an encrypted volume, upstream's flow never calls the driver's
``clone_image``: it downloads the image to a file first, however large.
:func:`install` puts a step before that, in a service that loads this driver,
and for encrypted volumes on its backends only.

Source: ``cinder.volume.flows.manager.create_volume``
(``CreateVolumeFromSpecTask._create_from_image``), 21 to 29.
"""

from __future__ import annotations

import functools
import inspect
import logging
import threading
from typing import Any, Optional

from cinder.volume.flows.manager import create_volume

LOG = logging.getLogger(__name__)

_PARAMETERS = ["self", "context", "volume", "image_location", "image_id",
               "image_meta", "image_service", "kwargs"]
_MUTEX = threading.Lock()
_INSTALLED = "_rbd_luks"


def install() -> bool:
    """Put our step into the flow, once.

    :returns: whether it is there; a flow that we do not know stays as it is
    """
    task = create_volume.CreateVolumeFromSpecTask
    with _MUTEX:
        upstream = task._create_from_image
        if hasattr(upstream, _INSTALLED):
            return True
        if list(inspect.signature(upstream).parameters) != _PARAMETERS:
            LOG.warning("This Cinder makes volumes from images in a way that "
                        "is not known: it downloads every image, and makes "
                        "no encrypted clones of them")
            return False
        task._create_from_image = _before(upstream)
    return True


def _before(upstream: Any) -> Any:
    @functools.wraps(upstream)
    def _create_from_image(self: Any, context: Any, volume: Any,
                           image_location: Any, image_id: str,
                           image_meta: Any, image_service: Any,
                           **kwargs: Any) -> Any:
        create = getattr(self.driver, "create_encrypted_from_image", None)
        update: Optional[Any] = None
        if create and volume.encryption_key_id:
            update = create(context, volume, image_location, image_meta,
                            image_service)
        if update is None:
            return upstream(self, context, volume, image_location, image_id,
                            image_meta, image_service, **kwargs)
        self._cleanup_cg_in_volume(volume)
        self._handle_bootable_volume_glance_meta(
            context, volume, image_id=image_id, image_meta=image_meta)
        return update

    setattr(_create_from_image, _INSTALLED, True)
    return _create_from_image
