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
"""From a Glance image to an encrypted volume, and what reads the image.

Source: ``cinder.image.image_utils`` (``fetch_to_volume_format``),
``cinder.volume.drivers.rbd`` (``_is_cloneable``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
from typing import Any, Dict, IO, Iterator, List, Optional, Tuple

from cinder import exception as cinder_exception
from cinder.image import accelerator
from cinder.image import image_utils
from oslo_config import cfg

from os_brick_rbd_luks.copies import image_file
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import progress
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks.copies import zeros
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.services import pipes
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import image_properties

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Image:
    """An image, and who asks for it."""

    context: Any
    service: Any
    meta: Dict[str, Any]
    #: snapshots in the volumes' own cluster that are this image as it is
    parents: List[base.Parent] = dataclasses.field(default_factory=list)

    @property
    def id(self) -> str:
        """Glance's id."""
        return str(self.meta["id"])

    @property
    def key_id(self) -> Optional[str]:
        """The key of an image that was uploaded encrypted."""
        return image_properties.key_id(self.meta)

    @property
    def is_raw(self) -> bool:
        """Whether its bytes are those of a disk."""
        return (self.meta.get("disk_format") == "raw"
                and self.meta.get("container_format") in ("bare", "luks"))

    @property
    def is_signed(self) -> bool:
        """Whether Cinder's manager is to verify a signature of its bytes."""
        return (cfg.CONF.verify_glance_signatures != "disabled"
                and any(name.startswith("img_signature")
                        for name in image_properties.read(self.meta)))


def known(driver: Any, context: Any, service: Any, meta: Dict[str, Any],
          location: Any) -> Image:
    """An image, and where the driver finds it.

    :param location: what ``get_location`` of the image service gives
    """
    return Image(context, service, meta, _parents(driver, meta, location))


def _parents(driver: Any, meta: Dict[str, Any], location: Any
             ) -> List[base.Parent]:
    if meta.get("disk_format") != "raw":
        # None of them, which _is_cloneable would ask the cluster first for.
        return []
    direct, others = location if isinstance(location, (list, tuple)) else (
        location, None)
    urls = [found["url"] for found in others or []] or [direct]
    found = []
    for url in urls:
        if url and driver._is_cloneable(url, meta):
            _fsid, pool, image, snapshot = driver._parse_location(url)
            found.append(base.Parent(pool, "", image, snapshot))
    return found


@contextlib.contextmanager
def opened(image: Image, volume: encrypted.Volume
           ) -> Iterator[transfer.Source]:
    """The data of an image, for one copy of it into *volume*.

    What Cinder has downloaded is taken, for it has verified the signature of
    that. Of a raw image in the same cluster, Ceph's; of another raw image, the
    stream that Glance sends. Only QEMU's formats need a file: that of the
    image, as small as it is.

    Enter it in a green thread, use what it gives in a native one.

    :raises ImageUnacceptable: see
        :func:`~os_brick_rbd_luks.copies.image_file.inspect`
    """
    path = image_utils.TemporaryImages.for_image_service(
        image.service).get(image.context, image.id)
    if image.is_raw and image.parents and not path:
        yield RBDSource(volume, image.parents[0])
    elif image.is_raw and not path:
        with _stream(image) as stream:
            yield stream
    else:
        _refuse_conversion(image)
        with _file(image, path) as (found, file_format):
            yield threads.call(importing.FileSource, found, file_format)


def _refuse_part(image: Image, received: int) -> None:
    """Refuse what is not all of an image.

    Glance's client notices that where the image has a checksum only.
    """
    if received != int(image.meta["size"]):
        raise exception.CopyFailed(
            reason=f"image {image.id}: Glance sent {received} bytes of "
                   f"{image.meta['size']}")


class RBDSource:
    """A snapshot, opened when it is copied."""

    holes = zeros.Holes.ZEROS

    def __init__(self, volume: encrypted.Volume,
                 parent: base.Parent) -> None:
        self.name = str(parent)
        self.parent = parent
        self._session = volume.session
        self.size: Optional[int] = self._size()

    @contextlib.contextmanager
    def opened(self) -> Iterator[Tuple[base.Pool, base.RBDImage]]:
        """Its pool and the snapshot, in a native thread."""
        with self._session.pool(self.parent.pool) as pool, pool.open(
                self.parent.image, read_only=True,
                snapshot=self.parent.snapshot) as image:
            yield pool, image

    @threads.native
    def _size(self) -> int:
        with self.opened() as (_pool, image):
            return int(image.size())

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        with self._raw() as source:
            source.check_target(target)

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        with self._raw() as source:
            source.pour(target, report)

    @contextlib.contextmanager
    def _raw(self) -> Iterator[sources.RawSource]:
        with self.opened() as (pool, image):
            yield sources.RawSource(pool, self.parent.image,
                                    self.parent.snapshot, image)


class Stream:
    """What Glance sends, and whether that was all."""

    holes = zeros.Holes.ZEROS

    def __init__(self, image: Image, pipe: pipes.Pipe) -> None:
        self.name = f"image {image.id}"
        self.size = int(image.meta["size"])
        self._image = image
        self._pipe = pipe
        self._error: Optional[Exception] = None

    def check_target(self, target: transfer.Target) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        with target.view():
            pass

    def pour(self, target: transfer.Target,
             report: Optional[progress.Report]) -> None:
        """See :class:`~os_brick_rbd_luks.copies.transfer.Source`."""
        with self.reader() as stream:
            importing.StreamSource(stream, self.name).pour(target, report)
        self.check()

    def reader(self) -> contextlib.AbstractContextManager[IO[bytes]]:
        """What is sent, in a native thread."""
        return self._pipe.reader()

    def check(self) -> None:
        """Raise unless all of it was sent.

        :raises CopyFailed: there was an error, or less
        """
        if self._error is not None:
            raise exception.CopyFailed(reason=f"{self.name}: {self._error}")
        _refuse_part(self._image, self._pipe.writer.written)

    def download(self) -> None:
        """Write it to the pipe, beside the one who reads that."""
        with contextlib.closing(self._pipe.writer) as writer:
            try:
                self._image.service.download(self._image.context,
                                             self._image.id, writer)
            except BrokenPipeError:
                LOG.debug("%s: its reader has ended", self.name)
            except Exception as error:  # Glance's client may raise anything
                # Before the pipe ends, which the reader takes for the end.
                self._error = error


@contextlib.contextmanager
def _stream(image: Image) -> Iterator[Stream]:
    pipe = pipes.Pipe()
    found = Stream(image, pipe)
    # The writer's end, also if the download is killed before it begins.
    with contextlib.closing(pipe), contextlib.closing(pipe.writer), \
            threads.beside(found.download):
        try:
            yield found
        finally:
            # If nobody has begun to read, the other side has to know.
            pipe.close()


@contextlib.contextmanager
def _file(image: Image, path: Optional[str]
          ) -> Iterator[tuple[str, Optional[str]]]:
    """The image in a file that QEMU can read, and its format."""
    with contextlib.ExitStack() as stack:
        if path is None:
            path = stack.enter_context(image_utils.temporary_file(
                prefix=f"image_download_{image.id}_"))
            image_utils.fetch(image.context, image.service, image.id, path,
                              image.context.user_id, image.context.project_id)
        _refuse_part(image, os.path.getsize(path))
        if image.meta.get("container_format") == "compressed":
            if not cfg.CONF.allow_compression_on_image_upload:
                raise cinder_exception.ImageUnacceptable(
                    image_id=image.id, reason="its container format "
                    "compressed is not allowed here")
            accelerator.ImageAccel(path, path).decompress_img(
                run_as_root=True)
        # What Glance names after its use, not after a format.
        file_format = {"iso": "raw", "ami": "raw"}.get(
            image.meta["disk_format"], image.meta["disk_format"])
        if image_file.has_inspector() or file_format == "raw":
            yield path, file_format
            return
        # oslo.utils before 7.3: Cinder's own conversion knows what is safe.
        raw = stack.enter_context(image_utils.temporary_file(
            prefix=f"image_raw_{image.id}_"))
        _fetch_to_raw(image, raw)
        yield raw, "raw"


def _fetch_to_raw(image: Image, path: str) -> None:
    try:
        image_utils.fetch_to_raw(
            image.context, image.service, image.id, path,
            cfg.CONF.volume_dd_blocksize)
    except cinder_exception.Invalid as error:
        # What its safety check refuses is "Unacceptable parameters." of
        # nothing in particular, which Cinder would try elsewhere.
        if type(error) is not cinder_exception.Invalid:
            raise
        raise cinder_exception.ImageUnacceptable(
            image_id=image.id,
            reason=error.kwargs.get("reason", str(error))) from error


def _refuse_conversion(image: Image) -> None:
    check = getattr(image_utils, "check_image_conversion_disable", None)
    if check:
        check(image.meta["disk_format"], "raw", image.id, upload=False)
