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

import dataclasses
import itertools
import os
import threading

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting


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

    def test_header_is_built_while_the_image_is_made(self):
        begun = threading.Event()

        def random(length):
            begun.set()
            return os.urandom(length)

        class Store(stores.MemoryStore):
            def create(self, *args, **options):
                assert begun.wait(waiting.PATIENCE)
                return super().create(*args, **options)

        self.create(Store(), options=dataclasses.replace(
            base.QUICK, random=random))

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


@ddt.ddt
class AlikeTest(base.OperationsTestCase):
    """With the header of another volume, whose passphrases nobody knows."""

    def setUp(self):
        super().setUp()
        self.store = stores.MemoryStore()

    def make(self, kind, size=units.MIB):
        """A volume of two passphrases."""
        creating.create(self.store, "one", size, base.OLD,
                        dataclasses.replace(base.QUICK, type=kind))
        with self.store.open("one") as image:
            keyslots.add(image, base.OLD, base.NEW)

    def alike(self, size=units.MIB, store=None, **image_options):
        with self.store.open("one", read_only=True) as source:
            return creating.create_alike(store or self.store, "other", size,
                                         source, **image_options)

    def opened(self, name, passphrase):
        with self.store.open(name, read_only=True) as image:
            return unlocking.unlock(image, passphrase)

    def assert_sound(self):
        with self.store.open("other", read_only=True) as image:
            self.assertIsNone(getattr(header_io.read_header(image),
                                      "ailment", None))

    @ddt.data("luks1", "luks2")
    def test_same_keys(self, kind):
        self.make(kind)
        before = self.store.contents["one"].read(0, 65536)
        header = self.alike(3 * units.MIB)
        self.assertEqual(before, self.store.contents["one"].read(0, 65536))
        for passphrase in (base.OLD, base.NEW):
            self.assertEqual(self.opened("one", passphrase).volume_key,
                             self.opened("other", passphrase).volume_key)
        with self.store.open("other", read_only=True) as image:
            self.assertEqual(3 * units.MIB + header.data_offset,
                             image.size())
        self.assert_sound()

    def test_no_data(self):
        self.make("luks2")
        content = self.store.contents["one"]
        content.write(content.size - 512, b"data")
        self.alike()
        other = self.store.contents["other"]
        self.assertEqual(bytes(512), other.read(other.size - 512, 512))

    def test_of_a_clone_with_its_own_header(self):
        """It has neither the mark nor what is sealed for the layers."""
        self.store = stores.MemoryStore(release=18)
        self.make("luks2")
        self.store.contents["one"].freeze("s")
        cloning.own_header(
            self.store, self.store.parent("one", "s"), "clone", base.OTHER,
            dataclasses.replace(base.QUICK, type="luks2"),
            old_passphrase=base.OLD)
        with self.store.open("clone", read_only=True) as source:
            self.assertEqual(1, sealed.needed(
                source, header_io.read_header(source)).count)
            made = creating.create_alike(self.store, "other", units.MIB,
                                         source)
        self.assertFalse(made.clone)
        opened = self.opened("other", base.OTHER)
        self.assertEqual(self.opened("clone", base.OTHER).volume_key,
                         opened.volume_key)
        with self.store.open("other", read_only=True) as image:
            self.assertEqual(0, sealed.needed(image, opened.header).count)

    def test_one_copy_is_damaged(self):
        """The other one has all that is needed."""
        self.make("luks2")
        self.store.contents["one"].write(16384, bytes(4096))
        self.alike()
        self.opened("other", base.NEW)
        self.assert_sound()

    def test_no_header(self):
        self.store.create("one", units.MIB).__exit__()
        self.assertRaises(exception.NotLuks, self.alike)
        self.assertEqual(["one"], self.store.images())

    def test_payload_would_not_be_aligned(self):
        """librbd of Ceph 18 would not load it."""
        self.make("luks2")
        other = stores.MemoryStore(stripe_period=20 * units.MIB)
        self.assertRaises(exception.OperationRefused, self.alike,
                          store=other)
        self.assertEqual([], other.images())

    def test_there_is_one(self):
        self.make("luks1")
        self.store.create("other", units.MIB).__exit__()
        self.assertRaises(exception.ImageExists, self.alike)
