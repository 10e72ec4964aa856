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

"""Create a volume: its size, and nothing left of a failure."""

from __future__ import annotations

import itertools

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class CreateTest(base.OperationsTestCase):

    def create(self, store, size=units.MIB, passphrase=base.OLD,
               options=base.QUICK, **image_options):
        return creating.create(store, "volume-1", size, passphrase, options,
                               **image_options)

    def test_striping_that_librbd_garbles(self):
        store = stores.MemoryStore(interleaves=True)
        error = self.assertRaises(
            exception.InvalidParameter, self.create, store,
            options=formatting.Options(type="luks2"))
        self.assertIn("stripe unit", str(error))
        self.assertEqual([], store.images())
        # QEMU's luks driver encrypts above the striping.
        self.create(store)

    def facts(self, store):
        with store.open("volume-1", read_only=True) as image:
            return describe.describe_image(image)

    @ddt.data(512, 1024, units.MIB, 4 * units.MIB, units.GIB - 512, units.GIB,
              10 * units.GIB, 2 ** 50 + 512)
    def test_decrypted_size_is_the_one_asked_for(self, size):
        store = stores.MemoryStore()
        header = self.create(store, size)
        facts = self.facts(store)
        self.assertEqual(size, facts["decrypted_size"])
        self.assertEqual(size + header.data_offset, facts["image_size"])

    @ddt.data(*itertools.product(
        (65536, 4 * units.MIB, 8 * units.MIB, 20 * units.MIB), repeat=2))
    @ddt.unpack
    def test_store_may_stripe_otherwise_than_announced(self, announced,
                                                       actual):
        store = stores.MemoryStore(stripe_period=actual,
                                  announced_stripe_period=announced)
        self.create(store, 3 * units.MIB)
        facts = self.facts(store)
        self.assertEqual(3 * units.MIB, facts["decrypted_size"])
        self.assertEqual(0, facts["data_offset"] % actual)

    def test_result_is_the_header(self):
        store = stores.MemoryStore()
        header = self.create(store)
        with store.open("volume-1") as image:
            self.assertEqual(image.read(0, 592), header.pack())
            self.assertTrue(self.opens(image, base.OLD))

    def test_image_is_closed(self):
        store = stores.MemoryStore()
        self.create(store)
        self.assertEqual(0, store.contents["volume-1"].handles)

    def test_image_options_reach_the_store(self):
        store = stores.MemoryStore()
        self.create(store, stripe_period=8 * units.MIB,
                    features=frozenset({"layering"}))
        self.assertEqual(8 * units.MIB, self.facts(store)["data_offset"])
        self.assertEqual({"layering"}, store.contents["volume-1"].features)

    @ddt.data(-512, -1, 0, 1, 511, 513, units.GIB + 1)
    def test_bad_size(self, size):
        store = stores.MemoryStore()
        error = self.assertRaises(exception.InvalidParameter, self.create,
                                  store, size)
        self.assertEqual(("size", size), (error.name, error.value))
        self.assertEqual([], store.images())

    @ddt.data({"passphrase": b""},
              {"options": formatting.Options(iterations=1)},
              {"options": formatting.Options(hash_name="sha1")},
              {"options": formatting.Options(cipher_spec="none")})
    def test_bad_parameters_make_no_image(self, parameters):
        store = stores.MemoryStore()
        store.create = None  # would be a TypeError
        self.assertRaises(
            (exception.InvalidParameter, exception.UnsupportedHeader),
            self.create, store, **parameters)

    def test_existing_image_stays_as_it_is(self):
        store = stores.MemoryStore()
        with store.create("volume-1", units.MIB) as image:
            image.write(0, b"precious")
        error = self.assertRaises(exception.ImageExists, self.create, store)
        self.assertIn("volume-1", str(error))
        with store.open("volume-1") as image:
            self.assertEqual(units.MIB, image.size())
            self.assertEqual(b"precious", image.read(0, 8))

    @ddt.data(exception.ImageFull(action="write"),
              exception.ImageIOError(action="write", reason="no OSD"),
              KeyboardInterrupt(), SystemExit(1), MemoryError())
    def test_failure_at_any_write_leaves_no_image(self, error):
        failures = [self.failed(faults.Fault("write", number, after,
                                             error=error))
                    for number in (1, 2) for after in (False, True)]
        self.assertEqual([True] * 2 + [False] * 2, failures)

    def failing_store(self):
        """A store that fails at the first write."""
        planned = faults.Faults(faults.Fault(
            "write", error=exception.ImageFull(action="write")))
        self.addCleanup(planned.assert_happened)
        return planned.around(stores.MemoryStore())

    def failed(self, fault):
        """Whether an image is not created, and then is not there."""
        store = faults.Faults(fault).around(stores.MemoryStore())
        try:
            self.create(store)
        except type(fault.error) as error:
            self.assertIs(fault.error, error)
            self.assertEqual([], store.images())
            return True
        self.assertEqual(["volume-1"], store.images())
        return False

    def test_failed_resize_leaves_no_image(self):
        store = stores.MemoryStore(stripe_period=8 * units.MIB,
                                  announced_stripe_period=4 * units.MIB)
        error = exception.ImageFull(action="resize")

        def create_full(*arguments):
            image = made(*arguments)

            def resize(size):
                raise error

            image.resize = resize
            return image

        made, store.create = store.create, create_full
        self.assertIs(error, self.assertRaises(exception.ImageFull,
                                               self.create, store))
        self.assertEqual([], store.images())

    def test_after_a_failure_the_name_is_free(self):
        store = self.failing_store()
        self.assertRaises(exception.ImageFull, self.create, store)
        self.create(store)
        self.assertEqual(units.MIB, self.facts(store)["decrypted_size"])

    def test_first_error_is_told_when_the_store_is_gone(self):
        """A store that fails cannot remove the image either."""
        store = self.failing_store()

        def remove(name):
            raise exception.ImageIOError(action="remove", reason="no OSD")

        store.remove = remove
        self.assertRaises(exception.ImageFull, self.create, store)
