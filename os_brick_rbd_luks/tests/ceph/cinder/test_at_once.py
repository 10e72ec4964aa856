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

"""Many volumes of images at once, in a service that eventlet has patched."""

from __future__ import annotations

import threading

import eventlet
from eventlet import tpool

from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.tests.ceph.cinder import image_base
from os_brick_rbd_luks.tests.ceph.cinder import images
from os_brick_rbd_luks.tests.fakes import glance
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: More than the service has native threads, which are 20.
MANY = 24 if selection.QUICK else 40

SIZE = 16 * units.MIB

#: Seconds after which something hangs.
HANGS = 1800


class ImageService(glance.ImageService):
    """Sends an image in pieces of Glance's client, while others do as well.

    The first ones stop in their middle until there are as many as may be.
    """

    def __init__(self, folder, most):
        super().__init__(folder)
        self._most = most
        self._full = threading.Event()
        self.running = 0
        #: how many ran when each of them began
        self.at_a_time = []

    def download(self, _context, image_id, data=None):
        self.running += 1
        self.at_a_time.append(self.running)
        try:
            with open(self.path(image_id), "rb") as stream:
                while piece := stream.read(64 * units.KIB):
                    data.write(piece)
                    if stream.tell() == SIZE // 2:
                        if self.running == self._most:
                            self._full.set()
                        self._full.wait()
                    eventlet.sleep(0)
        finally:
            self.running -= 1


class StreamsTest(image_base.ImageTestCase):

    def fill_all(self, most):
        if native_threads.patcher() is None:
            self.skipTest("Cinder has not let eventlet patch this process")
        self.backend = self.make_backend(
            rbd_luks_concurrent_image_copies=most)
        self.driver = self.backend.driver
        self.glance = ImageService(self.temp, most)
        wanted = []
        for number in range(MANY):
            extents = images.spread(SIZE, 1 + 3 * number)
            wanted.append((
                self.create(("luks", "luks2")[number % 2]), extents,
                self.glance.add(images.raw(SIZE, extents))))
        with eventlet.Timeout(HANGS):
            running = [eventlet.spawn(
                self.driver.copy_image_to_encrypted_volume, self.context,
                volume, self.glance, image_id)
                for volume, _extents, image_id in wanted]
            # Others have native threads, whatever these do.
            while any(not each.dead for each in running):
                self.assertEqual(1, tpool.execute(int, "1"))
                eventlet.sleep(0.01)
            for each in running:
                each.wait()
        self.assertEqual(most, max(self.glance.at_a_time))
        for volume, extents, _image_id in wanted:
            # Not by check, which tries all keys on all volumes.
            self.disk(volume).check(units.GIB, extents)

    def test_as_many_as_by_default(self):
        self.fill_all(8)

    @selection.full
    def test_all_of_them(self):
        self.fill_all(MANY)
