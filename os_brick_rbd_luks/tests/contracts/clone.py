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

"""What every store of clones has to do: pools in memory and librbd's."""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.tests import contracts

OBJECT = 65536
#: No whole number of objects.
SIZE = 5 * OBJECT - 4096


@ddt.ddt
class CloneContract(contracts.Contract):
    """Tests of the clones of an ``image.base.Pool``, and of its images.

    ``stores`` are two of one cluster, the second in a namespace.
    """

    def make_stores(self) -> Tuple[Any, Any]:
        """Give two stores, whose objects have :data:`OBJECT` bytes."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.store, self.other = self.make_stores()
        with self.store.create("source", SIZE) as image:
            image.write(OBJECT - 2, b"over")
            image.write(SIZE - 4, b"last")
            image.create_snapshot("s")
        self.parent = self.store.parent("source", "s")
        self.whole = bytearray(SIZE)
        self.whole[OBJECT - 2:OBJECT + 2] = b"over"
        self.whole[SIZE - 4:] = b"last"

    def clone(self, name: str = "clone",
              parent: Optional[base.Parent] = None, store: Any = None) -> Any:
        image = (store or self.store).clone(parent or self.parent, name)
        self.addCleanup(image.__exit__)
        return image

    def open(self, name: str = "source", **options: Any) -> Any:
        image = self.store.open(name, **options)
        self.addCleanup(image.__exit__)
        return image

    # what librbd can do

    def test_librbd(self) -> None:
        """A store and its images, wherever they are, have one."""
        found = self.store.librbd
        self.assertIsInstance(found, capabilities.Librbd)
        for image in (self.open(), self.open(snapshot="s"), self.clone(),
                      self.store.open_snapshot(self.parent),
                      self.store.open_source(self.parent)):
            self.addCleanup(image.__exit__)
            self.assertEqual(found, image.librbd)

    # snapshots

    def test_snapshot_keeps_its_content(self) -> None:
        with self.open() as image:
            image.write(OBJECT, b"later")
            image.resize(OBJECT)
        for snapshot in (self.open(snapshot="s"),
                         self.store.open_snapshot(self.parent)):
            with snapshot:
                self.assertEqual(SIZE, snapshot.size())
                self.assertEqual(bytes(self.whole), snapshot.read(0, SIZE))
                self.assertIn("source@s", snapshot.name)

    def test_snapshot_is_for_reading(self) -> None:
        for image in (self.open(snapshot="s"),
                      self.store.open_snapshot(self.parent)):
            self.addCleanup(image.__exit__)
            self.assert_read_only(image)

    def test_read_only_image(self) -> None:
        self.assert_read_only(self.open(read_only=True))

    def assert_read_only(self, image: Any) -> None:
        for call in (lambda: image.write(0, b"x"),
                     lambda: image.resize(OBJECT),
                     lambda: image.zero(0, OBJECT),
                     lambda: image.punch(0, 512),
                     lambda: image.create_snapshot("t"),
                     lambda: image.protect_snapshot("s"),
                     lambda: image.remove_snapshot("s"), image.flatten,
                     lambda: image.set_note("key", "value")):
            self.assertRaises(exception.ImageReadOnly, call)
        image.flush()
        self.assertEqual(["s"], self.open().snapshots())

    def test_snapshots_are_listed(self) -> None:
        image = self.open()
        image.create_snapshot("t")
        self.assertEqual(["s", "t"], image.snapshots())
        image.remove_snapshot("s")
        self.assertEqual(["t"], image.snapshots())
        image.create_snapshot("s")
        self.assertEqual(["t", "s"], image.snapshots())

    def test_history_has_what_is_kept_for_clones(self) -> None:
        with self.open() as image:
            image.create_snapshot("t")
            self.assertEqual(["s", "t"], image.history())
        self.store.clone(self.parent, "clone").__exit__()
        with self.open() as image:
            image.remove_snapshot("s")
            self.assertEqual(["s (removed, and kept for its clones)", "t"],
                             image.history())
        with self.store.open("clone") as clone:
            self.assertFalse(clone.is_deep_clone())
        self.store.remove("clone")
        with self.open() as image:
            self.assertEqual(["t"], image.history())

    # what there is without a name

    def entry(self, name: str) -> Any:
        """The image of that name, by its id."""
        found, = [entry for entry in self.store.entries()
                  if entry.image == name]
        return found

    def open_entry(self, entry: Any) -> Any:
        image = self.store.open_entry(entry)
        self.addCleanup(image.__exit__)
        return image

    def test_entries(self) -> None:
        self.assertEqual(["source"],
                         [found.image for found in self.store.entries()])
        self.assertEqual([], self.other.entries())
        entry = self.entry("source")
        self.assertEqual(self.open().identity(), entry.id)
        self.assertEqual(self.parent[:2], entry[:2])
        self.assertFalse(entry.in_trash)
        self.assertEqual(f"{self.store.name}/source", entry.named())
        image = self.open_entry(entry)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(entry.named(), image.name)
        self.assert_read_only(image)

    def test_entry_of_a_renamed_image(self) -> None:
        entry = self.entry("source")
        self.store.rename("source", "renamed")
        self.addCleanup(self.store.rename, "renamed", "source")
        with self.store.open_entry(entry) as image:
            self.assertEqual(b"over", image.read(OBJECT - 2, 4))

    def test_entry_that_is_gone(self) -> None:
        with self.store.create("gone", OBJECT):
            pass
        entry = self.entry("gone")
        self.store.remove("gone")
        error = self.assertRaises(exception.ImageNotFound,
                                  self.store.open_entry, entry)
        self.assertIn(entry.named(), str(error))

    def test_pools_of_the_cluster(self) -> None:
        name, namespace = self.parent[:2]
        self.assertIn(name, self.store.cluster_pools())
        with self.store.elsewhere(name, namespace) as same:
            self.assertEqual(self.store.entries(), same.entries())
        self.assertRaises(exception.ImageNotFound,
                          self.store.elsewhere("nowhere").__enter__)
        with self.store.elsewhere(name, "nowhere") as missing:
            self.assertRaises(exception.ImageNotFound, missing.entries)

    def test_trash_is_empty(self) -> None:
        self.assertEqual(([], True), tuple(self.store.trashed()))

    def test_all_snapshots(self) -> None:
        with self.open() as image:
            image.write(OBJECT, b"later")
            image.create_snapshot("t")
        image = self.open_entry(self.entry("source"))
        first, second = image.all_snapshots()
        self.assertEqual(["s", "t"], [first.name, second.name])
        self.assertLess(first.id, second.id)
        with image.at(first.id):
            self.assertEqual(bytes(self.whole), image.read(0, SIZE))
            self.assertEqual([], image.all_clones())
        with image.at(second.id):
            self.assertEqual(b"later", image.read(OBJECT, 5))
        self.assertEqual(b"later", image.read(OBJECT, 5))

    def test_snapshot_of_no_such_id(self) -> None:
        image = self.open_entry(self.entry("source"))
        self.assertRaises(exception.ImageNotFound, image.at(999999).__enter__)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))

    def test_all_clones(self) -> None:
        """Also of a snapshot that is removed, and of other namespaces."""
        self.clone("first").__exit__()
        self.clone("second", store=self.other).__exit__()
        # Behind the cleanups that close images: the snapshot goes with them.
        self.addCleanup(self.store.remove, "first")
        self.addCleanup(self.other.remove, "second")
        self.open().remove_snapshot("s")
        image = self.open_entry(self.entry("source"))
        snapshot, = image.all_snapshots()
        self.assertEqual("s (removed, and kept for its clones)",
                         snapshot.name)
        with image.at(snapshot.id):
            self.assertEqual(bytes(self.whole), image.read(0, SIZE))
            self.assertEqual(
                {self.entry("first"), *self.other.entries()},
                set(image.all_clones()))
        clone = self.open_entry(self.entry("first"))
        with clone.open_parent() as below:
            self.assertEqual(f"{self.entry('source').id}@{snapshot.id}",
                             below.identity())

    def test_clone_at_its_snapshot(self) -> None:
        with self.clone("clone") as image:
            image.create_snapshot("t")
        clone = self.open_entry(self.entry("clone"))
        snapshot, = clone.all_snapshots()
        with clone.at(snapshot.id):
            self.assertEqual(self.parent, clone.parent())
            self.assertEqual(bytes(self.whole), clone.read(0, SIZE))
        self.assertEqual(self.parent, clone.parent())

    def test_nothing_is_hidden(self) -> None:
        self.assertEqual([], self.open_entry(self.entry("source")).hidden())

    def test_snapshot_that_is_there(self) -> None:
        """That is what exists: the image is not to be removed for it."""
        error = self.assertRaises(exception.ImageExists,
                                  self.open().create_snapshot, "s")
        self.assertIsInstance(error, exception.ImageError)
        self.assertIn("snapshot", str(error))
        self.assertIn("s exists already", str(error))

    def test_snapshot_that_is_not_there(self) -> None:
        image = self.open()
        for call in (lambda: image.remove_snapshot("nowhere"),
                     lambda: image.protect_snapshot("nowhere"),
                     lambda: image.children("nowhere"),
                     lambda: self.open(snapshot="nowhere"),
                     lambda: self.store.clone(
                         self.store.parent("source", "nowhere"), "clone"),
                     lambda: self.store.open_snapshot(
                         self.store.parent("source", "nowhere")),
                     lambda: self.store.open_snapshot(
                         self.store.parent("nowhere", "s")),
                     lambda: self.store.open_snapshot(
                         self.parent._replace(pool="nowhere")),
                     lambda: self.store.open_source(
                         self.store.parent("nowhere", "s")),
                     lambda: self.store.open_source(
                         self.parent._replace(pool="nowhere"))):
            self.assertRaises(exception.ImageNotFound, call)
        self.assertEqual(["source"], self.store.images())

    def test_protected_snapshot_can_be_removed(self) -> None:
        image = self.open()
        image.protect_snapshot("s")
        image.remove_snapshot("s")
        self.assertEqual([], image.snapshots())

    def test_source_wherever_it_is(self) -> None:
        """The image of a snapshot, which need not be there, for writing."""
        for store in (self.store, self.other):
            with store.open_source(self.parent._replace(snapshot="t")
                                   ) as image:
                image.create_snapshot(f"number {len(image.snapshots())}")
                image.write(0, b"x")
        self.assertEqual(["s", "number 1", "number 2"],
                         self.open().snapshots())

    def test_image_with_snapshots_stays(self) -> None:
        self.assertRaises(exception.ImageLocked, self.store.remove, "source")
        self.assertEqual(["source"], self.store.images())

    # clones

    def test_clone_has_what_its_parent_has(self) -> None:
        image = self.clone()
        self.assertEqual(SIZE, image.size())
        self.assertEqual(OBJECT, image.stripe_period())
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"last", image.read(SIZE - 4, 100))
        self.assertTrue(image.has_data())
        self.assertEqual([], image.snapshots())
        self.assertEqual(self.parent, image.parent())
        self.assertIn("clone", image.name)

    def test_clone_is_open_for_writing(self) -> None:
        image = self.clone()
        image.write(OBJECT + 1, b"OWN")
        self.whole[OBJECT + 1:OBJECT + 4] = b"OWN"
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"er\0\0", self.open(snapshot="s").read(OBJECT, 4))
        self.assertEqual(b"er\0\0", self.open().read(OBJECT, 4))

    def test_writes_to_the_source_do_not_show(self) -> None:
        image = self.clone()
        with self.open() as source:
            source.write(0, b"later")
        self.assertEqual(bytes(5), image.read(0, 5))

    def test_clone_into_another_store(self) -> None:
        image = self.clone(store=self.other)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(self.parent, image.parent())
        self.assertEqual((["source"], ["clone"]),
                         (self.store.images(), self.other.images()))
        self.assertEqual(1, self.open().children("s"))

    def test_clone_out_of_a_namespace(self) -> None:
        with self.other.create("inner", OBJECT) as image:
            image.write(0, b"inner")
            image.create_snapshot("s")
        parent = self.other.parent("inner", "s")
        image = self.clone(parent=parent)
        self.assertEqual(b"inner", image.read(0, 5))
        self.assertEqual(parent, image.parent())
        self.assertTrue(parent.namespace)

    def test_clone_of_a_clone(self) -> None:
        image = self.clone()
        image.write(0, b"middle")
        image.create_snapshot("s")
        top = self.clone("top", self.store.parent("clone", "s"))
        self.whole[:6] = b"middle"
        self.assertEqual(bytes(self.whole), top.read(0, SIZE))
        self.assertEqual(self.store.parent("clone", "s"), top.parent())

    def test_existing_image(self) -> None:
        error = self.assertRaises(exception.ImageExists, self.store.clone,
                                  self.parent, "source")
        self.assertIn("source", str(error))
        self.assertEqual(0, self.open().children("s"))

    def test_no_parent(self) -> None:
        self.assertIsNone(self.open().parent())
        self.assertIsNone(self.open(snapshot="s").parent())

    def test_open_parent(self) -> None:
        with self.open() as image:
            image.write(0, b"later")
        for store in (self.store, self.other):
            below = self.clone(store=store).open_parent()
            self.addCleanup(below.__exit__)
            self.assertEqual(bytes(self.whole), below.read(0, SIZE))
            self.assertIn("source@s", below.name)
            self.assertEqual(self.store.librbd, below.librbd)
            self.assertRaises(exception.ImageReadOnly, below.write, 0, b"x")

    def test_nothing_below(self) -> None:
        for image in (self.open(), self.open(snapshot="s")):
            self.assertIsNone(image.open_parent())

    def test_all_the_way_down(self) -> None:
        """Also through another pool, and from a snapshot."""
        middle = self.clone("middle", store=self.other)
        middle.write(0, b"middle")
        middle.create_snapshot("t")
        top = self.clone("top", self.other.parent("middle", "t"))
        top.create_snapshot("u")
        for image in (top, self.open("top", snapshot="u")):
            found = []
            while image is not None:
                image = image.open_parent()
                if image is not None:
                    self.addCleanup(image.__exit__)
                    found.append(image.read(0, 6))
            self.assertEqual([b"middle", bytes(6)], found)

    def test_parent_whose_snapshot_was_removed(self) -> None:
        """Its clones keep it, under a name that Ceph gives it."""
        clone = self.clone()
        with self.open() as image:
            image.write(0, b"later")
            image.remove_snapshot("s")
        with clone.open_parent() as below:
            self.assertEqual(bytes(self.whole), below.read(0, SIZE))

    def test_parent_of_a_snapshot(self) -> None:
        self.clone().create_snapshot("s")
        self.assertEqual(self.parent,
                         self.open("clone", snapshot="s").parent())

    def test_children(self) -> None:
        image = self.open()
        self.assertEqual(0, image.children("s"))
        for number in range(3):
            self.clone(f"clone-{number}").__exit__()
            self.assertEqual(number + 1, image.children("s"))
        image.create_snapshot("t")
        self.assertEqual(0, image.children("t"))
        self.store.remove("clone-1")
        self.assertEqual(2, image.children("s"))
        # It is still the image that is open.
        image.write(0, b"x")

    def test_snapshot_with_clones_goes_out_of_sight(self) -> None:
        """It has another name then, and goes with the last of them."""
        clone = self.clone()
        image = self.open()
        image.remove_snapshot("s")
        hidden, = image.snapshots()
        self.assertNotEqual("s", hidden)
        self.assertRaises(exception.ImageNotFound, self.open, snapshot="s")
        clone.__exit__()
        clone = self.open("clone")
        self.assertEqual(bytes(self.whole), clone.read(0, SIZE))
        self.assertEqual(self.parent._replace(snapshot=hidden),
                         clone.parent())
        self.assertRaises(exception.ImageNotFound, self.store.open_snapshot,
                          self.parent._replace(snapshot=hidden))
        # The name is free.
        image.create_snapshot("s")
        self.assertEqual(0, image.children("s"))
        image.remove_snapshot("s")
        clone.__exit__()
        self.store.remove("clone")
        self.assertEqual([], image.snapshots())

    @ddt.data(SIZE + 3 * OBJECT, 2 * OBJECT, OBJECT - 1, 0)
    def test_resized_clone(self, size: int) -> None:
        image = self.clone()
        image.resize(size)
        kept = bytes(self.whole[:size])
        self.assertEqual(kept.ljust(size, b"\0"), image.read(0, size))
        # What was cut off does not come back.
        image.resize(2 * SIZE)
        self.assertEqual(kept.ljust(2 * SIZE, b"\0"),
                         image.read(0, 2 * SIZE))

    # zero, flatten

    def test_zero_of_much(self) -> None:
        """librbd has no number for more than 2 GiB less a byte at once."""
        image = self.open()
        image.resize(1 << 33)
        image.write(SIZE, b"x")
        image.write((1 << 32) + OBJECT, bytes([7]) * OBJECT)
        image.zero(0, 1 << 33)
        self.assertEqual(bytes(SIZE + 1), image.read(0, SIZE + 1))
        self.assertEqual(bytes(OBJECT),
                         image.read((1 << 32) + OBJECT, OBJECT))

    def test_zero_ends_with_the_image(self) -> None:
        """Beyond is nothing to be zeroed; where it begins is too far."""
        image = self.open()
        image.write(4 * OBJECT, b"own")
        image.zero(3 * OBJECT, 2 * OBJECT)
        # The last object is not whole: it stays.
        self.assertEqual(b"own", image.read(4 * OBJECT, 3))
        for offset in (SIZE, SIZE + OBJECT):
            self.assertRaises(exception.ImageIOError, image.zero, offset,
                              OBJECT)

    def test_zero_of_what_librbd_leaves(self) -> None:
        """Less than an object, or 64 KiB, unless it ends the object."""
        image = self.open()
        image.write(OBJECT, b"d" * OBJECT)
        image.zero(OBJECT, OBJECT - 4096)
        self.assertEqual(b"d" * OBJECT, image.read(OBJECT, OBJECT))
        image.zero(2 * OBJECT - 4096, 4096)
        self.assertEqual(b"d" * (OBJECT - 4096) + bytes(4096),
                         image.read(OBJECT, OBJECT))

    def test_hole_is_what_was_asked_for(self) -> None:
        """To the byte, of an object that is there or of a parent's."""
        for image in (self.open(), self.clone()):
            expected = bytearray(self.whole)
            for offset, length in ((OBJECT - 2, 3), (0, 1),
                                   (2 * OBJECT, OBJECT), (SIZE - 2, 2)):
                image.punch(offset, length)
                expected[offset:offset + length] = bytes(length)
                self.assertEqual(bytes(expected), image.read(0, SIZE))
            self.assertRaises(exception.ImageIOError, image.punch, SIZE, 1)

    # copy

    def test_copy(self) -> None:
        source = self.clone()
        source.set_note("key", "value")
        source.write(3, b"own")
        self.whole[3:6] = b"own"
        reading = self.open("clone", read_only=True)
        self.assertRaises(ValueError, self.store.copy, source, "copy")
        self.assertNotIn("copy", self.store.images())
        with self.store.copy(reading, "copy") as image:
            self.assertEqual(bytes(self.whole), image.read(0, SIZE))
            self.assertEqual("value", image.note("key"))
            self.assertEqual(source.stripe_period(), image.stripe_period())
            self.assertEqual([], image.snapshots())
            self.assertIsNone(image.parent())
            self.assertNotEqual(source.identity(), image.identity())
            self.assertEqual(image.identity(), self.store.made["copy"])
            image.write(0, b"x")
        self.assertEqual(bytes(self.whole), source.read(0, SIZE))
        self.assertRaises(exception.ImageExists, self.store.copy, reading,
                          "copy")

    def test_only_a_clone_is_flattened(self) -> None:
        self.assertRaises(exception.ImageIOError, self.open().flatten)

    def test_zero_hides_the_parent(self) -> None:
        image = self.clone()
        image.zero(0, 2 * OBJECT)
        self.whole[:2 * OBJECT] = bytes(2 * OBJECT)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        image.write(OBJECT + 5, b"own")
        self.whole[OBJECT + 5:OBJECT + 8] = b"own"
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"over", self.open().read(OBJECT - 2, 4))

    def test_zero_of_own_data(self) -> None:
        for image in (self.open(), self.clone()):
            image.write(2 * OBJECT, b"own")
            image.zero(2 * OBJECT, OBJECT)
            self.assertEqual(bytes(self.whole), image.read(0, SIZE))

    def test_flatten(self) -> None:
        image = self.clone()
        image.write(3, b"own")
        image.zero(OBJECT, OBJECT)
        self.whole[OBJECT:OBJECT + 2] = bytes(2)
        self.whole[3:6] = b"own"
        image.flatten()
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertIsNone(image.parent())
        source = self.open()
        self.assertEqual(0, source.children("s"))
        source.remove_snapshot("s")
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))

    # notes

    def test_notes_beside_an_empty_one(self) -> None:
        """Some may be missing, but none has the value of another."""
        image = self.open()
        expected = {"a": "", "b": "of b", "c": "of c"}
        for key, value in expected.items():
            image.set_note(key, value)
        found = image.notes()
        self.assertEqual({key: expected[key] for key in found}, found)
        self.assertIn("b", found)

    def test_all_notes(self) -> None:
        image = self.open()
        expected = {f"key {number}": f"value {number}" for number in range(3)}
        for key, value in expected.items():
            image.set_note(key, value)
        self.assertEqual(expected, image.notes())
        self.assertEqual(expected, self.open(read_only=True).notes())
        image.set_note("key 1", None)
        self.assertEqual({"key 0", "key 2"}, set(image.notes()))

    @ddt.data("value", "", "[\"\u00fc\"]")
    def test_notes(self, value: str) -> None:
        image = self.open()
        self.assertIsNone(image.note("key"))
        image.set_note("key", value)
        self.assertEqual(value, image.note("key"))
        self.assertEqual(value, self.open(read_only=True).note("key"))
        self.assertIsNone(image.note("other"))
        image.set_note("key", "another")
        self.assertEqual("another", image.note("key"))
        image.set_note("key", None)
        self.assertIsNone(image.note("key"))

    def test_no_note_to_remove(self) -> None:
        self.open().set_note("key", None)
        self.assertIsNone(self.open().note("key"))

    def test_notes_are_the_image_s(self) -> None:
        """Its snapshots have none of their own."""
        self.open().set_note("key", "later")
        self.assertEqual("later", self.open(snapshot="s").note("key"))

    def test_clone_begins_with_those_of_its_source(self) -> None:
        self.open().set_note("key", "source's")
        image = self.clone()
        self.assertEqual("source's", image.note("key"))
        image.set_note("key", "clone's")
        self.assertEqual("source's", self.open().note("key"))

    # ids

    def test_identity(self) -> None:
        """Of every image and snapshot another, and always the same."""
        first = self.open().identity()
        self.assertTrue(first)
        self.assertNotIn("@", first)
        clone = self.clone()
        clone.create_snapshot("s")
        with self.other.create("source", OBJECT) as inner:
            inner.create_snapshot("s")
        self.open().create_snapshot("t")
        opened = [(self.store, "source", None), (self.store, "source", "s"),
                  (self.store, "source", "t"), (self.store, "clone", None),
                  (self.store, "clone", "s"), (self.other, "source", None),
                  (self.other, "source", "s")]

        def identities() -> List[str]:
            found = []
            for store, name, snapshot in opened:
                with store.open(name, snapshot=snapshot) as image:
                    found.append(image.identity())
            return found

        found = identities()
        self.assertEqual(first, found[0])
        self.assertEqual(found, identities())
        self.assertEqual(len(opened), len({*found}))

    def test_identity_of_a_snapshot(self) -> None:
        """That of its image, and its own."""
        number = self.open().identity()
        for image in (self.open(snapshot="s"),
                      self.store.open_snapshot(self.parent)):
            with image:
                owner, at, own = image.identity().partition("@")
                self.assertEqual((number, "@"), (owner, at))
                self.assertTrue(own)

    def test_identity_with_an_at_in_the_name(self) -> None:
        with self.store.create("gold@en", OBJECT) as image:
            image.create_snapshot("s")
            number = image.identity()
        with self.store.open("gold@en", snapshot="s") as image:
            self.assertTrue(image.identity().startswith(f"{number}@"))

    def test_name_that_is_used_again(self) -> None:
        """A new image, or snapshot, is not the one that had its name."""
        image = self.open()
        with self.open(snapshot="s") as snapshot:
            first = snapshot.identity()
        image.remove_snapshot("s")
        image.create_snapshot("s")
        with self.open(snapshot="s") as snapshot:
            self.assertNotEqual(first, snapshot.identity())
        image.remove_snapshot("s")
        before = image.identity()
        image.__exit__()
        self.store.remove("source")
        with self.store.create("source", SIZE) as image:
            self.assertNotEqual(before, image.identity())

    # names

    def test_parent_s_name(self) -> None:
        pool, space = self.other.name.split("/")
        self.assertEqual(
            (base.Parent(pool, "", "i", "s"),
             base.Parent(pool, space, "i", "s")),
            (self.store.parent("i", "s"), self.other.parent("i", "s")))
        self.assertEqual(f"{pool}/i@s", str(self.store.parent("i", "s")))
        self.assertEqual(f"{pool}/{space}/i@s",
                         str(self.other.parent("i", "s")))
