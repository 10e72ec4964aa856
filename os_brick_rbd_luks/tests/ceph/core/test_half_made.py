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
"""Real kills and signals while images are made: no name is half-made."""

from __future__ import annotations

import itertools
import signal

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.stress import actions
from os_brick_rbd_luks.tests.stress import cluster as worlds
from os_brick_rbd_luks.tests import units

OLD, NEW = b"old passphrase", b"new passphrase"
SIZE = units.MIB


class Signalled(BaseException):
    """What the handler raises."""


@ddt.ddt
class KilledTest(base.FunctionalTestCase):
    """A process that dies of SIGKILL at each change of the pool."""

    def setUp(self):
        super().setUp()
        self.world = worlds.CephWorld()
        self.addCleanup(self.world.close)
        self.name = self.world.prefix + "new"
        self.half = partial.PREFIX + self.name
        self.source = self.world.prefix + "source"

    def arguments(self, action):
        if action == "create":
            return {"name": self.name, "size": SIZE, "key": NEW,
                    "kind": "luks1", "sector": None, "image_options": {}}
        creating.create(self.world.store, self.source, SIZE, OLD,
                        actions.options("luks1"))
        actions.take_snapshot(self.world.store, self.source, "s")
        return {"name": self.name, "image": self.source, "snapshot": "s",
                "key": OLD, "new_key": NEW, "size": None, "flatten": False}

    @ddt.data("create", "clone_own_key")
    def test_every_change(self, action):
        args, found = self.arguments(action), []
        for number in itertools.count():
            killed, where = self.world.kill(action, args, number, after=True)
            if killed:
                found.append((where, self.left(action, args)))
            self.assertEqual(
                frozenset([NEW]), actions.opening(
                    self.world.store, self.name, (OLD, NEW)))
            self.world.fence(self.name)
            self.world.discard(self.name)
            if not killed:
                break
        made = "create" if action == "create" else "clone"
        self.assertEqual((made, True), found[0])
        self.assertEqual(("rename", False), found[-1])
        self.assertIn(("write", True), found)

    def left(self, action, args):
        """Whether there was something half-made; begin anew then."""
        images = self.world.images()
        self.assertEqual(1, len(images & {self.name, self.half}))
        if self.name in images:
            return False
        self.world.fence(self.half)
        error = self.assertRaises(exception.HalfMade, self.world.act, action,
                                  args)
        self.assertIn(self.half, str(error))
        self.world.act(action, {**args, "restart": True})
        self.assertNotIn(self.half, self.world.images())
        return True


class SignalTest(base.FunctionalTestCase):
    """Signals at moments that librbd chooses, for it delays them."""

    def setUp(self):
        super().setUp()
        self.pool = self.open_pool()
        self.image = self.name()
        self.addCleanup(signal.signal, signal.SIGALRM, signal.signal(
            signal.SIGALRM, self.handle))
        self.addCleanup(signal.setitimer, signal.ITIMER_REAL, 0)

    def handle(self, *_args):
        raise Signalled

    def test_nothing_is_left(self):
        """Or all of it: the signal was late."""
        for number in range(1, 30):
            try:
                signal.setitimer(signal.ITIMER_REAL, number * 0.001)
                creating.create(self.pool, self.image, SIZE, NEW)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Signalled:
                pass
            found = [name for name in self.pool.images()
                     if self.image in name]
            if found:
                self.assertEqual([self.image], found)
                with self.pool.open(self.image) as image:
                    unlocking.unlock(image, NEW)
                self.pool.remove(self.image)
