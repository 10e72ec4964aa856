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
"""The walk's world on real Ceph, with librbd, QEMU, kills and clients.

Needs the cluster of ``tools/with``. What is killed is a process of its
own, a SIGKILL that it sends to itself at the chosen change of the store. Not
a fork of this one: librados would give both one address, and Ceph refuses that
of a client it fenced.
"""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
import subprocess
import tempfile
from typing import Any, Callable, Dict, FrozenSet, Optional, Tuple

from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.image import rbd_pool
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import chance
from os_brick_rbd_luks.tests.stress import cheap
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import moments
from os_brick_rbd_luks.tests import units

POOL = "volumes"
USER = "cinder"

#: Seconds after which a child that was to be killed hangs.
HANGS = 120

_NUMBERS = itertools.count()


def _killed(conf: str, action: str, args: Dict[str, Any], number: int,
            after: bool, mark: Any) -> None:
    """Do an action in this process, which kills itself on the way."""
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    moment = moments.Moment(number, after, die,
                            tell=lambda name: mark.send(name))
    with cluster.connect(conf, USER) as handle, handle.pool(POOL) as pool, \
            moments.watching(moment, rbd_pool.Pool, rbd_image.RBDImage):
        getattr(actions, action)(pool, **args)


class CephWorld:
    """A pool; other clients are other connections and processes."""

    def __init__(self) -> None:
        """Connect three times: as the walk, as another, and as admin."""
        self.conf = os.path.join(os.environ["RBD_LUKS_TEST_CEPH"],
                                 "ceph.conf")
        self._exits = contextlib.ExitStack()
        self._exits.enter_context(cheap.remembered())
        self.store = self._pool(USER)
        self._other = self._pool(USER)
        self._admin = self._pool("admin")
        self.release = self.store.librbd.release
        self.prefix = f"stress-{os.getpid()}-{next(_NUMBERS)}-"
        #: header backups by name
        self.kept: Dict[str, bytes] = {}
        self._watching: Dict[str, Any] = {}
        self._children = multiprocessing.get_context("forkserver")
        self._children.set_forkserver_preload([__name__])

    def _pool(self, user: str) -> Any:
        handle = self._exits.enter_context(cluster.connect(self.conf, user))
        return self._exits.enter_context(handle.pool(POOL))

    def ground(self, faults: FrozenSet[str]) -> chance.Ground:
        """What rules have to know."""
        return chance.Ground(
            self.release, (64 * units.KIB, units.MIB, 4 * units.MIB), 1600,
            lambda size: {"order": size.bit_length() - 1}, faults,
            self.prefix)

    def act(self, action: str, args: Dict[str, Any]) -> Any:
        """Do it."""
        own: Optional[Callable[..., Any]] = getattr(
            self, f"_{action}", None)
        if own:
            return own(**args)
        return getattr(actions, action)(self.store, **args)

    def act_as_other(self, action: str, args: Dict[str, Any]) -> None:
        """Do it as another client."""
        getattr(actions, action)(self._other, **args)

    def kill(self, action: str, args: Dict[str, Any], number: int,
             after: bool) -> Tuple[bool, str]:
        """Do it in a process that ends at the nth change of the store.

        :returns: whether it was killed, and where
        """
        if action == "restore":
            args = {**args, "data": self.kept[args["data"]]}
        told, mark = self._children.Pipe(duplex=False)
        child = self._children.Process(target=_killed, args=(
            self.conf, action, args, number, after, mark))
        child.start()
        mark.close()
        child.join(HANGS)
        if child.exitcode is None:
            child.kill()
            child.join()
            raise AssertionError(f"{action} hangs")
        if child.exitcode not in (0, -signal.SIGKILL):
            raise AssertionError(f"{action} exited with {child.exitcode}")
        if child.exitcode == 0:
            return False, ""
        return True, told.recv()

    def race(self, action: str, args: Dict[str, Any], number: int,
             other: Callable[[], None]) -> None:
        """Do it while another client does something at the nth change."""
        with moments.watching(moments.Moment(number, False, other),
                              rbd_pool.Pool, rbd_image.RBDImage):
            self.act(action, args)

    def images(self) -> FrozenSet[str]:
        """Names of all images of this walk, partial ones and bases too."""
        return frozenset(name for name in self.store.images()
                         if self.prefix in name)

    def fence(self, name: str) -> None:
        """Do what Ceph does by itself 30 s after a client died."""
        import rados
        if name in self._watching:
            # It would be fenced as well.
            self._unwatch(name)
            self.fence(name)
            self._watch(name)
            return
        self._admin.evict(name)
        with self._admin.open(name, read_only=True) as image:
            key = f"rbd_header.{image._image.id()}"
        with contextlib.suppress(rados.NoData):
            self._admin._ioctx.rm_xattr(key, f"lock.{header_lock.LOCK_NAME}")

    def discard(self, name: str) -> None:
        """Remove what nobody needs."""
        self.store.remove(name)

    def image_size(self, name: str, snapshot: Optional[str]) -> int:
        """Bytes of an image or snapshot."""
        with self.store.open(name, True, snapshot) as image:
            return image.size()

    def read(self, name: str, snapshot: Optional[str],
             passphrases: Tuple[bytes, ...]) -> bytes:
        """All that a guest reads, by librbd."""
        with actions.guest(self.store, name, passphrases, snapshot,
                           read_only=True) as view:
            return bytes(view.read(0, view.size()))

    def other_readings(self, name: str, volume: models.Volume, key: bytes
                       ) -> Tuple[Tuple[str, bytes], ...]:
        """All that a guest reads by QEMU's luks driver, of LUKS1."""
        if volume.kind != "luks1" or volume.own_header:
            return ()
        options = (f"driver=luks,key-secret=key,file.driver=rbd,"
                   f"file.pool={POOL},file.image={name},"
                   f"file.user={USER},file.conf={self.conf}")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "plain")
            done = subprocess.run(
                ["qemu-img", "convert", "-U", "--object",
                 "secret,id=key,file=/dev/stdin", "--image-opts", options,
                 "-O", "raw", path], input=key, capture_output=True,
                timeout=HANGS)
            if done.returncode:
                raise AssertionError(f"QEMU: {done.stderr.decode()}")
            with open(path, "rb") as stream:
                return (("QEMU", stream.read()),)

    def close(self) -> None:
        """Remove all images of the walk, clones first, and disconnect."""
        with self._exits:
            for name in [*self._watching]:
                self._unwatch(name)
            left = self.images()
            while left:
                for name in left:
                    self._remove_if_free(name)
                if self.images() == left:
                    raise AssertionError(f"cannot remove {sorted(left)}")
                left = self.images()

    def _remove_if_free(self, name: str) -> None:
        """Remove an image whose snapshots have no clones."""
        with self._admin.open(name) as image:
            snapshots = image.snapshots()
            if any(image.children(each) for each in snapshots):
                return
            for each in snapshots:
                image.remove_snapshot(each)
        self.fence(name)
        self._admin.remove(name)

    def _restore(self, name: str, data: str, force: bool) -> None:
        actions.restore(self.store, name, self.kept[data], force)

    def _revert(self, name: str, snapshot: str) -> None:
        with self.store.open(name) as image:
            image._image.rollback_to_snap(snapshot)

    def _watch(self, name: str) -> None:
        self._watching[name] = self._other.open(name)

    def _unwatch(self, name: str) -> None:
        self._watching.pop(name).__exit__(None, None, None)
