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
"""Volumes of Glance's images, and images of volumes: that part of the driver.

Source: ``cinder.volume.drivers.rbd.RBDDriver`` (``copy_image_to_volume``,
``copy_image_to_encrypted_volume``, ``copy_volume_to_image``), 21 to 29.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Optional

from cinder.volume.drivers import rbd

from os_brick_rbd_luks.services import admission
from os_brick_rbd_luks.volume import creation
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import glance_images
from os_brick_rbd_luks.volume import image_copy
from os_brick_rbd_luks.volume import image_properties
from os_brick_rbd_luks.volume import own_headers
from os_brick_rbd_luks.volume import uploads


@errors.translating
class Imaging(rbd.RBDDriver):  # type: ignore[misc]
    """What the driver is made of."""

    _encrypted: Any
    _set_up: Any

    @functools.cached_property
    def _copies(self) -> admission.Admission:
        """How many images are copied into volumes at a time."""
        return admission.Admission(
            self.configuration.rbd_luks_concurrent_image_copies)

    def create_encrypted_from_image(
            self, context: Any, volume: Any, location: Any,
            meta: Dict[str, Any], service: Any) -> Optional[Dict[str, Any]]:
        """Make an encrypted volume of a raw image without a file of it.

        Called by :mod:`~os_brick_rbd_luks.volume.flow`.

        :returns: None if that is not possible: then the image is downloaded
        :raises ImageUnacceptable: see
            :func:`~os_brick_rbd_luks.volume.image_properties.refuse_unusable`
        :raises ImageTooBig: likewise
        """
        self.refuse_image(volume, meta)
        image = glance_images.known(self, context, service, meta, location)
        if not image.is_raw or image.is_signed:
            return None
        with self._encrypted(volume) as ours:
            if (self.configuration.rbd_luks_clone_images
                    and image_copy.may_be_layered(ours, image)):
                creation.refuse_journal(self, volume)
                image_copy.own_header(ours, image)
                update: Dict[str, Any] = self._set_up(ours)
                return update
            # Before anything connects, or is made.
            with self._copies.one():
                update = {} if image.key_id else self.create_volume(volume)
                image_copy.set_downloading(volume)
                with errors.copying():
                    image_copy.replace(ours, image, self._setup_volume)
            return {**update, "encryption_key_id": volume.encryption_key_id}

    @staticmethod
    def refuse_image(volume: Any, meta: Dict[str, Any]) -> None:
        """Refuse an image that cannot become the data of *volume*.

        Called by :mod:`~os_brick_rbd_luks.volume.flow`, too.

        :param meta: what Glance says of it
        :raises ImageUnacceptable: see
            :func:`~os_brick_rbd_luks.volume.image_properties.refuse_unusable`
        :raises ImageTooBig: likewise
        """
        image_properties.refuse_unusable(
            meta, volume.encryption_key_id and volume.size * encrypted.GIB)

    def copy_image_to_encrypted_volume(
            self, context: Any, volume: Any, image_service: Any,
            image_id: str, disable_sparse: bool = False) -> None:
        """Encrypt an image into a volume that is there."""
        meta = image_service.show(context, image_id)
        self.refuse_image(volume, meta)
        image = glance_images.known(
            self, context, image_service, meta,
            image_service.get_location(context, image_id))
        with self._copies.one(), self._encrypted(volume) as ours:
            image_copy.replace(ours, image, self._setup_volume)

    def copy_image_to_volume(
            self, context: Any, volume: Any, image_service: Any,
            image_id: str, *args: Any, **kwargs: Any) -> None:
        """As upstream's; into an encrypted volume comes an encrypted image."""
        # What else there is depends on the release: Cinder 21 has nothing.
        if volume.encryption_key_id:
            self.copy_image_to_encrypted_volume(
                context, volume, image_service, image_id, *args, **kwargs)
        else:
            self.refuse_image(volume, image_service.show(context, image_id))
            super().copy_image_to_volume(
                context, volume, image_service, image_id, *args, **kwargs)

    def copy_volume_to_image(self, context: Any, volume: Any,
                             image_service: Any, image_meta: Any) -> None:
        """Upload the volume, encrypted if it is: always as LUKS1."""
        if volume.encryption_key_id:
            with self._encrypted(volume) as ours:
                upload = uploads.look(ours)
                image_properties.write(context, image_service, image_meta,
                                       "LUKSv1", upload.size)
                if upload.converted:
                    uploads.send_as_luks1(ours, context, image_service,
                                          image_meta["id"])
                    return
                own_headers.make_independent(ours)
        else:
            image_properties.remove(context, image_service, image_meta)
        super().copy_volume_to_image(context, volume, image_service,
                                     image_meta)
