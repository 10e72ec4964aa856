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

"""Images that are clones, and snapshots that have some.

Clones are of RBD's second format, whose parents need no protection.
"""

from __future__ import annotations

from typing import Iterator, List, Optional, Tuple

from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import opening

#: Stripe periods that are asked about at a time, so that the answer is small
#: for an image of any size.
_WINDOW = 16384

#: Bytes to discard at a time. librbd refuses 2 GiB and more, as its answer
#: is a C int (``rbd_discard`` in ``librbd.cc``).
_DISCARD = 1024 ** 3


class LayeredImage(librbd.LibrbdImage):
    """An open RBD image; see
    :class:`~os_brick_rbd_luks.image.base.LayeredImage`.
    """

    #: The snapshot that was opened, None for the image itself.
    snapshot: Optional[str] = None

    def __enter__(self) -> LayeredImage:
        return self

    def identity(self) -> str:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated("read the id"):
            number = str(self._image.id())
            if self.snapshot is not None:
                number += f"@{self._image.snap_get_id(self.snapshot)}"
        return number

    def parent(self) -> Optional[base.Parent]:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        rbd = librbd.bindings()
        with self._translated("look for a parent"):
            try:
                found = self._image.get_parent_image_spec()
            except rbd.ImageNotFound:
                return None
        return base.Parent(found["pool_name"], found["pool_namespace"],
                           found["image_name"], found["snap_name"])

    def is_deep_clone(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; before encryption
        is loaded.

        A parent in another pool counts as no clone.
        """
        parent = self.parent()
        if parent is None:
            return False
        with self._translated("look for its parent's parent"):
            if self._image.overlap() < self._image.size():
                return True
            if (self._ioctx is None or (parent.pool, parent.namespace) != (
                    self._ioctx.name, self._ioctx.get_namespace())):
                return False
            image = opening.open_image(self._ioctx, parent.image,
                                       parent.snapshot, read_only=True)
        with LayeredImage(image, self._ioctx, str(parent),
                          self._user) as below:
            return below.parent() is not None

    def children(self, snapshot: str) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated("look for clones"):
            self._image.set_snap(snapshot)
            try:
                return len(list(self._image.list_children2()))
            finally:
                self._image.set_snap(None)

    def create_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        # The advice to remove what exists already is not for the image.
        with librbd.translated(f"take snapshot {snapshot}",
                               f"snapshot {self.name}@{snapshot}",
                               self._user):
            self._image.create_snap(snapshot)

    def protect_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated(f"protect snapshot {snapshot}"):
            self._image.protect_snap(snapshot)

    def remove_snapshot(self, snapshot: str) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated(f"remove snapshot {snapshot}"):
            if self._image.is_protected_snap(snapshot):
                self._image.unprotect_snap(snapshot)
            self._image.remove_snap(snapshot)

    def zero(self, offset: int, length: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`.

        Of a clone's object that was never written, discarding leaves an
        empty one, which hides the parent's and takes no space.
        """
        period, end = self.stripe_period(), offset + length
        # Between two pieces, no object is cut in two: librbd would fill its
        # parts with zeros, or skip them. Of a period that is larger than a
        # piece, the parts are large enough for it to do the former.
        step = _DISCARD - _DISCARD % period or _DISCARD
        while offset < end:
            begin, offset = offset, min(end, offset - offset % step + step)
            with self._translated("discard"):
                self._image.discard(begin, offset - begin)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`; quick with
        the fast-diff feature.
        """
        size, window = self.size(), _WINDOW * self.stripe_period()
        for begin in range(0, size, window):
            found: List[Tuple[int, int]] = []

            def note(offset: int, length: int, exists: bool,
                     found: List[Tuple[int, int]] = found) -> None:
                if exists:
                    found.append((offset, length))

            with self._translated("look for data"):
                self._image.diff_iterate(
                    begin, min(window, size - begin), None, note,
                    include_parent=True, whole_object=True)
            # With fancy striping, an object is in several places.
            yield from sorted(found)

    def flatten(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated("flatten"):
            self._image.flatten()

    def note(self, key: str) -> Optional[str]:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated("read the metadata"):
            try:
                return str(self._image.metadata_get(key))
            except KeyError:
                return None

    def drop_fast_diff(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        if "fast-diff" not in self.features():
            return False
        with self._translated("switch fast-diff off"):
            self._image.update_features(
                librbd.bindings().RBD_FEATURE_FAST_DIFF, False)
        return True

    def set_note(self, key: str, value: Optional[str]) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.LayeredImage`."""
        with self._translated("write the metadata"):
            if value is not None:
                self._image.metadata_set(key, value)
            elif self.note(key) is not None:
                self._image.metadata_remove(key)
