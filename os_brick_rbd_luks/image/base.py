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

"""What every image can do, and every store of images.

Offsets and lengths are bytes.
"""

from __future__ import annotations

import logging
from typing import Any, ContextManager, FrozenSet, List, Protocol

from os_brick_rbd_luks import exception

LOG = logging.getLogger(__name__)

#: Bytes of a RADOS object of an image, unless somebody chose otherwise.
DEFAULT_OBJECT_SIZE = 4 * 1024 * 1024


class HeldLock(Protocol):
    """An image lock that is being held."""

    def renew(self) -> None:
        """Make sure that the lock is still held, and for a while longer.

        :raises ImageLocked: it ran out and somebody else has it
        """


class Image(Protocol):
    """An open image; a context manager that closes it."""

    #: As the user named it, for messages.
    name: str

    def __enter__(self) -> Image:
        """Give the image itself."""

    def __exit__(self, *exc_info: object) -> None:
        """Close the image."""

    def size(self) -> int:
        """Bytes of the image."""

    def stripe_period(self) -> int:
        """Bytes after which the striping over objects begins anew."""

    def features(self) -> FrozenSet[str]:
        """Names of the image's features, as ``rbd info`` spells them."""

    def read(self, offset: int, length: int) -> bytes:
        """Read *length* bytes, or those up to the end of the image.

        :raises ImageIOError: the store did
        """

    def write(self, offset: int, data: bytes) -> None:
        """Write *data*; within one RADOS object all of it or nothing.

        :raises ImageTooSmall: *data* does not lie within the image
        :raises ImageReadOnly: it was opened for reading
        """

    def flush(self) -> None:
        """Return when all that was written will survive a crash."""

    def resize(self, size: int) -> None:
        """Make the image *size* bytes long."""

    def has_data(self) -> bool:
        """Whether anything was ever written, to it or to a parent.

        False is certain; True may be about areas that read as zeros.
        """

    def snapshots(self) -> List[str]:
        """Names of the image's snapshots, oldest first."""

    def watchers(self) -> List[str]:
        """Who else has the image open for writing."""

    def lock(self) -> ContextManager[HeldLock]:
        """Keep other header operations out.

        :raises ImageLocked: one of them does not end
        """


class ImageStore(Protocol):
    """Where images are made, opened and removed by name."""

    def stripe_period(self, **options: Any) -> int:
        """The stripe period an image made with *options* would have."""

    def create(self, name: str, size: int, **options: Any) -> Image:
        """Make an image of *size* zero bytes and open it for writing.

        :raises ImageExists: there is one of that name
        """

    def open(self, name: str, read_only: bool = False) -> Image:
        """Open an image.

        :raises ImageNotFound: there is none of that name
        """

    def remove(self, name: str) -> None:
        """Remove an image."""


def remove_quietly(store: ImageStore, name: str) -> None:
    """Remove what was made in vain, without hiding why it was in vain."""
    try:
        store.remove(name)
    except exception.RBDLuksError as error:
        LOG.warning("%s: cannot remove the half-made image, remove it by "
                    "hand: %s", name, error)
