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

"""What an open RBD image holds: its bytes, where there are any, its notes.

Writes go out as they come (:mod:`~os_brick_rbd_luks.image.cluster` switches
librbd's cache off), so one within a RADOS object is applied by RADOS as a
whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from typing import (Dict, FrozenSet, Iterator, List, Optional, Tuple,
                    TYPE_CHECKING, TypeVar)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import places
from os_brick_rbd_luks.image import releases

if TYPE_CHECKING:
    import rbd

LOG = logging.getLogger(__name__)

Self = TypeVar("Self", bound="RBDData")

#: Stripe periods that are asked about at a time, so that the answer is small
#: for an image of any size.
_WINDOW = 16384

#: Bytes to discard at a time. librbd refuses 2 GiB and more, as its answer
#: is a C int (``rbd_discard`` in ``librbd.cc``).
_DISCARD = 1024 ** 3

_FEATURES = {
    "layering": "RBD_FEATURE_LAYERING",
    "striping": "RBD_FEATURE_STRIPINGV2",
    "exclusive-lock": "RBD_FEATURE_EXCLUSIVE_LOCK",
    "object-map": "RBD_FEATURE_OBJECT_MAP",
    "fast-diff": "RBD_FEATURE_FAST_DIFF",
    "deep-flatten": "RBD_FEATURE_DEEP_FLATTEN",
    "journaling": "RBD_FEATURE_JOURNALING",
    "data-pool": "RBD_FEATURE_DATA_POOL",
}


class RBDData:
    """An open ``rbd.Image`` and librbd's errors as ours; a context manager
    that closes it.
    """

    def __init__(self, image: rbd.Image, name: str, user: str,
                 read_only: bool = False) -> None:
        """Take over *image*, which is closed with this object.

        :param name: as the user wrote it
        :param user: Ceph user, for messages
        :param read_only: opened for reading, which leaves no watch
        """
        self.name = name
        self._image = image
        self._user = user
        self._read_only = read_only
        # Whether a change timed out, which may be done yet.
        self._in_doubt = False

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            with self._translated("close"):
                self._image.close()
        except exception.ImageError as error:
            if not any(exc_info):
                raise
            # The error that ended the work says more.
            LOG.warning("%s: %s", self.name, error)

    @contextlib.contextmanager
    def _translated(self, action: str, what: Optional[str] = None
                    ) -> Iterator[None]:
        """Turn librbd's errors into ours.

        :param what: what the action is about, if not the image
        """
        try:
            with librbd.translated(action, what or self.name, self._user,
                                   self._read_only):
                yield
        except (exception.ImageReadOnly, exception.ImageLocked,
                exception.ImageAccessDenied) as error:
            self.explain(error)
            raise

    def explain(self, error: exception.ImageError) -> None:
        """Raise what is behind an *error* of librbd, if that can be told.

        :raises ImageNotPrimary: it is mirrored from elsewhere
        :raises ImageMigrating: it is being migrated
        """
        # One that is ours has no such cause.
        if isinstance(error.__cause__, librbd.bindings().Error):
            found = places.unusable(self._image)
            if found is not None:
                raise found from error

    @contextlib.contextmanager
    def _changing(self, action: str) -> Iterator[None]:
        """As ``_translated``, for what changes the image."""
        try:
            with self._translated(action):
                yield
        except exception.ImageTimedOut:
            self._in_doubt = True
            raise

    @property
    def librbd(self) -> capabilities.Librbd:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        return releases.installed()

    def size(self) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("read the size"):
            return int(self._image.size())

    def stripe_period(self) -> int:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("read the striping"):
            return int(self._image.stripe_count()
                       * self._image.stat()["obj_size"])

    def interleaves(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._translated("read the striping"):
            return bool(self._image.stripe_count() > 1
                        and self._image.stripe_unit()
                        < self._image.stat()["obj_size"])

    def features(self) -> FrozenSet[str]:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        rbd = librbd.bindings()
        with self._translated("read the features"):
            mask = self._image.features()
        return frozenset(name for name, constant in _FEATURES.items()
                         if mask & getattr(rbd, constant))

    def read(self, offset: int, length: int) -> bytes:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        length = min(length, self.size() - offset)
        if length <= 0:
            return b""
        with self._translated("read"):
            return bytes(self._image.read(offset, length))

    def write(self, offset: int, data: bytes) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        size = self.size()
        if offset + len(data) > size:
            raise exception.ImageTooSmall(size=size,
                                          needed=offset + len(data))
        with self._changing("write"):
            self._image.write(data, offset)

    def flush(self) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._changing("flush"):
            self._image.flush()

    def resize(self, size: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.Image`."""
        with self._changing("resize"):
            self._image.resize(size)

    def has_data(self, offset: int = 0) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.Image`; quick with the
        fast-diff feature.
        """
        rbd = librbd.bindings()
        found: List[int] = []
        # Whole objects are looked for: not one that began before.
        begin = offset + -offset % self.stripe_period()
        if not base.holds_zeros(self.read, offset, min(begin, self.size())):
            return True
        length = self.size() - begin
        if length <= 0:
            return False

        def stop_at_first(offset: int, _length: int, exists: bool) -> int:
            if exists:
                found.append(offset)
                return -errno.ECANCELED
            return 0

        with self._translated("look for data"):
            try:
                self._image.diff_iterate(
                    begin, length, None, stop_at_first,
                    include_parent=True, whole_object=True)
            except rbd.Error:
                if not found:
                    raise
        return bool(found)

    def extents(self) -> Iterator[Tuple[int, int]]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`; quick with
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

    def zero(self, offset: int, length: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`.

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
            with self._changing("discard"):
                self._image.discard(begin, offset - begin)

    def punch(self, offset: int, length: int) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._changing("make a hole"):
            # Discards leave what is smaller than 64 KiB as it is; librbd of
            # Ceph 16 and newer has this besides.
            self._image.write_zeroes(offset, length)

    def note(self, key: str) -> Optional[str]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated("read the metadata"):
            try:
                return str(self._image.metadata_get(key))
            except KeyError:
                return None

    def notes(self) -> Dict[str, str]:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._translated("read the metadata"):
            listed = [key for key, _value in self._image.metadata_list()]
        # The bindings leave empty values out before they give each key one, so
        # that the list is shorter, and has the values of others.
        found = ((key, self.note(key)) for key in listed)
        return {key: value for key, value in found if value is not None}

    def set_note(self, key: str, value: Optional[str]) -> None:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        with self._changing("write the metadata"):
            if value is not None:
                self._image.metadata_set(key, value)
            elif self.note(key) is not None:
                self._image.metadata_remove(key)

    def drop_fast_diff(self) -> bool:
        """See :class:`~os_brick_rbd_luks.image.base.RBDImage`."""
        if "fast-diff" not in self.features():
            return False
        with self._translated("switch fast-diff off"):
            self._image.update_features(
                librbd.bindings().RBD_FEATURE_FAST_DIFF, False)
        return True
