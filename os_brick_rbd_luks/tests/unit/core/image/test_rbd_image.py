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

"""librbd's clones, without a server; and the store in memory the same way."""

from __future__ import annotations

import contextlib
import logging
from unittest import mock

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests.contracts import block as blocks
from os_brick_rbd_luks.tests.contracts import clone as clones
from os_brick_rbd_luks.tests.contracts import image as images
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import cluster as fakes
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE
OLD, NEW, OTHER = b"old passphrase", b"new passphrase", b"other passphrase"
STORE = {"object_size": clones.OBJECT, "stripe_period": clones.OBJECT}


class MemoryCloneTest(clones.CloneContract, testtools.TestCase):

    def make_stores(self):
        pools = fakes.MemoryCluster("volumes", "volumes/space", **STORE).pools
        return pools["volumes"], pools["volumes/space"]


class MemoryBlockTest(blocks.BlockContract, testtools.TestCase):

    def make_stores(self):
        pools = fakes.MemoryCluster("volumes", "volumes/space", **STORE).pools
        return pools["volumes"], pools["volumes/space"]

    def watch(self, name):
        self.store.contents[name].watchers.append("client.9 at x")
        return "client.9"

    def watch_for_ever(self, name):
        self.store.contents[name].staying.append("client.9 at x")
        return self.watch(name)


class LibrbdTestCase(testtools.TestCase):

    release = 18

    def open_pools(self, **options):
        """A pool, and a namespace of it."""
        self.ceph = self.useFixture(ceph.Ceph(
            "volumes", "volumes/space", release=self.release,
            **{**STORE, **options}))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        connection = stack.enter_context(cluster.connect(user="cinder"))
        return (stack.enter_context(connection.pool("volumes")),
                stack.enter_context(connection.pool("volumes", "space")))


class RBDImageTest(images.ImageContract, LibrbdTestCase):

    def make_store(self):
        return self.open_pools(object_size=base.DEFAULT_OBJECT_SIZE,
                               stripe_period=base.DEFAULT_OBJECT_SIZE
                               )[0], "volume-1"

    def lock_expires(self, image, lock):
        self.ceph.clock.advance(header_lock.LOCK_DURATION)
        return True


class LibrbdCloneTest(clones.CloneContract, LibrbdTestCase):

    def make_stores(self):
        return self.open_pools()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.assert_none_is_left_open)

    def assert_none_is_left_open(self):
        # Cleanups that close images come before this one.
        self.assertEqual([], self.ceph.images)

    def test_protected_snapshot(self):
        """Clones of the first format keep the protection, and need it."""
        image = self.open()
        self.ceph.protected.add("volumes/source@s")
        with self.clone() as clone:
            clone._image.content.clone_format = 1
        self.assertRaises(exception.ImageLocked, image.remove_snapshot, "s")
        self.assertEqual({"volumes/source@s"}, self.ceph.protected)
        self.store.remove("clone")
        image.remove_snapshot("s")
        self.assertEqual(set(), self.ceph.protected)

    def test_protected(self):
        image = self.open()
        image.protect_snapshot("s")
        self.assertEqual({"volumes/source@s"}, self.ceph.protected)
        image.remove_snapshot("s")
        self.assertEqual(set(), self.ceph.protected)

    def test_clone_format(self):
        """The second one, whose parents need no protection."""
        self.clone()
        self.assertEqual("2", self.ceph.history[0].conf[
            "rbd_default_clone_format"])

    def test_identity_is_librbd_s(self):
        content = self.ceph.content("volumes/source")
        self.assertEqual(content.image_id, self.open().identity())
        self.assertEqual(content.frozen["s"].image_id,
                         self.open(snapshot="s").identity())

    def test_identity_of_a_renamed_image(self):
        contents = self.ceph.pools["volumes"].contents
        before = [self.open(snapshot=snapshot).identity()
                  for snapshot in (None, "s")]
        contents["renamed"] = contents.pop("source")
        self.assertEqual(before, [
            self.open("renamed", snapshot=snapshot).identity()
            for snapshot in (None, "s")])


class LibrbdFeaturesTest(LibrbdTestCase):
    """What librbd is not to be trusted with, or cannot do."""

    def setUp(self):
        super().setUp()
        self.store, self.space = self.open_pools()
        self.ceph.pools["volumes"]._made["features"] = frozenset(
            {"fast-diff", "layering"})

    def make(self, name="first"):
        with self.store.create(name, SIZE) as image:
            image.create_snapshot("s")

    def clone(self, source, name, store=None):
        with (store or self.store).clone(
                self.store.parent(source, "s"), name) as image:
            image.create_snapshot("s")

    def is_deep(self, name, store=None):
        with (store or self.store).open(name) as image:
            return image.is_deep_clone()

    def test_fast_diff_goes_once(self):
        self.make()
        with self.store.open("first") as image:
            self.assertTrue(image.drop_fast_diff())
            self.assertFalse(image.drop_fast_diff())
            self.assertEqual({"layering"}, image.features())

    def test_no_permission_to_switch_it_off(self):
        self.make()
        with self.store.open("first") as image:
            self.ceph.faults["update_features"] = (
                self.ceph.rbd.PermissionError("no"))
            self.assertRaises(exception.ImageAccessDenied,
                              image.drop_fast_diff)
            self.assertIn("fast-diff", image.features())

    def test_clones_of_clones_are_deep(self):
        self.make()
        self.clone("first", "second")
        self.clone("second", "third")
        self.assertEqual([False, False, True], [
            self.is_deep(name) for name in ("first", "second", "third")])
        self.assertEqual([], self.ceph.images)

    def test_clone_that_has_grown_is_deep(self):
        self.make()
        self.clone("first", "second")
        self.ceph.content("volumes/second").resize(2 * SIZE)
        self.assertTrue(self.is_deep("second"))

    def test_parent_in_another_namespace(self):
        self.make()
        self.clone("first", "second")
        self.clone("second", "third", self.space)
        self.assertTrue(self.is_deep("third", self.space))


@ddt.ddt
class LibrbdBlockTest(blocks.BlockContract, LibrbdTestCase):

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.image.evict.WAIT", 0.05))

    def make_stores(self):
        return self.open_pools()

    def watch(self, name):
        self.ceph.watchers[f"volumes/{name}"] = [
            ceph.Watcher(9, "10.0.0.7:0/9")]
        return "client.9"

    def watch_for_ever(self, name):
        self.ceph.staying.add("10.0.0.7:0/9")
        return self.watch(name)

    def test_user_and_conf_file(self):
        options = self.store.block_options("source")
        self.assertEqual(("cinder", None), (options["user"],
                                            options.get("conf")))
        self.assertIn("--client_mount_timeout=15",
                      self.store.environment()["CEPH_ARGS"])

    def test_window_of_extents(self):
        """An image of any size is asked about piece by piece."""
        whole = list(self.open().extents())
        asked = []
        image = self.open()
        iterate = image._image.diff_iterate

        def diff_iterate(offset, length, *arguments, **options):
            asked.append((offset, length))
            iterate(offset, length, *arguments, **options)

        image._image.diff_iterate = diff_iterate
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.image.rbd_data._WINDOW", 2))
        self.assertEqual(whole, list(image.extents()))
        step = 2 * clones.OBJECT
        self.assertEqual([(0, step), (step, step),
                          (2 * step, SIZE - 2 * step)], asked)

    @ddt.data(
        # 3 GiB and a little, from within a piece on: no piece is larger than
        # 1 GiB, and all but the last end where a stripe period does.
        (4 * units.MIB, 4 * units.MIB, 3 * units.GIB + 5, [
            (4 * units.MIB, units.GIB - 4 * units.MIB),
            (units.GIB, units.GIB), (2 * units.GIB, units.GIB),
            (3 * units.GIB, 4 * units.MIB + 5)]),
        (96 * units.MIB, 0, units.GIB, [
            (0, 960 * units.MIB), (960 * units.MIB, 64 * units.MIB)]),
        (3 * units.GIB, 5, 2 * units.GIB, [
            (5, units.GIB - 5), (units.GIB, units.GIB), (2 * units.GIB, 5)]),
        (4 * units.MIB, 0, 0, []))
    @ddt.unpack
    def test_zero_in_pieces(self, period, offset, length, pieces):
        image = self.open()
        image.stripe_period = lambda: period
        with mock.patch.object(image._image, "discard",
                               autospec=True) as discard:
            image.zero(offset, length)
        self.assertEqual([mock.call(*piece) for piece in pieces],
                         discard.mock_calls)

    @ddt.data((units.GIB, b"", False), (units.GIB, b"x", True),
              (34 * units.MIB, b"", False))
    @ddt.unpack
    def test_data_before_a_stripe_in_pieces(self, size, last, expected):
        """A stripe may be as large as an image."""
        image = self.open()
        image.stripe_period = lambda: 128 * units.MIB
        image.size = lambda: size
        end, lengths = min(size, 128 * units.MIB), []

        def read(offset, length):
            lengths.append(length)
            data = bytearray(length)
            if offset + length == end:
                data[length - len(last):] = last
            return bytes(data)

        with mock.patch.object(image._image, "read", autospec=True,
                               side_effect=read), mock.patch.object(
                image._image, "diff_iterate", autospec=True):
            self.assertIs(expected, image.has_data(5 * units.MIB))
        self.assertEqual(end - 5 * units.MIB, sum(lengths))
        self.assertLessEqual(max(lengths), 4 * units.MIB)

    def test_zero_ends_with_the_first_error(self):
        image = self.open()
        with mock.patch.object(
                image._image, "discard", autospec=True, side_effect=[
                    None, self.ceph.rbd.Timeout("x")]) as discard:
            self.assertRaises(exception.ImageIOError, image.zero,
                              0, 3 * units.GIB)
        self.assertEqual(2, discard.call_count)

    def test_extents_with_fancy_striping(self):
        """librbd tells them object by object, not as they come."""
        image = self.open()
        image._image.diff_iterate = lambda *arguments, **options: [
            arguments[3](offset, 10, True) for offset in (40, 0, 20)]
        self.assertEqual([(0, 10), (20, 10), (40, 10)],
                         list(image.extents()))

    def test_errors(self):
        for call, action, said in (
                ("rename", lambda: self.store.rename("source", "new"),
                 "rename source to"),
                ("diff", lambda: list(self.open().extents()),
                 "look for data"),
                ("diff", lambda: self.open().has_data(1), "look for data")):
            self.ceph.faults[call] = self.ceph.rbd.Timeout("x")
            error = self.assertRaises(exception.ImageIOError, action)
            self.assertIn(said, str(error))

    def test_remove_in_a_full_pool(self):
        self.ceph.pools["volumes"].rights.full = True
        self.store.remove("source")
        self.assertEqual([], self.store.images())
        ioctx = self.store._ioctx
        self.assertFalse(ioctx.full_try)

    def test_remove_that_fails_waits_again(self):
        self.ceph.faults["remove"] = self.ceph.rbd.Timeout("x")
        self.assertRaises(exception.ImageIOError, self.store.remove,
                          "source")
        self.assertFalse(self.store._ioctx.full_try)


@ddt.ddt
class ErrorTest(LibrbdTestCase):

    def setUp(self):
        super().setUp()
        self.store, _other = self.open_pools()
        with self.store.create("source", SIZE) as image:
            image.create_snapshot("s")
        self.parent = self.store.parent("source", "s")
        self.image = self.store.clone(self.parent, "clone")
        self.addCleanup(self.image.__exit__)

    @ddt.data(
        ("id", lambda image: image.identity(), "id"),
        ("parent", lambda image: image.parent(), "parent"),
        ("set_snap", lambda image: image.children("t"), "clones"),
        ("children", lambda image: image.children("t"), "clones"),
        ("create_snap", lambda image: image.create_snapshot("u"),
         "snapshot u"),
        ("protect_snap", lambda image: image.protect_snapshot("t"),
         "snapshot t"),
        ("protection", lambda image: image.remove_snapshot("t"),
         "snapshot t"),
        ("remove_snap", lambda image: image.remove_snapshot("t"),
         "snapshot t"),
        ("discard", lambda image: image.zero(0, clones.OBJECT), "discard"),
        ("flatten", lambda image: image.flatten(), "flatten"),
        ("metadata_get", lambda image: image.note("key"), "metadata"),
        ("metadata_set", lambda image: image.set_note("key", "value"),
         "metadata"),
        ("metadata_remove", lambda image: image.set_note("there", None),
         "metadata"))
    @ddt.unpack
    def test_translated(self, call, action, said):
        self.image.create_snapshot("t")
        self.image.set_note("there", "value")
        for name, expected in (
                ("OSError", exception.ImageIOError),
                ("Timeout", exception.ImageIOError),
                ("PermissionError", exception.ImageAccessDenied)):
            self.ceph.faults[call] = getattr(self.ceph.rbd, name)("x")
            error = self.assertRaises(expected, action, self.image)
            self.assertIn(said, str(error))
            self.assertEqual({}, self.ceph.faults)

    def test_exclusive_lock_of_somebody_else(self):
        """EROFS on what was opened for writing."""
        self.ceph.faults["write"] = self.ceph.rbd.ReadOnlyImage("x")
        error = self.assertRaises(exception.ImageLocked, self.image.write, 0,
                                  b"data")
        self.assertIn("exclusive lock", str(error))
        self.assertIsInstance(error.__cause__, self.ceph.rbd.ReadOnlyImage)

    def test_identity_of_a_snapshot(self):
        with self.store.open_snapshot(self.parent) as image:
            for call in ("id", "snap_get_id"):
                self.ceph.faults[call] = self.ceph.rbd.Timeout("x")
                error = self.assertRaises(exception.ImageIOError,
                                          image.identity)
                self.assertIn("read the id", str(error))

    def test_identity_of_a_snapshot_that_was_removed(self):
        self.image.create_snapshot("t")
        with self.store.open("clone", snapshot="t") as image:
            self.image.remove_snapshot("t")
            self.assertRaises(exception.ImageNotFound, image.identity)

    def test_image_is_shown_again_after_an_error(self):
        """Not the snapshot, to which nothing can be written."""
        self.image.create_snapshot("t")
        self.ceph.faults["children"] = self.ceph.rbd.Timeout("x")
        self.assertRaises(exception.ImageIOError, self.image.children, "t")
        self.assertIsNone(self.ceph.images[-1]._snapshot)

    @ddt.data(("PermissionError", exception.ImageAccessDenied),
              ("NoSpace", exception.ImageFull),
              ("Timeout", exception.ImageIOError),
              ("ImageExists", exception.ImageExists))
    @ddt.unpack
    def test_clone_that_fails(self, name, expected):
        self.ceph.faults["clone"] = getattr(self.ceph.rbd, name)("x")
        error = self.assertRaises(expected, self.store.clone, self.parent,
                                  "another")
        self.assertIn("another", str(error))
        self.assertEqual(["clone", "source"], self.store.images())

    @ddt.data(exception.ImageIOError, KeyboardInterrupt)
    def test_clone_that_cannot_be_opened(self, expected):
        self.ceph.faults["open_image"] = (
            KeyboardInterrupt() if expected is KeyboardInterrupt
            else self.ceph.rbd.Timeout("x"))
        self.assertRaises(expected, self.store.clone, self.parent, "another")
        self.assertEqual(["clone", "source"], self.store.images())

    def test_existing_image_is_not_removed(self):
        self.assertRaises(exception.ImageExists, self.store.clone,
                          self.parent, "source")
        self.assertEqual(["clone", "source"], self.store.images())

    def test_created_image_that_cannot_be_opened(self):
        self.ceph.faults["open_image"] = self.ceph.rbd.Timeout("x")
        self.assertRaises(exception.ImageIOError, self.store.create,
                          "another", SIZE)
        self.assertEqual(["clone", "source"], self.store.images())

    @ddt.data("open", "open_parent")
    def test_signal_when_it_was_opened(self, method):
        """Nobody has it who could close it."""
        with self.store.open("clone") as clone:
            before = [*self.ceph.images]
            self.useFixture(fixtures.MonkeyPatch(
                "os_brick_rbd_luks.image.rbd_image.RBDImage.__init__",
                _interrupted))
            self.assertRaises(KeyboardInterrupt, *(
                (self.store.open, "clone") if method == "open"
                else (clone.open_parent,)))
            self.assertEqual(before, self.ceph.images)

    def test_close_fails(self):
        for arguments in ((), (None, None, None)):
            image = self.store.open("clone")
            self.ceph.faults["close"] = self.ceph.rbd.Timeout("x")
            error = self.assertRaises(exception.ImageIOError, image.__exit__,
                                      *arguments)
            self.assertIn("close", str(error))

    def test_close_fails_after_an_error(self):
        def work():
            with self.store.open("clone"):
                self.ceph.faults["close"] = self.ceph.rbd.Timeout("x")
                raise ZeroDivisionError

        log = self.useFixture(fixtures.FakeLogger())
        self.assertRaises(ZeroDivisionError, work)
        self.assertIn("cannot close", log.output)

    def test_context_manager_gives_the_image(self):
        with self.image as entered:
            self.assertIs(self.image, entered)


@ddt.ddt
class ReleaseTest(testtools.TestCase):

    @ddt.data(None, 16, 18)
    def test_librbd(self, release):
        self.useFixture(ceph.Ceph(release=release))
        with cluster.connect(user="cinder") as connection, \
                connection.pool("volumes") as pool:
            self.assertEqual(release, pool.librbd.release)


@ddt.ddt
class TimedOutTest(LibrbdTestCase):
    """A change that timed out may be done yet: its lock stays until then."""

    CHANGES = {
        "write": lambda image: image.write(0, b"x"),
        "flush": lambda image: image.flush(),
        "resize": lambda image: image.resize(SIZE // 2),
        "discard": lambda image: image.zero(0, 4096),
        "metadata_set": lambda image: image.set_note("key", "value")}

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        self.store, _other = self.open_pools()
        self.store.create("source", SIZE).__exit__()
        self.useFixture(fixtures.MonkeyPatch(
            f"{header_lock.__name__}.LOCK_WAIT", 0.0))

    def after(self, call, change):
        """The moment after a change under the lock that timed out."""
        with self.store.open("source") as image:
            self.ceph.faults[call] = self.ceph.rbd.Timeout("x")

            def changed():
                with image.lock():
                    change(image)

            self.assertRaises(exception.ImageTimedOut, changed)

    @ddt.data(*sorted(CHANGES))
    def test_lock_ends_by_itself(self, call):
        self.after(call, self.CHANGES[call])
        self.assertIn("may be done yet", self.log.output)
        with self.store.open("source") as image:
            lock = image.lock()
            self.assertRaises(exception.ImageLocked, lock.__enter__)
            self.ceph.clock.advance(header_lock.LOCK_DURATION)
            with image.lock():
                pass

    def test_reading_changes_nothing(self):
        self.after("read", lambda image: image.read(0, 1))
        with self.store.open("source") as image, image.lock():
            pass


@ddt.ddt
class LoadEncryptionTest(LibrbdTestCase):
    """A passphrase for each layer, the image's own first."""

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.store, self.other = self.open_pools()
        creating.create(self.store, "source", 2 * clones.OBJECT, OLD,
                        formatting.Options())
        with self.store.open("source") as image:
            image.load_encryption("luks1", OLD)
            image.write(5, b"source")
        with self.store.open("source") as image:
            image.create_snapshot("s")

    def clone(self, kind="luks1", new=NEW):
        with self.store.clone(self.store.parent("source", "s"),
                              "clone") as image:
            if kind == "own":
                keyslots.replace_all(image, OLD, new)
            else:
                offsets = {"luks1": 4 * units.MIB, "luks2": 16 * units.MIB}
                image.resize(offsets[kind] + 2 * clones.OBJECT)
                formatting.format_clone(image, new,
                                        formatting.Options(type=kind))

    def open(self, header, *passphrases):
        image = self.store.open("clone")
        self.addCleanup(image.__exit__)
        image.load_encryption(header, *passphrases)
        return image

    @ddt.data("luks1", "own")
    def test_two_layers(self, kind):
        self.clone(kind)
        image = self.open("luks1", NEW, OLD)
        self.assertEqual(2 * clones.OBJECT, image.size())
        self.assertEqual(b"source", image.read(5, 6))
        image.write(6, b"OWN")
        self.assertEqual(b"sOWNce", image.read(5, 6))
        with self.store.open("source") as source:
            source.load_encryption("luks1", OLD)
            self.assertEqual(b"source", source.read(5, 6))

    def test_last_one_is_for_all_below(self):
        self.clone("own", OLD)
        self.assertEqual(b"source", self.open("luks1", OLD).read(5, 6))

    @ddt.data((OTHER, OLD), (NEW, OTHER), (NEW,), (OLD, NEW))
    @ddt.unpack
    def test_wrong_passphrase(self, *passphrases):
        self.clone()
        error = self.assertRaises(exception.WrongPassphrase, self.open,
                                  "luks1", *passphrases)
        for secret in passphrases:
            self.assertNotIn(secret.decode(), str(error) + self.log.output)

    def test_no_permission_is_no_wrong_passphrase(self):
        """librbd has one number for both."""
        self.clone()
        self.store_rights().headers_only = True
        for passphrases in (NEW, OLD), (NEW, OTHER):
            error = self.assertRaises(exception.ImageAccessDenied, self.open,
                                      "luks1", *passphrases)
            self.assertIn("client.cinder", str(error))
            self.assertIsInstance(error.__cause__,
                                  self.ceph.rbd.PermissionError)

    def store_rights(self, pool="volumes"):
        return self.ceph.pools[pool].rights

    @ddt.data("luks1", "own")
    def test_no_permission_in_the_parent_s_pool(self, kind):
        """What the clone has of its own may be read."""
        elsewhere = self.other.parent("source", "s")
        creating.create(self.other, "source", 2 * clones.OBJECT, OLD,
                        formatting.Options())
        with self.other.open("source") as image:
            image.create_snapshot("s")
        self.store.parent = lambda *names: elsewhere
        self.clone(kind)
        self.open("luks1", NEW, OLD)
        self.store_rights("volumes/space").headers_only = True
        error = self.assertRaises(exception.ImageAccessDenied, self.open,
                                  "luks1", NEW, OLD)
        self.assertIn(f"read {elsewhere}, which it is a clone of", str(error))

    def test_too_many(self):
        self.clone()
        self.assertRaises(exception.ImageIOError, self.open, "luks1", NEW,
                          OLD, OTHER)

    def test_other_format(self):
        self.clone("luks2")
        self.assertRaises(exception.ImageIOError, self.open, "luks1", NEW,
                          OLD)
        self.open("luks2", NEW, OLD)


class LoadOldEncryptionTest(LibrbdTestCase):
    """Before Ceph 18: one passphrase, for layers with one volume key."""

    release = 16

    def test_own_key(self):
        self.store, _other = self.open_pools()
        creating.create(self.store, "source", 2 * clones.OBJECT, OLD,
                        formatting.Options())
        with self.store.open("source") as image:
            image.load_encryption("luks1", OLD)
            image.write(5, b"source")
        with self.store.open("source") as image:
            image.create_snapshot("s")
        with self.ceph.guest(), self.store.clone(
                self.store.parent("source", "s"), "clone") as image:
            keyslots.replace_all(image, OLD, NEW)
            image.load_encryption("luks1", NEW)
            self.assertEqual(b"source", image.read(5, 6))
        with self.store.open("clone") as image:
            self.assertRaises(exception.WrongPassphrase,
                              image.load_encryption, "luks1", OLD)

    def test_decrypted_clone_is_closed(self):
        """The fake tells what librbd would not survive."""
        self.test_own_key()
        image = self.store.open("clone")
        image.load_encryption("luks1", NEW)
        error = self.assertRaises(AssertionError, image.__exit__)
        self.assertIn("too often", str(error))
        with self.ceph.guest():
            image.__exit__()


def _interrupted(*_args):
    raise KeyboardInterrupt
