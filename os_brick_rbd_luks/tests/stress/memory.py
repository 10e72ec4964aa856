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
"""The walk's world in memory: the fakes, and librbd as they have it."""

from __future__ import annotations

import contextlib
from typing import Any, Callable, Dict, FrozenSet, Optional, Tuple

from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import chance
from os_brick_rbd_luks.tests.stress import cheap
from os_brick_rbd_luks.tests.stress import model as models
from os_brick_rbd_luks.tests.stress import moments
from os_brick_rbd_luks.tests import units


class MemoryWorld:
    """A store in memory; clients are the same process."""

    def __init__(self, release: int = 18) -> None:
        """Choose the Ceph release whose librbd it has."""
        self.release = release
        self._exits = contextlib.ExitStack()
        self._exits.enter_context(cheap.keyslots())
        self.store = stores.MemoryStore(release=release)
        #: header backups by name
        self.kept: Dict[str, bytes] = {}

    def ground(self, faults: FrozenSet[str]) -> chance.Ground:
        """What rules have to know."""
        return chance.Ground(
            self.release, (64 * units.KIB, 256 * units.KIB), 160,
            lambda size: {"object_size": size, "stripe_period": size},
            faults)

    def act(self, action: str, args: Dict[str, Any]) -> Any:
        """Do it."""
        own: Optional[Callable[..., Any]] = getattr(
            self, f"_{action}", None)
        if own:
            return own(**args)
        return getattr(actions, action)(self.store, **args)

    #: another client does it: in memory there is nothing between them
    act_as_other = act

    def kill(self, action: str, args: Dict[str, Any], number: int,
             after: bool) -> Tuple[bool, str]:
        """Do it, and end at the nth change of the store.

        :returns: whether it was killed, and where
        """
        def die() -> None:
            raise moments.Killed()

        moment = moments.Moment(number, after, die, stays=True)
        with self._watching(moment), contextlib.suppress(moments.Killed):
            self.act(action, args)
            return False, ""
        for content in self.store.contents.values():
            # The dead client's images are closed for it.
            content.close_all()
        return True, moment.where

    def race(self, action: str, args: Dict[str, Any], number: int,
             other: Callable[[], None]) -> None:
        """Do it while another client does something at the nth change."""
        with self._watching(moments.Moment(number, False, other)):
            self.act(action, args)

    @staticmethod
    def _watching(moment: moments.Moment) -> Any:
        return moments.watching(moment, stores.MemoryStore, images.MemoryImage)

    def images(self) -> FrozenSet[str]:
        """Names of all images."""
        return frozenset(self.store.images())

    def fence(self, name: str) -> None:
        """Nothing is left of who is killed here."""

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
        with self.store.open(name, read_only=True) as image:
            view = plaintext.Plaintext(image, unlocking.unlock(image, key))
            return (("QEMU", view.read(0, view.size())),)

    def close(self) -> None:
        """Let keyslots be what they are."""
        self._exits.close()

    def _restore(self, name: str, data: str, force: bool) -> None:
        actions.restore(self.store, name, self.kept[data], force)

    def _revert(self, name: str, snapshot: str) -> None:
        self.store.contents[name].rollback(snapshot)

    def _watch(self, name: str) -> None:
        self.store.contents[name].watchers.append("client.1 at 10.0.0.1")

    def _unwatch(self, name: str) -> None:
        self.store.contents[name].watchers.clear()
