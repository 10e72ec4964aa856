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

"""What every store of images that QEMU opens has to do."""

from __future__ import annotations

from typing import Any, Tuple

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests import contracts

OBJECT = 65536
#: No whole number of objects.
SIZE = 5 * OBJECT - 4096


@ddt.ddt
class BlockContract(contracts.Contract):
    """Tests of what an ``image.base.Pool`` does for QEMU's images.

    ``stores`` are two of one cluster, the second in a namespace.
    """

    def make_stores(self) -> Tuple[Any, Any]:
        """Give two stores, whose objects have :data:`OBJECT` bytes."""
        raise NotImplementedError

    def watch(self, name: str) -> str:
        """Let another client have an image open; what watchers() calls it."""
        raise NotImplementedError

    def watch_for_ever(self, name: str) -> str:
        """Let there be one that cannot be made to go; likewise."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.store, self.other = self.make_stores()
        with self.store.create("source", SIZE) as image:
            image.write(OBJECT + 100, b"data")
            image.write(SIZE - 4, b"last")

    def open(self, name: str = "source", **options: Any) -> Any:
        image = self.store.open(name, **options)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    # remove

    def test_remove_what_is_open(self) -> None:
        """By whom it is open for writing; who reads does not count."""
        image = self.open()
        self.assertRaises(exception.ImageLocked, self.store.remove, "source")
        image.__exit__()
        self.open(read_only=True)
        self.store.remove("source")
        self.assertEqual([], self.store.images())

    # rename

    def test_rename(self) -> None:
        number = self.open().identity()
        self.store.rename("source", "new")
        self.assertEqual(["new"], self.store.images())
        image = self.open("new")
        self.assertEqual(b"data", image.read(OBJECT + 100, 4))
        self.assertEqual(number, image.identity())
        self.assertIn("new", image.name)

    def test_rename_of_an_open_image(self) -> None:
        image = self.open()
        self.store.rename("source", "new")
        image.write(0, b"more")
        self.assertEqual(b"more", self.open("new").read(0, 4))

    def test_rename_to_a_name_that_is_taken(self) -> None:
        with self.store.create("new", OBJECT):
            pass
        error = self.assertRaises(exception.ImageExists, self.store.rename,
                                  "source", "new")
        self.assertIn("new exists already", str(error))
        self.assertEqual(["new", "source"], self.store.images())
        self.assertEqual(OBJECT, self.open("new").size())

    def test_rename_of_nothing(self) -> None:
        self.assertRaises(exception.ImageNotFound, self.store.rename,
                          "nowhere", "new")
        self.assertEqual(["source"], self.store.images())

    # who has it open

    def test_own_watch(self) -> None:
        image, reader = self.open(), self.open(read_only=True)
        watch = image.own_watch()
        for other in image, reader:
            self.assertTrue(other.has_watch(watch))
            self.assertFalse(other.has_watch(watch + "1"))
        image.__exit__()
        self.assertFalse(reader.has_watch(watch))
        self.assertRaises(exception.ImageIOError, reader.own_watch)

    def test_others(self) -> None:
        image = self.open()
        self.open()
        self.assertEqual([], image.others())
        name = self.watch("source")
        found, = image.others()
        self.assertIn(name, found)
        self.assertTrue(image.has_watch(found))

    def test_does_not_interleave(self) -> None:
        self.assertFalse(self.open().interleaves())

    # evict

    def test_evict(self) -> None:
        self.watch("source")
        self.assertEqual(1, len(self.open(read_only=True).watchers()))
        self.assertRaises(exception.ImageLocked, self.store.remove, "source")
        self.store.evict("source")
        self.assertEqual([], self.open(read_only=True).watchers())
        self.store.evict("source")

    def test_evict_who_stays(self) -> None:
        watcher = self.watch_for_ever("source")
        error = self.assertRaises(exception.ImageLocked, self.store.evict,
                                  "source")
        self.assertIn(watcher, str(error))

    def test_evict_from_nothing(self) -> None:
        self.assertRaises(exception.ImageNotFound, self.store.evict,
                          "nowhere")

    def test_wait_alone(self) -> None:
        self.store.wait_alone("source")
        watcher = self.watch_for_ever("source")
        error = self.assertRaises(exception.ImageLocked,
                                  self.store.wait_alone, "source")
        self.assertIn(watcher, str(error))

    def test_wait_alone_for_nothing(self) -> None:
        self.assertRaises(exception.ImageNotFound, self.store.wait_alone,
                          "nowhere")

    # extents, has_data

    def test_extents(self) -> None:
        self.assertEqual([(OBJECT, OBJECT), (4 * OBJECT, OBJECT - 4096)],
                         list(self.open().extents()))

    def test_extents_of_nothing(self) -> None:
        with self.store.create("empty", SIZE) as image:
            self.assertEqual([], list(image.extents()))

    def test_extents_of_a_clone(self) -> None:
        """Also what it has of its parent, as far as it goes."""
        self.open().create_snapshot("s")
        with self.store.clone(self.store.parent("source", "s"),
                              "clone") as image:
            image.write(0, b"own")
            self.assertEqual([0, OBJECT, 4 * OBJECT], [
                offset for offset, _length in image.extents()])
            image.resize(2 * OBJECT)
            image.resize(SIZE)
            self.assertEqual([0, OBJECT], [
                offset for offset, _length in image.extents()])

    def test_extents_of_a_snapshot(self) -> None:
        self.open().create_snapshot("s")
        with self.open() as image:
            image.write(0, b"later")
        self.assertEqual([OBJECT, 4 * OBJECT], [
            offset for offset, _length in self.open(snapshot="s").extents()])

    @ddt.data((0, True), (OBJECT, True), (OBJECT + 100, True),
              (OBJECT + 103, True), (2 * OBJECT, True),
              (4 * OBJECT, True), (SIZE - 4, True), (SIZE, False),
              (SIZE + OBJECT, False))
    @ddt.unpack
    def test_has_data_behind(self, offset: int, expected: bool) -> None:
        self.assertIs(expected, self.open().has_data(offset))

    def test_has_data_in_the_rest_of_an_object(self) -> None:
        """What comes before, in the same object, does not count."""
        with self.store.create("new", 3 * OBJECT) as image:
            image.write(OBJECT, b"header")
            self.assertTrue(image.has_data(OBJECT))
            self.assertFalse(image.has_data(OBJECT + 512))
            image.write(2 * OBJECT - 1, b"x")
            self.assertTrue(image.has_data(OBJECT + 512))
            self.assertFalse(image.has_data(2 * OBJECT))

    # for QEMU

    def test_block_options(self) -> None:
        pool, space = self.other.name.split("/")
        for store, namespace in ((self.store, None), (self.other, space)):
            for snapshot in (None, "s"):
                options = store.block_options("i", snapshot)
                self.assertEqual(
                    ("rbd", pool, namespace, "i", snapshot), tuple(
                        options.get(name) for name in (
                            "driver", "pool", "namespace", "image",
                            "snapshot")))
                self.assertNotIn(None, options.values())

    def test_environment(self) -> None:
        self.assertEqual(["CEPH_ARGS"], list(self.store.environment()))
