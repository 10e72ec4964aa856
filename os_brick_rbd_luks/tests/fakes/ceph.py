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

"""A Ceph cluster in memory, and the modules ``rados`` and ``rbd`` for it.

Ceph's bindings as os-brick and this package use them: connections by name,
conf file and options; images that librbd's encryption can be loaded on, those
of clones with a passphrase for each layer; snapshots, clones and metadata;
locks on header objects; watchers, and the list that keeps them away.
"""

from __future__ import annotations

import contextlib
import os
from typing import (Any, Dict, Iterator, List, NamedTuple, Optional, Set,
                    Tuple, Type)

import fixtures
from os_brick.initiator import linuxrbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import bindings
from os_brick_rbd_luks.tests.fakes import clock as clocks
from os_brick_rbd_luks.tests.fakes import content as contents
from os_brick_rbd_luks.tests.fakes import errors
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests.fakes import rados as clients
from os_brick_rbd_luks.tests.fakes import rados_objects
from os_brick_rbd_luks.tests.fakes import rbd as images
from os_brick_rbd_luks.tests.fakes import store as stores


class Watcher(NamedTuple):
    """A client elsewhere that has an image open for writing."""

    number: int
    address: str


class Ceph(fixtures.Fixture):
    """A cluster, and the two modules that talk to it.

    :ivar pools: by ``pool`` or ``pool/namespace``
    :ivar keyrings: full names of the users that have a keyring here
    :ivar stale: full name -> what its keyring has in place of the key
    :ivar key: the key that all users have
    :ivar default_conf: whether Ceph's default places have a conf file
    :ivar connected: the connections that are open
    :ivar history: every connection that was ever tried
    :ivar images: those that are open
    :ivar faults: name of a call -> what it raises, once
    :ivar loads: calls of ``encryption_load``, by image
    :ivar protected: ``pool/image@snapshot`` of the protected snapshots
    :ivar watchers: clients elsewhere, by ``pool/image``
    :ivar staying: addresses of those whose watches do not end
    :ivar blocklist: address -> seconds
    :ivar hasty: whether images may be closed before librbd has let go of
        them; it crashes then now and then
    :ivar clock: by which locks end; what times out advances it
    :ivar trashed: what ``trash_list`` tells, by pool
    :ivar mirrored: how images are mirrored, by ``pool/image``
    :ivar erasure_coded: names of the pools that are
    :ivar applications: what a pool is for, if not for RBD
    :ivar kinds: what ``list_snaps`` tells of a snapshot besides its name, of
        those that no user took
    :ivar locks: object -> name of a lock -> who has it
    """

    def __init__(self, *pools: str, release: Optional[int] = 16,
                 **options: Any) -> None:
        """Make pools.

        :param release: of Ceph, for what librbd can encrypt; None for none
        :param options: of each :class:`stores.MemoryStore`
        """
        self.release = release
        self.clock = clocks.Clock()
        self.pools = {name: stores.MemoryStore(name=name, clock=self.clock,
                                               **options)
                      for name in pools or ("volumes",)}
        for store in self.pools.values():
            store.stores = self.pools
        self.keyrings = {"client.cinder", "client.admin"}
        self.stale: Dict[str, str] = {}
        self.key = "AQ=="
        self.default_conf = True
        #: what ``mon_host`` may be, with nobody there who answers
        self.silent: Set[str] = set()
        self.connected: List[clients.Rados] = []
        self.history: List[clients.Rados] = []
        self.images: List[images.Image] = []
        self.faults: Dict[str, BaseException] = {}
        self.loads: List[str] = []
        self.protected: Set[str] = set()
        self.watchers: Dict[str, List[Watcher]] = {}
        self.staying: Set[str] = set()
        self.blocklist: Dict[str, int] = {}
        self.hasty = False
        self.guests = False
        self.trashed: Dict[str, List[Dict[str, str]]] = {}
        self.mirrored: Dict[str, Dict[str, Any]] = {}
        self.erasure_coded: Set[str] = set()
        self.applications: Dict[str, List[str]] = {}
        self.kinds: Dict[str, Dict[str, Any]] = {}
        self.locks: Dict[str, Dict[str, clients.Lock]] = {}
        self.things: Dict[str, Dict[str, rados_objects.Thing]] = {}
        self.monitors: Any = [{"addr": "10.0.0.1:6789/0"},
                              {"addr": "[fd00::2]:6789/0"}]

    def _setUp(self) -> None:
        self._folder = self.useFixture(fixtures.TempDir()).path
        self.rados, self.rbd = self._modules()
        for module in (self.rados, self.rbd):
            self.useFixture(modules.Module(module.__name__, module))
            self.useFixture(fixtures.MonkeyPatch(
                f"{linuxrbd.__name__}.{module.__name__}", module))

    @contextlib.contextmanager
    def guest(self) -> Iterator[None]:
        """What the test does meanwhile is a guest's, in a process of its own.

        If librbd of Ceph 16 crashes there, it is not this package's process.
        """
        self.guests = True
        try:
            yield
        finally:
            self.guests = False

    def _modules(self) -> Tuple[Any, Any]:
        rados, rbd = bindings.rados(), bindings.rbd(self.release)
        rados.Rados = lambda **options: clients.Rados(self, **options)
        rados.WriteOpCtx = rados.ReadOpCtx = rados_objects.Operation
        members = {name: member for name, member in vars(images.Image).items()
                   if not name.startswith(("encryption", "__"))
                   or name == "__init__"}
        if self.release:
            members["encryption_load"] = images.Image.encryption_load
        if self.release and self.release >= 18:
            members["encryption_load2"] = images.Image.encryption_load2
        rbd.Image = type("Image", (), {**members, "ceph": self})
        rbd.RBD = type("RBD", (), {
            **{name: value for name, value in vars(images.RBD).items()
               if not name.startswith("__")}, "ceph": self})
        return rados, rbd

    def call(self, name: str) -> None:
        """Let happen what a test planned for a call."""
        error = self.faults.pop(name, None)
        if error:
            raise error

    @contextlib.contextmanager
    def as_librbd(self) -> Iterator[None]:
        """Raise librbd's errors for those of a store in memory."""
        for_ours: Dict[Type[Exception], Any] = {
            exception.ImageExists: self.rbd.ImageExists,
            exception.ImageNotFound: self.rbd.ImageNotFound,
            exception.ImageLocked: self.rbd.ImageBusy,
            exception.ImageReadOnly: self.rbd.ReadOnlyImage,
            exception.ImageAccessDenied: self.rbd.PermissionError,
            errors.InvalidArgument: self.rbd.InvalidArgument,
            errors.TimedOut: self.rbd.Timeout}
        try:
            yield
        except tuple(for_ours) as error:
            raise for_ours[type(error)](str(error)) from None

    def in_trash(self, pool: str) -> List[Dict[str, str]]:
        """What ``trash_list`` tells of a pool."""
        return self.trashed.get(pool, [])

    def keyring_path(self, name: str) -> str:
        """Where a user's keyring is, or would be."""
        path = os.path.join(self._folder, f"ceph.{name}.keyring")
        if name in self.keyrings:
            with open(path, "w") as stream:
                stream.write(
                    f"[{name}]\nkey = {self.key_in_keyring(name)}\n")
        return f"/nowhere/ceph.{name}.keyring,{path}"

    def key_in_keyring(self, name: str) -> str:
        """What a user's keyring has; empty without one."""
        return (self.stale.get(name, self.key) if name in self.keyrings
                else "")

    def content(self, name: str) -> contents.Content:
        """An image (pool/name) as the cluster keeps it."""
        pool, _slash, image = name.rpartition("/")
        return self.pools[pool].contents[image]

    def trash_contents(self) -> List[contents.Content]:
        """The images in the trash, which this one does not have."""
        return []

    def nothing_is_open(self) -> bool:
        """Whether all connections and images were closed."""
        return not self.connected and not self.images
