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

import contextlib
import dataclasses
import logging
from typing import (Any, Callable, ContextManager, Dict, FrozenSet, Iterator,
                    List, NamedTuple, Optional, Protocol, Tuple, Union)

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities

LOG = logging.getLogger(__name__)

#: Bytes of a RADOS object of an image, unless somebody chose otherwise.
DEFAULT_OBJECT_SIZE = 4 * 1024 * 1024

#: Bytes that are read or written at a time where there may be many.
PIECE = DEFAULT_OBJECT_SIZE

#: Bytes of zeros that are worth a hole.
GRAIN = 64 * 1024


@dataclasses.dataclass(frozen=True)
class Secret:
    """What a program has to be told without anybody else's seeing it."""

    value: bytes = dataclasses.field(repr=False)


#: A block node as QEMU's ``--image-opts`` names it: option -> value.
BlockOptions = Dict[str, Union[str, Secret]]


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

    #: Whether it is an :class:`RBDImage`; otherwise a plain file.
    is_rbd: bool

    def __enter__(self) -> Image:
        """Give the image itself."""

    def __exit__(self, *exc_info: object) -> None:
        """Close the image."""

    def size(self) -> int:
        """Bytes of the image."""

    def stripe_period(self) -> int:
        """Bytes after which the striping over objects begins anew."""

    def interleaves(self) -> bool:
        """Whether an object has several stretches of the image.

        As with "fancy" striping: a stripe unit that is smaller than the
        objects, over more than one of them.
        """

    def is_deep_clone(self) -> bool:
        """Whether it is a clone of a clone, or one that has grown since."""

    def identity(self) -> str:
        """What no other image of the store has, and a renamed one keeps.

        Ceph's id of an RBD image; of a snapshot, with ``@`` and the
        snapshot's id behind it.
        """

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

    def has_data(self, offset: int = 0) -> bool:
        """Whether anything was ever written, to it or to a parent.

        False is certain; True may be about areas that read as zeros.

        :param offset: where to begin to look
        """

    def snapshots(self) -> List[str]:
        """Names of the image's snapshots, oldest first."""

    def history(self) -> List[str]:
        """What has earlier bytes of the image, oldest first, for messages.

        Its snapshots, also those that Ceph takes for itself or keeps for
        clones, and the source that it is being migrated from.
        """

    def watchers(self) -> List[str]:
        """Who else has the image open for writing."""

    def claim(self) -> None:
        """Let others see, as long as it is open, who makes the image.

        To be called when it was just made.

        :raises ImageLocked: somebody else has it, who began at the same time
        """

    def lock(self) -> ContextManager[HeldLock]:
        """Keep other header operations out.

        :raises ImageLocked: one of them does not end
        """


class ImageStore(Protocol):
    """Where images are made, opened and removed by name: files or a pool.

    What is to appear complete or not at all is made under another name
    (:mod:`~os_brick_rbd_luks.image.partial`).
    """

    #: The images that were made by this object, by name: their identities,
    #: or None of one whose identity was not read yet. One that is here was
    #: made here, and whoever made it may remove it; one that was there
    #: before, or that somebody else made, never gets here.
    made: Dict[str, Optional[str]]

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

    def rename(self, name: str, new_name: str) -> None:
        """Give an image another name; it may be open.

        :raises ImageExists: there is an image of that name
        """

    def partial_name(self, name: str) -> str:
        """The name of an image while it is made, before it is *name*."""

    def require_free(self, name: str) -> None:
        """Refuse a name that is taken.

        :raises ImageExists: it is
        """

    def makers(self, name: str) -> List[str]:
        """Who has an image open that is only half made.

        :raises ImageNotFound: there is none of that name
        """

    def evict(self, name: str) -> None:
        """Keep all other clients that have an image open from writing to it.

        Without a look at what they are: for an image of one's own whose
        clients were killed.

        :raises ImageLocked: some of them stay
        """


class Parent(NamedTuple):
    """Where a clone reads what it has not written."""

    pool: str
    namespace: str
    image: str
    snapshot: str

    def __str__(self) -> str:
        parts = [part for part in self[:3] if part]
        return f"{'/'.join(parts)}@{self.snapshot}"


class RBDImage(Image, Protocol):
    """An RBD image: it may be a clone, and may be cloned."""

    @property
    def librbd(self) -> capabilities.Librbd:
        """What the librbd that has it open can decrypt."""

    def __enter__(self) -> RBDImage:
        """Give the image itself."""

    def own_watch(self) -> str:
        """Tell how this client appears among others' ``watchers()``.

        :raises ImageIOError: it has none on the image: it is open for reading
            only, or Ceph has forgotten this client
        """

    def others(self) -> List[str]:
        """Those of ``watchers()`` that are not this client."""

    def keep_others_out(self) -> bool:
        """Let nobody else write, by librbd, until this image is closed.

        Others of this client's open images included.

        :returns: whether that was possible: the image has the feature
            exclusive-lock
        :raises ImageLocked: somebody else keeps this one out
        """

    def has_watch(self, watch: str) -> bool:
        """Whether a client has the image open for writing, this one included.

        :param watch: what :meth:`own_watch` gave there
        """

    def parent(self) -> Optional[Parent]:
        """What it is a clone of, None if it is none."""

    def open_parent(self) -> Optional[RBDImage]:
        """Open what it is a clone of, for reading; None if it is no clone.

        Also where the parent, or its snapshot, is in the trash.
        """

    def children(self, snapshot: str) -> int:
        """How many clones a snapshot of it has."""

    def clones(self, snapshot: str) -> List[Parent]:
        """These clones, as parents of which no snapshot is named."""

    def create_snapshot(self, snapshot: str) -> None:
        """Take a snapshot.

        :raises ImageExists: there is one of that name
        """

    def protect_snapshot(self, snapshot: str) -> None:
        """Keep a snapshot from being removed by others.

        Clones do not need that; other programs may expect it.
        """

    def remove_snapshot(self, snapshot: str) -> None:
        """Remove a snapshot, its protection included.

        :raises ImageLocked: it has clones
        """

    def zero(self, offset: int, length: int) -> None:
        """Make whole objects read as zeros, whatever a parent has there."""

    def punch(self, offset: int, length: int) -> None:
        """Make a hole of bytes of objects, whatever a parent has there.

        As small as it may be; an object that is there stays, and where the
        OSDs do not tell of holes it has zeros then.
        """

    def load_encryption(self, header_type: str, *passphrases: bytes) -> None:
        """Let librbd decrypt: from here on sizes and data are plain text.

        :param header_type: of the image itself: luks1 or luks2
        :param passphrases: one for each encrypted layer, the image's own
            first; the last one is for all layers below as well. More than
            one needs a librbd that loads layers.
        :raises WrongPassphrase: one of them opens no keyslot of its layer
        """

    def extents(self) -> Iterator[Tuple[int, int]]:
        """Offset and length of what was written, in ascending order.

        Whole objects, those of parents included; all else reads as zeros.
        """

    def flatten(self) -> None:
        """Copy what a parent has, and be a clone no more."""

    def note(self, key: str) -> Optional[str]:
        """The value of an image's metadata, None without one."""

    def notes(self) -> Dict[str, str]:
        """All of an image's metadata.

        If values are empty, as many of the last keys may be missing.
        """

    def set_note(self, key: str, value: Optional[str]) -> None:
        """Set or, with None, remove a value of the image's metadata."""

    def drop_fast_diff(self) -> bool:
        """Switch the fast-diff feature off, for all who have it open.

        :returns: whether the image had it
        """


class Pool(ImageStore, Protocol):
    """A store of RBD images: they can be cloned, and QEMU opens them."""

    #: For messages.
    name: str

    @property
    def librbd(self) -> capabilities.Librbd:
        """What the librbd that opens images here can decrypt."""

    def images(self) -> List[str]:
        """Names of all images, sorted."""

    def create(self, name: str, size: int, **options: Any) -> RBDImage:
        """See :class:`ImageStore`."""

    def open(self, name: str, read_only: bool = False,
             snapshot: Optional[str] = None) -> RBDImage:
        """Open an image, or a snapshot of it (for reading).

        :raises ImageNotFound: there is none of that name
        """

    def parent(self, image: str, snapshot: str) -> Parent:
        """The name of a snapshot here."""

    def open_snapshot(self, parent: Parent) -> RBDImage:
        """Open a snapshot wherever it is in this cluster."""

    def open_source(self, parent: Parent) -> RBDImage:
        """Open for writing, likewise, the image that a snapshot is of."""

    def clone(self, parent: Parent, name: str) -> RBDImage:
        """Make a copy-on-write clone and open it.

        :raises ImageExists: there is an image of that name
        """

    def copy(self, image: RBDImage, name: str) -> RBDImage:
        """Copy an image of any pool as it is, and open the copy.

        With its layout and its metadata, without snapshots or a parent. What
        librbd skips is objects of zeros; where an object has data, its holes
        become zeros.

        :param image: open for reading only: of a clone that is open for
            writing, librbd copies nothing that its parent has
        :raises ImageExists: there is an image of that name
        """

    def wait_alone(self, name: str) -> None:
        """Wait until no other client has an image open for writing.

        A killed one counts for as long as Ceph does not know, 30 s.

        :raises ImageLocked: some of them stay
        """

    def block_options(self, name: str,
                      snapshot: Optional[str] = None) -> BlockOptions:
        """How QEMU opens an image as it is, or a snapshot of it."""

    def environment(self) -> Dict[str, str]:
        """Environment variables for a program that opens images by itself."""


def image_id(image: Image) -> str:
    """The part of an image's identity that its snapshots have as well."""
    return image.identity().partition("@")[0]


def is_zero(data: bytes) -> bool:
    """Whether there is nothing but zeros."""
    # Many times as fast as to count zeros, and as much shorter under Python's
    # lock, which the other threads of a copy wait for. Most of what is none
    # does not begin with one, and needs no zeros to be compared with.
    return not data or (data[0] == 0 and data == bytes(len(data)))


def pieces(begin: int, end: int) -> Iterator[Tuple[int, int]]:
    """Offset and length of all pieces from *begin* to *end*.

    For what is a part of a stripe: one may be as large as an image, and in
    no memory.
    """
    for offset in range(begin, end, PIECE):
        yield offset, min(PIECE, end - offset)


def holds_zeros(read: Callable[[int, int], bytes], begin: int, end: int
                ) -> bool:
    """Whether an image has nothing but zeros from *begin* to *end*."""
    return all(is_zero(read(*piece)) for piece in pieces(begin, end))


def has(store: ImageStore, name: str) -> bool:
    """Whether there is an image of that name; quicker than to open it.

    :raises ImageError: the store cannot be asked
    """
    try:
        store.require_free(name)
    except exception.ImageExists:
        return True
    return False


def remove_quietly(store: ImageStore, name: str) -> None:
    """Remove what was made in vain, without hiding why it was in vain."""
    try:
        with contextlib.suppress(exception.ImageNotFound):
            store.remove(name)
    except exception.RBDLuksError as error:
        LOG.warning("%s: cannot remove the half-made image, remove it by "
                    "hand: %s", name, error)
