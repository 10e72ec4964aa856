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

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base

OBJECT = 65536
#: No whole number of objects.
SIZE = 5 * OBJECT - 4096


@ddt.ddt
class CloneContract:
    """Tests of an ``image.base.CloneStore`` and its images.

    ``stores`` are two of one cluster, the second in a namespace.
    """

    def make_stores(self):
        """Give two stores, whose objects have :data:`OBJECT` bytes."""
        raise NotImplementedError

    def setUp(self):
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

    def clone(self, name="clone", parent=None, store=None):
        image = (store or self.store).clone(parent or self.parent, name)
        self.addCleanup(image.__exit__)
        return image

    def open(self, name="source", **options):
        image = self.store.open_layered(name, **options)
        self.addCleanup(image.__exit__)
        return image

    # snapshots

    def test_snapshot_keeps_its_content(self):
        with self.open() as image:
            image.write(OBJECT, b"later")
            image.resize(OBJECT)
        for snapshot in (self.open(snapshot="s"),
                         self.store.open_snapshot(self.parent)):
            with snapshot:
                self.assertEqual(SIZE, snapshot.size())
                self.assertEqual(bytes(self.whole), snapshot.read(0, SIZE))
                self.assertIn("source@s", snapshot.name)

    def test_snapshot_is_for_reading(self):
        for image in (self.open(snapshot="s"),
                      self.store.open_snapshot(self.parent)):
            self.addCleanup(image.__exit__)
            for call in (lambda image=image: image.write(0, b"x"),
                         lambda image=image: image.resize(OBJECT),
                         lambda image=image: image.set_note("key", "value")):
                self.assertRaises(exception.ImageReadOnly, call)

    def test_snapshots_are_listed(self):
        image = self.open()
        image.create_snapshot("t")
        self.assertEqual(["s", "t"], image.snapshots())
        image.remove_snapshot("s")
        self.assertEqual(["t"], image.snapshots())
        image.create_snapshot("s")
        self.assertEqual(["t", "s"], image.snapshots())

    def test_snapshot_that_is_there(self):
        """That is what exists: the image is not to be removed for it."""
        error = self.assertRaises(exception.ImageExists,
                                  self.open().create_snapshot, "s")
        self.assertIsInstance(error, exception.ImageError)
        self.assertIn("snapshot", str(error))
        self.assertIn("s exists already", str(error))

    def test_snapshot_that_is_not_there(self):
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

    def test_protected_snapshot_can_be_removed(self):
        image = self.open()
        image.protect_snapshot("s")
        image.remove_snapshot("s")
        self.assertEqual([], image.snapshots())

    def test_source_wherever_it_is(self):
        """The image of a snapshot, which need not be there, for writing."""
        for store in (self.store, self.other):
            with store.open_source(self.parent._replace(snapshot="t")
                                   ) as image:
                image.create_snapshot(f"by {store.name}")
                image.write(0, b"x")
        self.assertEqual(
            ["s", *(f"by {store.name}"
                    for store in (self.store, self.other))],
            self.open().snapshots())

    def test_image_with_snapshots_stays(self):
        self.assertRaises(exception.ImageLocked, self.store.remove, "source")
        self.assertEqual(["source"], self.store.images())

    # clones

    def test_clone_has_what_its_parent_has(self):
        image = self.clone()
        self.assertEqual(SIZE, image.size())
        self.assertEqual(OBJECT, image.stripe_period())
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"last", image.read(SIZE - 4, 100))
        self.assertTrue(image.has_data())
        self.assertEqual([], image.snapshots())
        self.assertEqual(self.parent, image.parent())
        self.assertIn("clone", image.name)

    def test_clone_is_open_for_writing(self):
        image = self.clone()
        image.write(OBJECT + 1, b"OWN")
        self.whole[OBJECT + 1:OBJECT + 4] = b"OWN"
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"er\0\0", self.open(snapshot="s").read(OBJECT, 4))
        self.assertEqual(b"er\0\0", self.open().read(OBJECT, 4))

    def test_writes_to_the_source_do_not_show(self):
        image = self.clone()
        with self.open() as source:
            source.write(0, b"later")
        self.assertEqual(bytes(5), image.read(0, 5))

    def test_clone_into_another_store(self):
        image = self.clone(store=self.other)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(self.parent, image.parent())
        self.assertEqual((["source"], ["clone"]),
                         (self.store.images(), self.other.images()))
        self.assertEqual(1, self.open().children("s"))

    def test_clone_out_of_a_namespace(self):
        with self.other.create("inner", OBJECT) as image:
            image.write(0, b"inner")
            image.create_snapshot("s")
        parent = self.other.parent("inner", "s")
        image = self.clone(parent=parent)
        self.assertEqual(b"inner", image.read(0, 5))
        self.assertEqual(parent, image.parent())
        self.assertTrue(parent.namespace)

    def test_clone_of_a_clone(self):
        image = self.clone()
        image.write(0, b"middle")
        image.create_snapshot("s")
        top = self.clone("top", self.store.parent("clone", "s"))
        self.whole[:6] = b"middle"
        self.assertEqual(bytes(self.whole), top.read(0, SIZE))
        self.assertEqual(self.store.parent("clone", "s"), top.parent())

    def test_existing_image(self):
        error = self.assertRaises(exception.ImageExists, self.store.clone,
                                  self.parent, "source")
        self.assertIn("source", str(error))
        self.assertEqual(0, self.open().children("s"))

    def test_no_parent(self):
        self.assertIsNone(self.open().parent())
        self.assertIsNone(self.open(snapshot="s").parent())

    def test_parent_of_a_snapshot(self):
        self.clone().create_snapshot("s")
        self.assertEqual(self.parent,
                         self.open("clone", snapshot="s").parent())

    def test_children(self):
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

    def test_snapshot_with_clones_stays(self):
        self.clone()
        image = self.open()
        self.assertRaises(exception.ImageLocked, image.remove_snapshot, "s")
        self.assertEqual(["s"], image.snapshots())
        self.assertEqual(bytes(self.whole),
                         self.open("clone").read(0, SIZE))

    @ddt.data(SIZE + 3 * OBJECT, 2 * OBJECT, OBJECT - 1, 0)
    def test_resized_clone(self, size):
        image = self.clone()
        image.resize(size)
        kept = bytes(self.whole[:size])
        self.assertEqual(kept.ljust(size, b"\0"), image.read(0, size))
        # What was cut off does not come back.
        image.resize(2 * SIZE)
        self.assertEqual(kept.ljust(2 * SIZE, b"\0"),
                         image.read(0, 2 * SIZE))

    # zero, flatten

    def test_zero_hides_the_parent(self):
        image = self.clone()
        image.zero(0, 2 * OBJECT)
        self.whole[:2 * OBJECT] = bytes(2 * OBJECT)
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        image.write(OBJECT + 5, b"own")
        self.whole[OBJECT + 5:OBJECT + 8] = b"own"
        self.assertEqual(bytes(self.whole), image.read(0, SIZE))
        self.assertEqual(b"over", self.open().read(OBJECT - 2, 4))

    def test_zero_of_own_data(self):
        for image in (self.open(), self.clone()):
            image.write(2 * OBJECT, b"own")
            image.zero(2 * OBJECT, OBJECT)
            self.assertEqual(bytes(self.whole), image.read(0, SIZE))

    def test_flatten(self):
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

    @ddt.data("value", "", "[\"\u00fc\"]")
    def test_notes(self, value):
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

    def test_no_note_to_remove(self):
        self.open().set_note("key", None)
        self.assertIsNone(self.open().note("key"))

    def test_notes_are_the_image_s(self):
        """Its snapshots have none of their own."""
        self.open().set_note("key", "later")
        self.assertEqual("later", self.open(snapshot="s").note("key"))

    def test_clone_begins_with_those_of_its_source(self):
        self.open().set_note("key", "source's")
        image = self.clone()
        self.assertEqual("source's", image.note("key"))
        image.set_note("key", "clone's")
        self.assertEqual("source's", self.open().note("key"))

    # ids

    def test_identity(self):
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

        def identities():
            found = []
            for store, name, snapshot in opened:
                with store.open_layered(name, snapshot=snapshot) as image:
                    found.append(image.identity())
            return found

        found = identities()
        self.assertEqual(first, found[0])
        self.assertEqual(found, identities())
        self.assertEqual(len(opened), len({*found}))

    def test_identity_of_a_snapshot(self):
        """That of its image, and its own."""
        number = self.open().identity()
        for image in (self.open(snapshot="s"),
                      self.store.open_snapshot(self.parent)):
            with image:
                owner, at, own = image.identity().partition("@")
                self.assertEqual((number, "@"), (owner, at))
                self.assertTrue(own)

    def test_identity_with_an_at_in_the_name(self):
        with self.store.create("gold@en", OBJECT) as image:
            image.create_snapshot("s")
            number = image.identity()
        with self.store.open_layered("gold@en", snapshot="s") as image:
            self.assertTrue(image.identity().startswith(f"{number}@"))

    def test_name_that_is_used_again(self):
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

    def test_parent_s_name(self):
        self.assertEqual(
            (base.Parent("volumes", "", "i", "s"),
             base.Parent("volumes", "space", "i", "s")),
            (self.store.parent("i", "s"), self.other.parent("i", "s")))
        self.assertEqual("volumes/i@s", str(self.store.parent("i", "s")))
        self.assertEqual("volumes/space/i@s",
                         str(self.other.parent("i", "s")))
