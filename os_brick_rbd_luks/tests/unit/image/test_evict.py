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

"""Killed clients are kept away, or waited for."""

from __future__ import annotations

import contextlib
import logging

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import evict
from os_brick_rbd_luks.tests.fakes import ceph

ADDRESS = "10.0.0.7:0/9"


class Clock:
    """Time that passes only where somebody waits."""

    def __init__(self, ceph):
        self.now = 0.0
        self.waits = []
        self._ceph = ceph
        #: when the watches of dead clients end by themselves
        self.end = None

    def monotonic(self):
        return self.now

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds
        if self.end is not None and self.now >= self.end:
            self._ceph.watchers.clear()


@ddt.ddt
class EvictTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph())
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.clock = Clock(self.ceph)
        self.useFixture(fixtures.MonkeyPatch(
            f"{evict.__name__}.time", self.clock))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.connection = stack.enter_context(cluster.connect(user="cinder"))
        self.pool = stack.enter_context(self.connection.pool("volumes"))
        self.pool.create("volume-1", 4096).__exit__()

    def watch(self, *addresses):
        self.ceph.watchers["volumes/volume-1"] = [
            ceph.Watcher(number, address)
            for number, address in enumerate(addresses, 9)]

    def evict(self):
        self.pool.evict("volume-1")

    def test_nobody(self):
        self.evict()
        self.assertEqual(({}, []), (self.ceph.blocklist, self.clock.waits))

    @ddt.data(("10.0.0.7:0/9",), ("[fd00::7]:0/123",),
              ("v1:10.0.0.7:0/9", "10.0.0.8:0/10"))
    def test_blocklisted(self, addresses):
        self.watch(*addresses)
        self.evict()
        self.assertEqual(dict.fromkeys(addresses, evict.DURATION),
                         self.ceph.blocklist)
        self.assertLessEqual(len(self.clock.waits), 1)

    def test_never_this_client(self):
        """The image that is open for the work is its own."""
        self.watch(ADDRESS)
        with self.pool.open("volume-1"):
            # Another of the same client is a watcher, as for everybody.
            error = self.assertRaises(exception.ImageLocked, self.evict)
        self.assertIn("client.", str(error))

    def test_own_watch_of_the_same_object(self):
        self.watch(ADDRESS)
        with self.pool.open("volume-1") as image:
            evict.all_from(self.connection._handle, image)
        self.assertEqual([ADDRESS], [*self.ceph.blocklist])

    def test_old_name(self):
        """Ceph before 16 calls it blacklist."""
        class Old:
            def blacklist_add(self, address, seconds):
                handle.blocklist_add(address, seconds)

        handle = self.connection._handle
        self.watch(ADDRESS)
        with self.pool.open("volume-1", read_only=True) as image:
            evict.all_from(Old(), image)
        self.assertEqual([ADDRESS], [*self.ceph.blocklist])

    @ddt.data("PermissionError", "PermissionDeniedError")
    def test_not_permitted(self, name):
        """The watch ends by itself, and that is waited for."""
        self.ceph.faults["blocklist_add"] = getattr(
            self.ceph.rados, name)("x")
        self.watch(ADDRESS)
        self.clock.end = 30.0
        self.evict()
        self.assertEqual({}, self.ceph.blocklist)
        self.assertAlmostEqual(30.0, self.clock.now, delta=1)
        self.assertIn("not permitted", self.log.output)

    def test_stays(self):
        self.watch(ADDRESS)
        self.ceph.staying.add(ADDRESS)
        error = self.assertRaises(exception.ImageLocked, self.evict)
        self.assertIn(ADDRESS, error.holders)
        self.assertAlmostEqual(evict.WAIT, self.clock.now, delta=1)
        self.assertEqual(1, self.log.output.count("blocklisting"))

    def test_wait_is_longer_than_a_watch(self):
        """osd_client_watch_timeout is 30 s."""
        self.assertGreater(evict.WAIT, 30)
        self.assertGreater(evict.DURATION, evict.WAIT)

    def test_one_that_comes_later(self):
        self.watch(ADDRESS)
        self.ceph.staying.add(ADDRESS)
        add = self.connection._handle.blocklist_add

        def later(address, seconds):
            add(address, seconds)
            if address == ADDRESS:
                self.ceph.staying.clear()
                self.watch("10.0.0.8:0/10")

        self.connection._handle.blocklist_add = later
        self.evict()
        self.assertEqual([ADDRESS, "10.0.0.8:0/10"], [*self.ceph.blocklist])

    def test_cluster_fails(self):
        self.watch(ADDRESS)
        self.ceph.faults["blocklist_add"] = self.ceph.rados.TimedOut("x")
        error = self.assertRaises(exception.ImageIOError, self.evict)
        self.assertIn("evict other clients of", str(error))
