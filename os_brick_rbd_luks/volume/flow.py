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
and for encrypted volumes on its backends only. What upstream's steps tell the
user when a volume fails, ours does likewise.

Source: ``cinder.volume.flows.manager.create_volume``
(``CreateVolumeFromSpecTask``: ``execute``, ``_create_from_image``), 21 to 29.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
from typing import Any, Optional

from cinder.volume.flows.manager import create_volume

from os_brick_rbd_luks.services import registration
from os_brick_rbd_luks.volume import messages

LOG = logging.getLogger(__name__)

_PARAMETERS = ["self", "context", "volume", "image_location", "image_id",
               "image_meta", "image_service", "kwargs"]


def _put_all(registered: registration.Registration) -> None:
    task = create_volume.CreateVolumeFromSpecTask
    upstream = task._create_from_image
    if list(inspect.signature(upstream).parameters) != _PARAMETERS:
        LOG.warning("This Cinder makes volumes from images in a way that "
                    "is not known: it downloads every image, and makes "
                    "no encrypted clones of them")
        return
    registered.put_attribute(task, "_create_from_image", _before(upstream))
    registered.put_attribute(task, "execute", _told(task.execute))


_REGISTRATION = registration.Registration(_put_all)


def install() -> None:
    """Put our step into the flow, once.

    A flow that we do not know stays as it is.
    """
    _REGISTRATION.register()


def uninstall() -> None:
    """Undo :func:`install`; without one, nothing is done."""
    _REGISTRATION.unregister()


def _before(upstream: Any) -> Any:
    @functools.wraps(upstream)
    def _create_from_image(self: Any, context: Any, volume: Any,
                           image_location: Any, image_id: str,
                           image_meta: Any, image_service: Any,
                           **kwargs: Any) -> Any:
        create = getattr(self.driver, "create_encrypted_from_image", None)
        update: Optional[Any] = None
        if create:
            with messages.of_image(self.message, context, volume):
                if volume.encryption_key_id:
                    update = create(context, volume, image_location,
                                    image_meta, image_service)
                else:
                    self.driver.refuse_image(volume, image_meta)
        if update is None:
            return upstream(self, context, volume, image_location, image_id,
                            image_meta, image_service, **kwargs)
        self._cleanup_cg_in_volume(volume)
        self._handle_bootable_volume_glance_meta(
            context, volume, image_id=image_id, image_meta=image_meta)
        return update

    return _create_from_image


def _told(upstream: Any) -> Any:
    # Taskflow reads the names of the arguments, of what it is wrapped in.
    @functools.wraps(upstream)
    def execute(self: Any, context: Any, volume: Any, volume_spec: Any
                ) -> Any:
        kind = volume_spec.get("type")
        # Of an empty volume upstream's _create_raw_volume tells.
        with contextlib.nullcontext() if kind == "raw" else (
                messages.of_key_manager(self.message, context, volume,
                                        kind == "image")):
            return upstream(self, context, volume, volume_spec)

    return execute
