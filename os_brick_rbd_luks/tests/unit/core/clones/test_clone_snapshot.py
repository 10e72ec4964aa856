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

"""The snapshot that a clone of an image is made of."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import clone_snapshot
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.core.clones import clone_cases
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

FULL = clone_cases.FULL
SNAPSHOT = "clone.clone_snap"


class SnapshotTestCase(clone_cases.CloneTestCase):

    def image(self, kind="luks1", store=None):
        """An image, called source, without a snapshot."""
        store = store or self.store
        self.source(kind, store=store)
        content = store.contents["source"]
        content.snapshots.clear()
        content.frozen.clear()
        return content

    def of_image(self, make, *args, store=None, name="clone", restart=False,
                 **options):
        """Clone the image by ``own_key`` or ``own_header`` of the base."""
        with clone_snapshot.taken(store or self.store, "source", name,
                                  restart=restart) as parent:
            return make(parent, *args, name=name, **options)

    def remove(self, name="clone"):
        cloning.remove(self.store, name)


@ddt.ddt
class TakenTest(SnapshotTestCase):

    @ddt.data("luks1", "luks2")
    def test_own_key(self, kind):
        content = self.image(kind)
        self.of_image(self.own_key)
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertEqual({SNAPSHOT}, content.protected)
        self.assertEqual(self.store.parent("source", SNAPSHOT),
                         self.store.contents["clone"].parent)
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW, base.OLD))

    @ddt.data(*clone_cases.PAIRS)
    @ddt.unpack
    def test_own_header(self, below, above, padding):
        content = self.image(below)
        self.of_image(self.own_header, above, **self.key_for(below))
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertEqual(bool(padding), bool(self.bases()))
        self.assert_same_bytes(clones.expected(), self.guest(
            "clone", *self.keys(below, base.NEW)))

    def test_what_is_written_later_does_not_show(self):
        self.image()
        self.of_image(self.own_key)
        self.plaintext("source", base.OLD).write(0, b"later")
        self.assertEqual(b"first", self.guest("clone", base.NEW,
                                              base.OLD)[:5])

    def test_of_an_image_in_use(self):
        content = self.image()
        content.watchers.append("client.7 at 10.0.0.1")
        with self.store.open("source"):
            self.of_image(self.own_key)
        self.assertTrue(self.opens_name("clone", base.NEW))

    def test_in_another_pool(self):
        """The snapshot is where the source is."""
        content = self.image(store=self.images)
        self.of_image(self.own_key, store=self.images)
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertEqual(["clone"], self.store.images())
        self.remove()
        self.assertEqual([], content.snapshots)

    @ddt.data("luks1", "luks2")
    def test_flattened_needs_none(self, kind):
        content = self.image(kind)
        self.of_image(self.own_key, flatten=True)
        self.assertEqual(([], set()), (content.snapshots, content.protected))
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW))

    # refusals and failures

    def test_snapshot_that_is_there(self):
        """Of an earlier clone: it is not what the image holds now."""
        content = self.image()
        parent = self.snapshot("source", SNAPSHOT)
        self.store.clone(parent, "moved").__exit__()
        for restart in (False, True):
            error = self.refused(exception.ImageExists, self.of_image,
                                 self.own_key, restart=restart)
            self.assertIn("snapshot volumes/source@clone.clone_snap",
                          str(error))
        self.assertEqual([SNAPSHOT], content.snapshots)

    def test_snapshot_that_an_interrupted_run_left(self):
        """It has no clone; the next run takes one of its own."""
        self.image()
        self.snapshot("source", SNAPSHOT)
        error = self.refused(exception.HalfMade, self.of_image, self.own_key)
        self.assertIn("snapshot volumes/source@clone.clone_snap",
                      str(error))
        before = self.store.contents["source"].frozen[SNAPSHOT]
        self.of_image(self.own_key, restart=True)
        self.assertIsNot(before,
                         self.store.contents["source"].frozen[SNAPSHOT])
        self.assertTrue(self.opens_name("clone", base.NEW))

    def test_somebody_takes_the_same_one_meanwhile(self):
        """It is not ours to remove, although it has no clone yet."""
        content = self.image()
        self.store.steps.before["create_snapshot"] = (
            lambda: self.snapshot("source", SNAPSHOT))
        self.assertRaises(exception.ImageExists, self.of_image, self.own_key)
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertEqual(["source"], self.store.images())

    def test_existing_image_stays(self):
        self.image()
        self.store.create("clone", units.MIB).__exit__()
        self.refused(exception.ImageExists, self.of_image, self.own_key)

    def test_missing_image(self):
        error = self.refused(exception.ImageNotFound, self.of_image,
                             self.own_key)
        self.assertIn("source", str(error))

    def test_wrong_passphrase(self):
        self.image()
        self.refused(exception.WrongPassphrase, self.of_image, self.own_key,
                     old=base.OTHER)
        self.refused(exception.WrongPassphrase, self.of_image, self.own_header,
                     old_passphrase=base.OTHER)

    def test_plain_image_has_no_key_of_its_own(self):
        self.image("plain")
        self.refused(exception.NotLuks, self.of_image, self.own_key)

    def test_every_failure_of_own_key(self):
        self.image()
        steps = self.every_step_fails(
            FULL, lambda: self.of_image(self.own_key))
        self.assertGreater(steps, 20)
        self.assert_same_bytes(clones.expected(),
                               self.guest("clone", base.NEW, base.OLD))

    @ddt.data(*clone_cases.PAIRS)
    @ddt.unpack
    def test_every_failure_of_own_header(self, below, above, padding):
        """The base goes before the snapshot that it is made of."""
        self.image(below)
        steps = self.every_step_fails(FULL, lambda: self.of_image(
            self.own_header, above, **self.key_for(below)))
        self.assertGreater(steps, 20)
        self.assert_same_bytes(clones.expected(), self.guest(
            "clone", *self.keys(below, base.NEW)))

    def test_every_failure_of_a_flattened_one(self):
        """Up to the flattening; what is made then is not thrown away."""
        content = self.image()
        steps = self.every_step_fails(FULL, lambda: self.of_image(
            self.own_key, flatten=True))
        self.assertIn("flatten", self.store.steps.done[:steps + 1])
        self.assertTrue(self.opens_name("clone", base.NEW))
        # The last failure was that of tidying up.
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertIn("volumes/source@clone.clone_snap: cannot tidy up",
                      self.log.output)
        self.assertIn("by hand", self.log.output)

    @ddt.data("protect_snapshot", "open_snapshot", "clone", "set_note",
              "write", "flush", "rename", "close")
    def test_signal(self, call):
        self.image()
        self.store.steps.faults[call] = KeyboardInterrupt()
        self.refused(KeyboardInterrupt, self.of_image, self.own_key)

    def test_signal_when_the_snapshot_is_taken_already(self):
        content = self.image()

        def late():
            content.freeze(SNAPSHOT)
            raise KeyboardInterrupt

        self.store.steps.before["create_snapshot"] = late
        self.refused(KeyboardInterrupt, self.of_image, self.own_key)

    def test_failure_to_remove_hides_nothing(self):
        content = self.image()
        self.store.steps.faults.update({
            "flush": FULL, "remove_snapshot": exception.ImageIOError(
                action="remove", reason="no OSD")})
        self.assertIs(FULL, self.assertRaises(
            exception.ImageFull, self.of_image, self.own_key))
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertIn("cannot tidy up", self.log.output)

    def test_clone_that_cannot_be_removed_keeps_it(self):
        content = self.image()
        self.store.steps.faults.update({
            "flush": FULL, "remove": exception.ImageIOError(
                action="remove", reason="no OSD")})
        self.assertRaises(exception.ImageFull, self.of_image, self.own_key)
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertIn("rbd-luks-partial.clone", self.store.images())
        # The next run removes both.
        cloning.clear(self.store, "clone", restart=True)
        self.assertEqual([], content.snapshots)
        self.assertEqual(["source"], self.store.images())


@ddt.ddt
class ReleaseTest(SnapshotTestCase):
    """When the clone is removed."""

    @ddt.data("luks1", "luks2")
    def test_of_own_key(self, kind):
        content = self.image(kind)
        before = self.state()
        self.of_image(self.own_key)
        self.remove()
        self.assert_state(before)
        self.assertEqual(set(), content.protected)

    @ddt.data(*clone_cases.PAIRS)
    @ddt.unpack
    def test_of_own_header(self, below, above, padding):
        """Through the base, if there is one."""
        self.image(below)
        before = self.state()
        self.of_image(self.own_header, above, **self.key_for(below))
        self.remove()
        self.assert_state(before)

    def test_each_has_its_own(self):
        content = self.image()
        for name in ("one", "two", "one.two"):
            self.of_image(self.own_key, name=name)
        self.remove("two")
        self.assertEqual(["one.clone_snap", "one.two.clone_snap"],
                         content.snapshots)

    @ddt.data("s", "clone", "clone_snap", ".clone_snap", "aclone.clone_snap",
              "clone.clone_snap.clone_snap", "clone.clone_snap2",
              "CLONE.clone_snap", "clone.deleted.clone_snap")
    def test_other_snapshots_stay(self, snapshot):
        content = self.image()
        self.own_key(self.snapshot("source", snapshot))
        self.remove()
        self.assertEqual([snapshot], content.snapshots)

    @ddt.data("own_key", "own_header")
    def test_with_another_clone(self, way):
        """By whatever way that was made; it stays when that goes."""
        content = self.image("luks1")
        self.of_image(self.own_key)
        getattr(self, way)(
            self.store.parent("source", SNAPSHOT), name="other",
            **{"own_header": {"old_passphrase": base.OLD}}.get(way, {}))
        self.remove()
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.remove("other")
        self.assertEqual([SNAPSHOT], content.snapshots)

    def test_base_with_another_clone(self):
        content = self.image("plain")
        self.of_image(self.own_header)
        self.own_header(self.store.parent("source", SNAPSHOT), name="other")
        self.remove()
        self.assertEqual([SNAPSHOT], content.snapshots)
        self.assertEqual(1, len(self.bases()))

    def test_clone_that_stays_keeps_it(self):
        content = self.image()
        self.of_image(self.own_key)
        self.snapshot("clone")
        self.refused(exception.ImageLocked, self.remove)
        self.assertEqual([SNAPSHOT], content.snapshots)

    def test_cloned_meanwhile(self):
        content = self.image()
        self.of_image(self.own_key)
        parent = self.store.parent("source", SNAPSHOT)
        self.store.steps.before["remove_snapshot"] = (
            lambda: self.own_key(parent, "other"))
        self.remove()
        # Ceph took it out of sight; the clone has it still.
        hidden, = content.snapshots
        self.assertNotEqual(SNAPSHOT, hidden)
        self.assertEqual(
            hidden, self.store.contents["other"].parent.snapshot)

    @ddt.data("open_source", "children")
    def test_somebody_else_removes_it(self, call):
        content = self.image()
        self.of_image(self.own_key)

        def quicker():
            content.snapshots.clear()
            content.frozen.clear()

        self.store.steps.before[call] = quicker
        self.remove()
        self.assertEqual(["source"], self.store.images())

    @ddt.data("open_source", "children", "remove_snapshot")
    def test_failure_is_told(self, call):
        """The clone is gone then: the error says what is left."""
        self.image()
        self.of_image(self.own_key)
        self.store.steps.faults[call] = exception.ImageFull(action="write")
        error = self.assertRaises(exception.ImageFull, self.remove)
        self.assertIn("volumes/source@clone.clone_snap", str(error))
        self.assertEqual(["source"], self.store.images())

    def test_no_parent(self):
        self.image("plain")
        self.assertFalse(clone_snapshot.release(self.store, None, "clone"))
