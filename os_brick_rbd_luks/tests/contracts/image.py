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

"""What every image and every store of images has to do.

A test class mixes :class:`ImageContract` in and says which store is meant.
"""

from __future__ import annotations

import random
import sys
import threading
from typing import Any, Tuple

import fixtures
from testtools import matchers

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests import contracts
from os_brick_rbd_luks.tests import units

#: More than an object, and no whole number of them.
SIZE = 2 * base.DEFAULT_OBJECT_SIZE + units.MIB


class ImageContract(contracts.Contract):
    """Tests of an ``image.base.ImageStore`` and its images."""

    def make_store(self) -> Tuple[base.ImageStore, str]:
        """Give a store and the name of an image that it does not have."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.store, self.image_name = self.make_store()

    def create(self, size: int = SIZE) -> base.Image:
        image = self.store.create(self.image_name, size)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    def open(self, read_only: bool = False) -> base.Image:
        image = self.store.open(self.image_name, read_only=read_only)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    def patch_lock_wait(self, image: base.Image,
                        seconds: float = 0.05) -> None:
        """Wait but shortly for the lock of such an image."""
        for module in (header_lock, sys.modules[type(image).__module__]):
            if hasattr(module, "LOCK_WAIT"):
                self.useFixture(fixtures.MonkeyPatch(
                    f"{module.__name__}.LOCK_WAIT", seconds))

    # the store

    def test_kind(self) -> None:
        """An image says itself whether it is one of a pool."""
        kind = self.create().is_rbd
        self.assertIs(kind, hasattr(self.store, "clone"))
        self.assertIs(kind, self.open(read_only=True).is_rbd)

    def test_new_image_has_the_size_asked_for(self) -> None:
        self.assertEqual(SIZE, self.create().size())
        self.assertEqual(SIZE, self.open(read_only=True).size())

    def test_new_image_is_open_for_writing(self) -> None:
        image = self.create()
        image.write(0, b"new")
        self.assertEqual(b"new", image.read(0, 3))

    def test_create_existing(self) -> None:
        self.create().write(0, b"kept")
        error = self.assertRaises(exception.ImageExists, self.store.create,
                                  self.image_name, SIZE)
        self.assert_names_image_once(error)
        self.assertEqual(b"kept", self.open().read(0, 4))

    def test_open_missing(self) -> None:
        for read_only in (False, True):
            error = self.assertRaises(exception.ImageNotFound,
                                      self.store.open, self.image_name,
                                      read_only=read_only)
            self.assert_names_image_once(error)

    def test_remove(self) -> None:
        with self.store.create(self.image_name, SIZE):
            pass
        self.store.remove(self.image_name)
        self.assertRaises(exception.ImageNotFound, self.store.open,
                          self.image_name)
        self.assertFalse(self.create().has_data())

    def test_remove_missing(self) -> None:
        error = self.assertRaises(exception.ImageNotFound, self.store.remove,
                                  self.image_name)
        self.assert_names_image_once(error)

    # an image that is being made

    def test_identity_outlives_a_rename(self) -> None:
        image = self.create()
        half = self.store.partial_name(self.image_name)
        self.store.rename(self.image_name, half)
        self.addCleanup(self.rename_back, half)
        with self.store.open(half, read_only=True) as renamed:
            self.assertEqual(image.identity(), renamed.identity())
        # One that is open stays what it is.
        image.write(0, b"still")
        image.flush()
        with self.store.open(half, read_only=True) as renamed:
            self.assertEqual(b"still", renamed.read(0, 5))

    def rename_back(self, half: str) -> None:
        self.store.rename(half, self.image_name)

    def test_rename_overwrites_nothing(self) -> None:
        self.create().write(0, b"kept")
        half = self.store.partial_name(self.image_name)
        with self.store.create(half, SIZE) as image:
            self.assertRaises(exception.ImageExists, self.store.rename, half,
                              self.image_name)
            image.write(0, b"half")
        self.store.remove(half)
        self.assertEqual(b"kept", self.open().read(0, 4))

    def test_rename_missing(self) -> None:
        self.assertRaises(exception.ImageNotFound, self.store.rename,
                          self.image_name,
                          self.store.partial_name(self.image_name))

    def test_what_was_made_is_noted(self) -> None:
        image = self.create()
        self.assertEqual(image.identity(), self.store.made[self.image_name])
        self.assertRaises(exception.ImageExists, self.store.create,
                          self.image_name, SIZE)
        # This time it was not made here.
        self.assertNotIn(self.image_name, self.store.made)

    def test_free_name(self) -> None:
        self.store.require_free(self.image_name)
        self.create()
        error = self.assertRaises(exception.ImageExists,
                                  self.store.require_free, self.image_name)
        self.assert_names_image_once(error)

    def test_maker_is_seen(self) -> None:
        self.assertRaises(exception.ImageNotFound, self.store.makers,
                          self.image_name)
        with self.store.create(self.image_name, SIZE) as image:
            image.claim()
            self.assertEqual(1, len(self.store.makers(self.image_name)))
        self.assertEqual([], self.store.makers(self.image_name))
        self.store.remove(self.image_name)

    def test_two_makers(self) -> None:
        """Who finds another one does not have it."""
        self.create().claim()
        self.assertRaises(exception.ImageLocked, self.open().claim)

    def test_announced_stripe_period_is_that_of_a_new_image(self) -> None:
        announced = self.store.stripe_period()
        self.assertEqual(announced, self.create().stripe_period())
        self.assertThat(announced, matchers.GreaterThan(0))
        self.assertEqual(0, announced % 512)

    def assert_names_image_once(self, error: Exception) -> None:
        self.assertIsInstance(error, exception.ImageError)
        self.assertEqual(1, str(error).count(self.image_name), str(error))

    # reading and writing

    def test_name_is_in_the_image_s_name(self) -> None:
        self.assertIn(self.image_name, self.create().name)

    def test_new_image_reads_as_zeros(self) -> None:
        image = self.create()
        self.assertEqual(bytes(4096), image.read(0, 4096))
        self.assertEqual(bytes(512), image.read(SIZE - 512, 512))

    def test_read_past_the_end_gives_what_there_is(self) -> None:
        image = self.create()
        image.write(SIZE - 3, b"end")
        self.assertEqual(b"end", image.read(SIZE - 3, 4096))
        self.assertEqual(b"", image.read(SIZE, 512))
        self.assertEqual(b"", image.read(SIZE + 512, 512))

    def test_read_of_nothing(self) -> None:
        self.assertEqual(b"", self.create().read(0, 0))

    def test_reads_are_bytes(self) -> None:
        self.assertIs(bytes, type(self.create().read(0, 16)))

    def test_write_is_seen_by_others(self) -> None:
        self.create().write(7, b"seen")
        self.assertEqual(b"\0seen\0", self.open(read_only=True).read(6, 6))

    def test_write_over_objects(self) -> None:
        image = self.create()
        data = bytes(range(256)) * 20
        start = base.DEFAULT_OBJECT_SIZE - 1000
        image.write(start, data)
        self.assertEqual(b"\0" + data + b"\0",
                         image.read(start - 1, len(data) + 2))

    def test_many_writes(self) -> None:
        image, model = self.create(), bytearray(SIZE)
        dice = random.Random(1)
        for _number in range(40):
            length = dice.choice((1, 511, 592, 4096, 70000))
            offset = dice.choice((
                dice.randrange(SIZE - length), 0, SIZE - length,
                base.DEFAULT_OBJECT_SIZE - length // 2))
            data = dice.randbytes(length)
            image.write(offset, data)
            model[offset:offset + length] = data
        for offset in range(0, SIZE, 1 << 20):
            if image.read(offset, 1 << 20) != model[offset:offset + 2 ** 20]:
                self.fail(f"other bytes behind {offset}")

    def test_write_to_the_very_end(self) -> None:
        image = self.create()
        image.write(SIZE - 4, b"last")
        self.assertEqual(b"last", image.read(SIZE - 4, 4))

    def test_write_past_the_end_is_refused(self) -> None:
        image = self.create()
        for offset in (SIZE - 3, SIZE, SIZE + 512):
            error = self.assertRaises(exception.ImageTooSmall, image.write,
                                      offset, b"over")
            self.assertEqual(SIZE, error.size)
            self.assertEqual(offset + 4, error.needed)
        self.assertEqual(SIZE, image.size())
        self.assertEqual(bytes(3), image.read(SIZE - 3, 3))

    def test_nothing_is_written_anywhere(self) -> None:
        image = self.create()
        for offset in (0, SIZE):
            image.write(offset, b"")
        self.assertRaises(exception.ImageTooSmall, image.write, SIZE + 1, b"")
        self.assertFalse(image.has_data())

    def test_read_only_is_refused(self) -> None:
        self.create()
        image = self.open(read_only=True)
        for data in (b"x", b""):
            self.assertRaises(exception.ImageReadOnly, image.write, 0, data)
        self.assertEqual(b"\0", image.read(0, 1))
        image.flush()

    def test_read_only_is_not_resized(self) -> None:
        self.create()
        image = self.open(read_only=True)
        self.assertRaises(exception.ImageReadOnly, image.resize, SIZE + 512)
        self.assertEqual(SIZE, image.size())

    def test_flush(self) -> None:
        image = self.create()
        image.write(0, b"kept")
        image.flush()
        self.assertEqual(b"kept", self.open().read(0, 4))

    # size, facts

    def test_grow(self) -> None:
        image = self.create()
        image.write(SIZE - 1, b"x")
        image.resize(SIZE + 512)
        self.assertEqual(SIZE + 512, image.size())
        self.assertEqual(b"x" + bytes(512), image.read(SIZE - 1, 1024))
        image.write(SIZE + 511, b"y")

    def test_shrink(self) -> None:
        image = self.create()
        image.write(0, b"x" * 1024)
        image.resize(512)
        self.assertEqual(512, image.size())
        self.assertEqual(b"x" * 512, image.read(0, 1024))
        image.resize(1024)
        self.assertEqual(b"x" * 512 + bytes(512), image.read(0, 1024))

    def test_new_image_has_no_data(self) -> None:
        self.assertFalse(self.create().has_data())
        self.assertFalse(self.open(read_only=True).has_data())

    def test_image_has_data_wherever_it_was_written(self) -> None:
        for offset in (0, base.DEFAULT_OBJECT_SIZE, SIZE - 1):
            with self.store.create(self.image_name, SIZE) as image:
                image.write(offset, b"x")
                image.flush()
                self.assertTrue(image.has_data(), offset)
            self.store.remove(self.image_name)

    def test_features_are_names(self) -> None:
        features = self.create().features()
        self.assertIsInstance(features, frozenset)
        self.assertTrue(all(isinstance(name, str) for name in features))

    def test_nobody_else_has_a_new_image(self) -> None:
        self.assertEqual([], self.create().watchers())

    def test_new_image_has_no_snapshots(self) -> None:
        image = self.create()
        self.assertEqual(([], []), (image.snapshots(), image.history()))

    def test_context_manager_gives_the_image(self) -> None:
        image = self.store.create(self.image_name, SIZE)
        with image as entered:
            self.assertIs(image, entered)

    # the lock

    def lock_expires(self, image: Any, lock: base.HeldLock) -> bool:
        """Let the time pass after which a lock that is not renewed ends.

        :param lock: the held lock of *image*

        :returns: False where locks do not end
        """
        raise NotImplementedError

    def test_lock_that_is_not_renewed_ends(self) -> None:
        first, second = self.create(), self.open()
        self.patch_lock_wait(first)
        with first.lock() as lock:
            lock.renew()
            if not self.lock_expires(first, lock):
                self.assertRaises(exception.ImageLocked,
                                  second.lock().__enter__)
                lock.renew()
                return
            # Not even if nobody else took it.
            self.assertRaises(exception.ImageLocked, lock.renew)
            with second.lock() as other:
                self.assertRaises(exception.ImageLocked, lock.renew)
                other.renew()
        with first.lock() as lock:
            lock.renew()

    def test_lock_that_ended_is_not_given_back(self) -> None:
        """Or else it would end that of another holder."""
        first, second = self.create(), self.open()
        self.patch_lock_wait(first)
        held = first.lock()
        lock = held.__enter__()
        if not self.lock_expires(first, lock):
            held.__exit__(None, None, None)
            return
        with second.lock() as other:
            held.__exit__(None, None, None)
            other.renew()
            self.assertRaises(exception.ImageLocked, first.lock().__enter__)

    def test_lock_keeps_another_holder_out(self) -> None:
        first, second = self.create(), self.open()
        self.patch_lock_wait(first)
        with first.lock() as lock:
            lock.renew()
            error = self.assertRaises(exception.ImageLocked,
                                      second.lock().__enter__)
            self.assertTrue(error.holders)
        with second.lock() as lock:
            lock.renew()

    def test_lock_is_waited_for(self) -> None:
        first, second = self.create(), self.open()
        held = first.lock()
        held.__enter__()
        timer = threading.Timer(0.05, held.__exit__, (None, None, None))
        timer.start()
        self.addCleanup(timer.join)
        with second.lock() as lock:
            lock.renew()

    def test_lock_is_released_after_an_error(self) -> None:
        first, second = self.create(), self.open()
        self.patch_lock_wait(first)

        def fail() -> None:
            with first.lock():
                raise exception.HeaderChanged()

        self.assertRaises(exception.HeaderChanged, fail)
        with second.lock():
            pass

    def test_image_is_usable_under_its_lock(self) -> None:
        image = self.create()
        with image.lock():
            image.write(0, b"x")
            image.flush()
            self.assertEqual(b"x", image.read(0, 1))
