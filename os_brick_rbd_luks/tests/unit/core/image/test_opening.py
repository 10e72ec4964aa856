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

"""Images are closed only when librbd has let go of them.

The module ``rbd`` of the tests refuses to close one too soon, as librbd
crashes.
"""

from __future__ import annotations

import contextlib

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import opening
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import units

SIZE = 8 * units.MIB


@ddt.ddt
class OpeningTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph())
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        connection = stack.enter_context(cluster.connect(user="cinder"))
        self.pool = stack.enter_context(connection.pool("volumes"))
        with self.pool.create("image", SIZE) as image:
            image.create_snapshot("s")
        self.parent = self.pool.parent("image", "s")
        self.pool.clone(self.parent, "clone").__exit__()

    @ddt.data(("image", "s"), ("clone", None))
    @ddt.unpack
    def test_librbd_alone_would_crash(self, name, snapshot):
        image = librbd.bindings().Image(
            self.pool._ioctx, name, snapshot=snapshot, read_only=True)
        self.assertRaises(AssertionError, image.close)
        # Any callback will do.
        opening.open_image(self.pool._ioctx, "image", read_only=True).close()
        image.close()
        self.assertEqual([], self.ceph.images)

    @ddt.data(("image", "s", True), ("image", None, True),
              ("clone", None, True), ("clone", None, False))
    @ddt.unpack
    def test_closed_at_once(self, name, snapshot, read_only):
        opening.open_image(self.pool._ioctx, name, snapshot,
                           read_only).close()
        self.assertEqual([], self.ceph.images)

    def test_the_pool_opens_this_way(self):
        self.pool.open_snapshot(self.parent).__exit__()
        self.pool.open("clone", read_only=True).__exit__()
        self.assertEqual([], self.ceph.images)

    def test_a_look_at_the_parent_opens_this_way(self):
        with self.pool.open("clone") as image:
            self.assertFalse(image.is_deep_clone())
            image.create_snapshot("s")
        self.pool.clone(self.pool.parent("clone", "s"), "second").__exit__()
        with self.pool.open("second") as image:
            self.assertTrue(image.is_deep_clone())
        self.assertEqual([], self.ceph.images)

    def test_nothing_is_left_open_if_there_is_no_waiting(self):
        self.ceph.faults["aio_stat"] = self.ceph.rados.TimedOut("aio_stat")
        self.assertRaises(exception.ImageIOError, self.pool.open_snapshot,
                          self.parent)
        self.assertEqual([], self.ceph.images)
