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

"""Padded bases: made once, shared, and gone with their last clone."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests import units


class BasesTestCase(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.parent = self.source()
        self.name = self.base_name(self.parent, 4)

    def provide(self, parent=None):
        return bases.provide(self.store, parent or self.parent, 4 * units.MIB)

    def content(self):
        return self.store.contents[self.name]

    def clone(self, name, parent):
        self.store.clone(parent, name).__exit__()

    def assert_complete(self):
        content = self.content()
        self.assertEqual(
            (clones.SIZE + 4 * units.MIB, self.parent, ["base"], {}, 0),
            (content.size, content.parent, content.snapshots,
             content.objects, content.handles))
        self.assertEqual({"rbd_luks.base": content.image_id},
                         content.notes)
        self.assertEqual(clones.SIZE + 4 * units.MIB,
                         content.frozen["base"].size)
        self.assert_same_bytes(clones.expected() + bytes(4 * units.MIB),
                               content.frozen["base"].whole())


@ddt.ddt
class NameTest(clones.CloneTestCase):

    @ddt.data((("volumes", "", "image", "s"), "id1@2", 16 * units.MIB,
               "rbd-luks-base.image.s.16M.c1b0b25c1dfd"),
              (("images", "space", "i-1", "snap"), "id7@4", 4 * units.MIB,
               "rbd-luks-base.i-1.snap.4M.321a1cce4538"))
    @ddt.unpack
    def test_name(self, parent, identity, padding, expected):
        """It is for ever: other versions look for it."""
        self.assertEqual(expected, bases.name_of(
            base.Parent(*parent), identity, padding))

    def test_every_padding_has_one(self):
        parent = base.Parent("p", "", "i", "s")
        self.assertEqual(3, len({
            bases.name_of(parent, "1@1", padding * units.MIB)
            for padding in (4, 12, 16)}))

    def test_every_snapshot_has_one(self):
        """Whatever is called alike, the digest is another."""
        cases = ((("p", "", "i", "s"), "1@1"), (("p", "", "i", "s"), "1@2"),
                 (("p", "", "i", "s"), "2@1"), (("p", "", "i", "s"), "11@"),
                 (("q", "", "i", "s"), "1@1"), (("p", "n", "i", "s"), "1@1"),
                 (("q", "n", "i", "s"), "1@1"),
                 (("pn", "", "i", "s"), "1@1"),
                 (("p", "", "i.s", "t"), "1@3"),
                 (("p", "", "i", "s.t"), "1@4"))
        found = {bases.name_of(base.Parent(*parent), identity, 4 * units.MIB)
                 for parent, identity in cases}
        self.assertEqual(len(cases), len(found))
        self.assertEqual(len(cases), len({name.rpartition(".")[2]
                                          for name in found}))


@ddt.ddt
class ProvideTest(BasesTestCase):

    def test_made(self):
        self.assertEqual(base.Parent("volumes", "", self.name, "base"),
                         self.provide())
        self.assert_complete()

    def test_of_another_pool(self):
        """It is made where the clones are."""
        parent = self.source(store=self.images)
        self.assertEqual(
            ("volumes", "", self.base_name(parent, 4), "base"),
            self.provide(parent))
        self.assertEqual(parent, self.store.contents[
            self.base_name(parent, 4)].parent)
        self.assertEqual(["source"], self.images.images())

    def test_made_once(self):
        first = self.provide()
        before = self.state()
        self.assertEqual(first, self.provide())
        self.assert_state(before)
        self.assertEqual(
            1, self.store.contents["source"].frozen["s"].children)

    @ddt.data(0, 1, 2, 3, 4)
    def test_half_made_is_completed(self, steps):
        """A run was killed after so many steps."""
        image = self.store.clone(self.parent, self.name)
        for step in (lambda: image.resize(clones.SIZE + 2 * units.MIB),
                     lambda: image.resize(clones.SIZE + 4 * units.MIB),
                     lambda: image.set_note(bases.NOTE, image.identity()),
                     lambda: image.create_snapshot("base"))[:steps]:
            step()
        image.__exit__()
        self.provide()
        self.assert_complete()

    def test_metadata_of_the_source_does_not_matter(self):
        """A clone begins with it: this source is a clone of a base."""
        notes = self.store.contents["source"].notes
        notes[bases.NOTE] = "id of the source's base"
        self.provide()
        self.assert_complete()
        self.assertEqual({bases.NOTE: "id of the source's base"}, notes)

    def test_note_of_another_is_replaced(self):
        """A killed run left what was copied from the source."""
        self.clone(self.name, self.parent)
        self.content().notes[bases.NOTE] = "id of the source's base"
        self.provide()
        self.assert_complete()

    def test_somebody_makes_it_just_now(self):
        self.store.steps.before["clone"] = self.provide
        self.provide()
        self.assert_complete()

    @ddt.data("open", "resize", "set_note", "create_snapshot")
    def test_somebody_completes_it_meanwhile(self, call):
        self.clone(self.name, self.parent)
        self.store.steps.before["open"] = lambda: (
            self.store.steps.before.update({call: self.provide}))
        self.provide()
        self.assert_complete()

    def every_step_fails(self, failure, check):
        """Provide with a failure at each step in turn; the steps.

        :param check: called after each of them
        """
        steps, failed = self.store.steps, []
        while True:
            steps.done.clear()
            steps.faults[len(failed)] = failure
            try:
                self.provide()
            except type(failure) as error:
                self.assertIs(failure, error)
            else:
                break
            failed.append(steps.done[len(failed)])
            steps.faults.clear()
            check()
        steps.faults.clear()
        self.assert_complete()
        return failed

    @ddt.data(exception.ImageIOError(action="write", reason="no OSD"),
              exception.ImageFull(action="write"), KeyboardInterrupt())
    def test_failure_leaves_no_base(self, failure):
        """It would keep the source's snapshot from being removed."""
        before = self.state()
        failed = self.every_step_fails(
            failure, lambda: self.assert_state(before))
        self.assertLess({"clone", "resize", "set_note", "create_snapshot",
                         "identity", "close"}, {*failed})

    def test_failure_spares_a_half_made_base(self):
        """Who made it may be at it just now."""
        self.clone(self.name, self.parent)
        failure = exception.ImageIOError(action="write", reason="no OSD")

        def check():
            self.assertEqual(0, self.content().handles)
            self.provide()
            self.assert_complete()
            self.assertTrue(bases.release(
                self.store, self.store.parent(self.name, "base")))
            self.clone(self.name, self.parent)

        failed = self.every_step_fails(failure, check)
        self.assertLess({"open", "resize", "set_note", "create_snapshot"},
                        {*failed})

    def test_failure_spares_a_complete_base(self):
        self.provide()
        before = self.state()
        failed = self.every_step_fails(
            exception.ImageIOError(action="open", reason="no OSD"),
            lambda: self.assert_state(before))
        self.assertIn("open", failed)

    def test_failure_spares_what_somebody_completed(self):
        """And has made a clone of, before the maker failed."""
        failure = exception.ImageIOError(action="write", reason="no OSD")

        def quicker():
            self.clone("other", self.provide())
            raise failure

        self.store.steps.before["set_note"] = quicker
        self.assertIs(failure, self.assertRaises(
            exception.ImageIOError, self.provide))
        self.assert_complete()
        self.assertIn("other", self.store.images())

    def test_failure_to_remove_hides_nothing(self):
        failure = exception.ImageFull(action="write")
        self.store.steps.faults.update(
            resize=failure, remove=exception.ImageIOError(
                action="remove", reason="no OSD"))
        self.assertIs(failure, self.assertRaises(
            exception.ImageFull, self.provide))
        self.provide()
        self.assert_complete()

    def test_no_such_snapshot(self):
        self.assertRaises(exception.ImageNotFound, self.provide,
                          self.store.parent("source", "nowhere"))
        self.assertEqual(["source"], self.store.images())

    def test_of_another_image_of_the_same_name(self):
        """The source was renamed, and another one got its name."""
        self.provide()
        contents = self.store.contents
        contents["renamed"] = contents.pop("source")
        moved = self.parent._replace(image="renamed")
        self.content().parent = moved
        self.content().frozen["base"].parent = moved
        self.store.create("source", clones.SIZE).__exit__()
        contents["source"].write(0, b"other")
        self.assert_is_of(self.snapshot("source"))

    def test_of_a_snapshot_with_a_similar_name(self):
        self.provide(self.snapshot("source", "s.t"))
        self.store.create("source.s", clones.SIZE).__exit__()
        self.store.contents["source.s"].write(0, b"other")
        self.assert_is_of(self.snapshot("source.s", "t"))

    def test_of_another_snapshot_of_the_same_name(self):
        """The first one lives on with its base, under another name."""
        content = self.store.contents["source"]
        self.provide()
        content.snapshots[:] = ["renamed"]
        content.frozen["renamed"] = content.frozen.pop("s")
        content.write(0, b"other")
        self.assert_is_of(self.snapshot("source"))
        self.assertEqual(2, len(self.bases()))

    def test_made_once_for_a_renamed_one(self):
        """Names change, the digest does not."""
        digest = self.name.rpartition(".")[2]
        contents = self.store.contents
        contents["renamed"] = contents.pop("source")
        found = self.provide(self.parent._replace(image="renamed"))
        self.assertEqual(f"rbd-luks-base.renamed.s.4M.{digest}", found.image)

    def assert_is_of(self, parent):
        """A clone gets the data of *parent*."""
        found = self.provide(parent)
        with self.store.open_snapshot(found) as image:
            self.assertEqual(b"other", image.read(0, 5))


@ddt.ddt
class ReleaseTest(BasesTestCase):

    def setUp(self):
        super().setUp()
        self.base = self.provide()

    def release(self, parent=None):
        return bases.release(self.store, parent or self.base)

    def assert_stays(self):
        before = self.state()
        self.assertFalse(self.release())
        self.assert_state(before)

    def test_what_is_below(self):
        self.assertEqual(self.parent, bases.below(self.store, self.base))
        for parent in (None, self.parent, self.base._replace(pool="images"),
                       self.base._replace(snapshot="other")):
            self.assertEqual(parent, bases.below(self.store, parent))

    def test_what_is_below_a_clone_of_a_base(self):
        """It is no base, whatever its snapshot is called."""
        self.clone("volume", self.base)
        parent = self.snapshot("volume", "base")
        self.assertEqual(parent, bases.below(self.store, parent))

    def test_without_clones(self):
        self.assertTrue(self.release())
        self.assertEqual(["source"], self.store.images())
        self.assertEqual(
            0, self.store.contents["source"].frozen["s"].children)

    def test_with_clones(self):
        for name in ("one", "two"):
            self.clone(name, self.base)
        self.assert_stays()
        self.store.remove("one")
        self.assert_stays()
        self.store.remove("two")
        self.assertTrue(self.release())

    def test_flattened_clones_do_not_count(self):
        self.clone("one", self.base)
        with self.store.open("one") as image:
            image.flatten()
        self.assertTrue(self.release())
        self.assertEqual(["one", "source"], self.store.images())

    def test_gone_already(self):
        self.assertTrue(self.release())
        self.assertFalse(self.release())

    @ddt.data(None, ("volumes", "", "source", "s"),
              ("volumes", "", "nowhere", "base"),
              ("images", "space", "BASE", "base"),
              ("volumes", "space", "BASE", "base"),
              ("images", "", "BASE", "base"),
              ("volumes", "", "BASE", "other"))
    def test_no_base(self, parent):
        before = self.state()
        self.assertFalse(bases.release(
            self.store, parent and base.Parent(*(
                self.name if part == "BASE" else part for part in parent))))
        self.assert_state(before)

    def test_snapshot_that_is_only_called_so(self):
        parent = self.snapshot("source", "base")
        self.assertFalse(self.release(parent))
        self.assertIn("base", self.store.contents["source"].snapshots)

    def test_clone_of_a_base_is_none(self):
        """It begins with the metadata of the base."""
        self.clone("volume", self.base)
        self.assertEqual(self.content().notes,
                         self.store.contents["volume"].notes)
        parent = self.snapshot("volume", "base")
        before = self.state()
        self.assertFalse(self.release(parent))
        self.assert_state(before)

    @ddt.data(None, "", "id", "volumes/source@s", "volumes/source")
    def test_another_note(self, note):
        """Only its own id is one; its name says nothing."""
        with self.store.open(self.name) as image:
            image.set_note(bases.NOTE, note)
        self.assert_stays()

    def test_note_with_the_id_of_the_snapshot(self):
        with self.store.open_snapshot(self.base) as image:
            number = image.identity()
        with self.store.open(self.name) as image:
            image.set_note(bases.NOTE, number)
        self.assert_stays()

    def test_renamed_one(self):
        """It still is a base, by whatever name."""
        contents = self.store.contents
        contents["renamed"] = contents.pop(self.name)
        self.assertTrue(self.release(self.base._replace(image="renamed")))
        self.assertEqual(["source"], self.store.images())

    def test_without_its_snapshot(self):
        """Half-made: somebody is at it, or will complete it."""
        with self.store.open(self.name) as image:
            image.remove_snapshot("base")
        self.assert_stays()

    def test_further_snapshot(self):
        """Not ours to remove."""
        self.snapshot(self.name, "theirs")
        self.assertFalse(self.release())
        self.assertEqual(["theirs"], self.content().snapshots)

    def test_open_elsewhere(self):
        with self.store.open(self.name):
            self.assertFalse(self.release())
        self.provide()
        self.assert_complete()

    def test_cloned_meanwhile(self):
        self.store.steps.before["remove_snapshot"] = (
            lambda: self.clone("quick", self.base))
        self.assertFalse(self.release())
        # Ceph took the snapshot out of sight, for the clone it is there.
        content, (hidden,) = self.content(), self.content().snapshots
        self.assertNotEqual("base", hidden)
        self.assertEqual(
            (1, hidden), (content.frozen[hidden].children,
                          self.store.contents["quick"].parent.snapshot))
        self.provide()
        self.assertEqual([hidden, "base"], content.snapshots)

    def test_provided_meanwhile(self):
        self.store.steps.before["remove"] = self.provide
        self.assertFalse(self.release())
        self.assert_complete()

    def test_removed_meanwhile(self):
        for call in ("open", "remove"):
            self.provide()
            done = []
            self.store.steps.before[call] = lambda done=done: done.append(
                self.release())
            done.append(self.release())
            self.assertEqual([False, True], sorted(done))
            self.assertEqual(["source"], self.store.images())

    def test_store_that_fails_is_told(self):
        failure = exception.ImageIOError(action="open", reason="no OSD")
        for call in ("open", "note", "identity", "children",
                     "remove_snapshot", "remove"):
            self.provide()
            self.store.steps.faults[call] = failure
            self.assertIs(failure, self.assertRaises(
                exception.ImageIOError, self.release))
