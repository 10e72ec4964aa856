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

"""Who is kept from an image, and who is waited for."""

from __future__ import annotations

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import evict
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import rados as clients


@ddt.ddt
class EvictTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph())
        self.now = 0.0
        self.useFixture(fixtures.MonkeyPatch("time.monotonic",
                                             lambda: self.now))
        self.useFixture(fixtures.MonkeyPatch("time.sleep", self.sleep))
        #: what happens while one waits
        self.meanwhile = lambda: None
        self.pool, self.other = self.connected(), self.connected()
        self.pool.create("v", 1024).__exit__()

    def connected(self):
        connection = cluster.connect()
        pool = connection.__enter__().pool("volumes")
        self.addCleanup(connection.__exit__, None, None, None)
        opened = pool.__enter__()
        self.addCleanup(pool.__exit__, None, None, None)
        return opened

    def sleep(self, seconds):
        self.now += seconds
        self.meanwhile()

    @ddt.data("evict", "wait_alone")
    def test_nobody(self, call):
        getattr(self.pool, call)("v")
        self.assertEqual((0.0, {}), (self.now, self.ceph.blocklist))

    @ddt.data("evict", "wait_alone")
    def test_this_client_is_nobody_else(self, call):
        with self.pool.open("v"):
            getattr(self.pool, call)("v")
        self.assertEqual((0.0, {}), (self.now, self.ceph.blocklist))

    @ddt.data(("evict", 1), ("wait_alone", 0))
    @ddt.unpack
    def test_another_client(self, call, blocklisted):
        image = self.other.open("v")
        self.meanwhile = image.__exit__
        getattr(self.pool, call)("v")
        self.assertEqual(blocklisted, len(self.ceph.blocklist))

    @ddt.data("evict", "wait_alone")
    def test_one_that_stays(self, call):
        with self.other.open("v"):
            error = self.assertRaises(exception.ImageLocked,
                                      getattr(self.pool, call), "v")
        self.assertIn("10.0.0.9", str(error))
        self.assertGreater(self.now, evict.WAIT)

    @ddt.data("PermissionError", "PermissionDeniedError")
    def test_no_permission(self, name):
        self.ceph.faults["blocklist_add"] = getattr(self.ceph.rados, name)("x")
        image = self.other.open("v")
        self.meanwhile = image.__exit__
        self.pool.evict("v")
        self.assertEqual({}, self.ceph.blocklist)

    # what a signal kept from being closed

    def test_own_images_are_closed_first(self):
        """Or else librbd crashes when they are closed later."""
        closed = []

        def shutdown(connection):
            closed.append(not self.ceph.images)

        self.useFixture(fixtures.MonkeyPatch(f"{clients.__name__}.Rados.shutdown",
                                             shutdown))
        with cluster.connect() as connection, connection.pool(
                "volumes") as pool:
            image = pool.open("v")
        self.assertEqual([True], closed)
        image.__exit__()

    def test_an_image_to_be_removed_is_closed(self):
        image = self.pool.open("v")
        self.pool.evict("v")
        self.pool.remove("v")
        image.__exit__()
        self.assertNotIn("v", self.pool.images())
