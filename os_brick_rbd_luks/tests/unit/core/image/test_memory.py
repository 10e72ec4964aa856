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

"""The images in memory that other tests use: they keep the contract too."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests.contracts import image as contract
from os_brick_rbd_luks.tests.fakes import store as stores

SIZE = 64 * 1024


class MemoryContractTest(contract.ImageContract, testtools.TestCase):

    def make_store(self):
        return stores.MemoryStore(), "volume-1"

    def lock_expires(self, image, lock):
        image.content.clock.advance(header_lock.LOCK_DURATION)
        return True


class SmallObjectsContractTest(MemoryContractTest):

    def make_store(self):
        return stores.MemoryStore(object_size=65536, stripe_period=262144,
                                 features=frozenset({"layering"}),
                                 atomic=False), "volume-1"


@ddt.ddt
class ContentTest(testtools.TestCase):

    def make(self, **options):
        return stores.MemoryStore(**options).create("v", SIZE)

    @ddt.data((0, 0), (2, 0), (3, 0), (4, 4))
    @ddt.unpack
    def test_within_an_object_all_or_nothing(self, after, expected):
        self.assertEqual(expected, self.make().content.torn(0, 4, after))

    def test_tears_between_objects(self):
        image = self.make(object_size=512)
        self.assertEqual(2, image.content.torn(510, 4, 3))

    def test_tears_at_any_byte_without_atomicity(self):
        image = self.make(atomic=False)
        self.assertEqual(3, image.content.torn(0, 4, 3))

    def test_log(self):
        image = self.make()
        with image.lock() as lock:
            image.write(8, b"ab")
            image.flush()
            lock.renew()
        self.assertEqual(
            [("lock", 0, 0), ("write", 8, 2), ("flush", 0, 0),
             ("renew", 0, 0), ("unlock", 0, 0)], image.content.log)

    def test_open_image_is_not_removed(self):
        store = stores.MemoryStore()
        image = store.create("v", SIZE)
        self.assertRaises(exception.ImageLocked, store.remove, "v")
        with image:
            pass
        store.remove("v")
        self.assertRaises(ValueError, image.read, 0, 1)
