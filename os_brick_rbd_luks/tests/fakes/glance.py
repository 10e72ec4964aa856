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

"""An image service that behaves: its images are files, or in Ceph."""

from __future__ import annotations

import os
import shutil
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Tuple
import uuid

from cinder import exception as cinder_exception
from cinder.image import glance

from os_brick_rbd_luks.tests import units

#: The one property that Cinder's client has beside the others, too.
_LIFTED = "cinder_encryption_key_id"


class ImageService:
    """What Cinder asks of its client of Glance."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._images: Dict[str, Dict[str, Any]] = {}
        self._locations: Dict[str, Optional[str]] = {}
        #: a place for Cinder's own use
        self.temp_images: Any = None
        #: ids of all images that were downloaded
        self.downloads: List[str] = []
        #: bytes after which a download ends, as if that were all
        self.breaks_after: Optional[int] = None
        #: or that with an error
        self.fails_after: Optional[int] = None
        #: names of properties that a policy lets nobody write
        self.protected: FrozenSet[str] = frozenset()

    # For tests

    def add(self, make: Optional[Callable[[str], Any]] = None,
            disk_format: str = "raw", location: Optional[str] = None,
            **meta: Any) -> str:
        """A new image; its id.

        :param make: called with the path of the file to make
        """
        image_id = str(uuid.uuid4())
        if make:
            make(self.path(image_id))
        self._images[image_id] = {
            "id": image_id, "name": "image", "status": "active",
            "disk_format": disk_format, "container_format": "bare",
            "size": os.path.getsize(self.path(image_id)) if make else 0,
            "min_disk": 0, "min_ram": 0, "visibility": "public",
            "properties": {}, **meta}
        self._locations[image_id] = location
        return image_id

    def path(self, image_id: str) -> str:
        """Of an image's file."""
        return os.path.join(self._folder, image_id)

    def set(self, image_id: str, **meta: Any) -> None:
        """Change what is said of an image."""
        self._images[image_id].update(meta)

    # For Cinder

    def show(self, _context: Any, image_id: str) -> Dict[str, Any]:
        image = dict(self._images[image_id])
        image["properties"] = dict(image["properties"])
        if image.get(_LIFTED):
            image["properties"].setdefault(_LIFTED, image[_LIFTED])
        elif image["properties"].get(_LIFTED):
            image[_LIFTED] = image["properties"][_LIFTED]
        return image

    def get_location(self, _context: Any, image_id: str) -> Tuple[
            Optional[str], Optional[List[Dict[str, Any]]]]:
        url = self._locations[image_id]
        return url, [{"url": url, "metadata": {}}] if url else None

    def download(self, _context: Any, image_id: str,
                 data: Any = None) -> None:
        self.downloads.append(image_id)
        sent = 0
        with open(self.path(image_id), "rb") as stream:
            while piece := stream.read(units.MIB):
                if self.breaks_after is not None and sent >= self.breaks_after:
                    return
                if self.fails_after is not None and sent >= self.fails_after:
                    raise cinder_exception.GlanceConnectionFailed(
                        reason="it went away")
                data.write(piece)
                sent += len(piece)

    def update(self, _context: Any, image_id: str, meta: Any,
               data: Any = None, purge_props: bool = True,
               **_options: Any) -> Dict[str, Any]:
        image = self._images[image_id]
        if data is not None:
            with open(self.path(image_id), "wb") as stream:
                shutil.copyfileobj(data, stream, units.MIB)
            image["size"] = os.path.getsize(self.path(image_id))
        # What a release of Cinder makes of it, it sends, or nothing.
        sent = glance.GlanceImageService._translate_to_glance(meta)
        if sent and purge_props:
            image["properties"] = {
                name: value for name, value in image["properties"].items()
                if name in meta.get("properties", {})}
            image.pop(_LIFTED, None)
        for name, value in sent.items():
            if name in self.protected:
                raise cinder_exception.ImageNotAuthorized(image_id=image_id)
            if not isinstance(value, str):
                raise cinder_exception.Invalid(f"{name} is no string")
            (image if name in image else image["properties"])[name] = value
        return self.show(_context, image_id)
