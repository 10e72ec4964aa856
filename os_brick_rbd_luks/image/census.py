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

"""Every image and snapshot of a cluster, those without a name included.

An image in the trash, a snapshot that Ceph took for itself or keeps for
clones: none of them can be opened by a name, but all by their ids.
"""

from __future__ import annotations

from typing import (ContextManager, List, NamedTuple, Optional, Protocol,
                    Tuple)

from os_brick_rbd_luks.image import base


class Entry(NamedTuple):
    """An image by its id, which it keeps when it is renamed or trashed."""

    pool: str
    namespace: str
    #: the name that it has, or had when it came into the trash
    image: str
    #: empty of one of RBD's first format, which has none
    id: str
    in_trash: bool = False

    @property
    def key(self) -> Tuple[str, str, str]:
        """What no other image of the cluster has."""
        return self.pool, self.namespace, self.id or f"/{self.image}"

    def named(self, snapshot: Optional[str] = None) -> str:
        """The image, or a snapshot of it, for messages."""
        place = "/".join(part for part in self[:3] if part)
        if snapshot is not None:
            place += f"@{snapshot}"
        return f"{place} (in the trash: {self.id})" if self.in_trash else place


class Snapshot(NamedTuple):
    """A snapshot of any kind."""

    id: int
    #: for messages: with its kind, if no user took it
    name: str


class Trash(NamedTuple):
    """What is in a pool's trash."""

    entries: List[Entry]
    #: whether these are all; the bindings do not know every kind of entry
    complete: bool


class Image(base.RBDImage, Protocol):
    """An open RBD image, and what there is beside what it holds now."""

    def __enter__(self) -> Image:
        """Give the image itself."""

    def all_snapshots(self) -> List[Snapshot]:
        """Its snapshots of all kinds, oldest first."""

    def at(self, snapshot: int) -> ContextManager[None]:
        """Let it be, for a while, what a snapshot has.

        Its size and bytes, its parent, and its clones.

        :param snapshot: the id
        :raises ImageNotFound: there is none of that id
        """

    def all_clones(self) -> List[Entry]:
        """The clones of the snapshot that :meth:`at` chose."""

    def hidden(self) -> List[Tuple[str, str]]:
        """What else has earlier bytes of it, and cannot be opened from here.

        :returns: pairs of a kind and a description: ``mirror``, ``migration``
            and ``journal``
        """


class Pool(base.Pool, Protocol):
    """A pool, or a namespace of one, and a way to the others."""

    def cluster_pools(self) -> List[str]:
        """Names of the cluster's pools that may have images, sorted.

        Not of those that are for other applications only, as CephFS.
        """

    def elsewhere(self, name: str, namespace: str = ""
                  ) -> ContextManager[Pool]:
        """Open another pool of the cluster, or a namespace of one.

        :raises ImageNotFound: there is no such pool
        """

    def namespaces(self) -> List[str]:
        """Names of the pool's namespaces, sorted; not the pool itself."""

    def entries(self) -> List[Entry]:
        """The images that have a name, by names.

        :raises ImageNotFound: it is a namespace that is not there
        """

    def trashed(self) -> Trash:
        """The images in the trash, whoever has put them there."""

    def open_entry(self, entry: Entry) -> Image:
        """Open an image of this pool by its id, for reading.

        :raises ImageNotFound: it is not there any more
        """
