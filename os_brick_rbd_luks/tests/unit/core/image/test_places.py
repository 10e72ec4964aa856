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

"""What is said of places that Ceph says little of.

On real ones: ``tests/ceph/core/test_places.py``.
"""

from __future__ import annotations

import contextlib

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import units

SIZE = 8 * units.MIB


class PlacesTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph("volumes", "volumes/space"))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        self.connected = stack.enter_context(cluster.connect())
        self.pool = stack.enter_context(self.connected.pool("volumes"))
        self.stack = stack

    def inside(self, namespace):
        return self.stack.enter_context(
            self.connected.pool("volumes", namespace))

    def open(self, name="v", **options):
        return self.stack.enter_context(self.pool.open(name, **options))


@ddt.ddt
class MissingTest(PlacesTestCase):

    def missing(self, pool=None, name="v"):
        return self.assertRaises(exception.ImageNotFound,
                                 (pool or self.pool).open, name)

    def put_into_trash(self, *entries, pool="volumes"):
        self.ceph.trashed[pool] = [
            dict(zip(("id", "name", "source"), entry)) for entry in entries]

    def test_nowhere(self):
        self.put_into_trash(("1", "w", "USER"))
        self.assertIs(exception.ImageNotFound, type(self.missing()))

    def test_in_the_trash(self):
        self.put_into_trash(("1", "v", "USER"), ("2", "v", "USER"))
        error = self.missing()
        self.assertIsInstance(error, exception.ImageInTrash)
        for number in "12":
            self.assertIn(f"'rbd trash restore volumes/{number}'", str(error))

    def test_in_the_trash_of_a_namespace(self):
        self.put_into_trash(("1", "v", "USER"), pool="volumes/space")
        self.assertIs(exception.ImageNotFound, type(self.missing()))
        self.assertIn("'rbd trash restore volumes/space/1'",
                      str(self.missing(self.inside("space"))))

    @ddt.data(16, 18)
    def test_source_of_a_migration(self, release):
        """Which the bindings of Ceph 16 cannot list."""
        self.ceph.release = release
        self.put_into_trash(("1", "v", "MIGRATION"))
        self.assertIn("rbd migration abort", str(self.missing()))

    def test_in_the_trash_beside_the_source_of_a_migration(self):
        self.put_into_trash(("1", "v", "USER"), ("2", "w", "MIGRATION"))
        self.assertIsInstance(self.missing(), exception.ImageInTrash)

    def test_snapshot_of_an_image_with_a_namesake_in_the_trash(self):
        self.pool.create("v", SIZE).__exit__()
        self.put_into_trash(("1", "v", "USER"))
        error = self.assertRaises(exception.ImageNotFound, self.pool.open,
                                  "v", snapshot="s")
        self.assertIs(exception.ImageNotFound, type(error))

    def test_trash_that_may_not_be_read(self):
        self.put_into_trash(("1", "v", "USER"))
        self.ceph.faults["trash_list"] = self.ceph.rbd.PermissionError("no")
        self.assertIs(exception.ImageNotFound, type(self.missing()))

    @ddt.data("open", "images")
    def test_namespace(self, how):
        there = self.inside("space")
        del self.ceph.pools["volumes/space"]
        error = self.assertRaises(
            exception.ImageNotFound, getattr(there, how),
            *(["v"] if how == "open" else []))
        self.assertIn("namespace volumes/space does not exist", str(error))

    def test_namespaces(self):
        self.assertEqual(["space"], self.pool.namespaces())


@ddt.ddt
class UnusableTest(PlacesTestCase):

    def setUp(self):
        super().setUp()
        self.pool.create("v", SIZE).__exit__()

    def refuse(self, call, error="ReadOnlyImage"):
        self.ceph.faults[call] = getattr(self.ceph.rbd, error)("no")

    @ddt.data("ReadOnlyImage", "PermissionError", "ImageBusy")
    def test_secondary(self, error):
        self.ceph.mirrored["volumes/v"] = {"state": 1, "primary": False}
        self.refuse("write", error)
        raised = self.assertRaises(exception.ImageNotPrimary,
                                   self.open().write, 0, b"x")
        self.assertIn("rbd mirror image promote", str(raised))

    @ddt.data(({"state": 1, "primary": True}, exception.ImageLocked),
              ({}, exception.ImageLocked))
    @ddt.unpack
    def test_primary_and_not_mirrored(self, facts, expected):
        self.ceph.mirrored["volumes/v"] = facts
        self.refuse("write")
        raised = self.assertRaises(expected, self.open().write, 0, b"x")
        self.assertIn("exclusive lock", str(raised))

    def test_nobody_can_tell(self):
        self.refuse("write")
        self.refuse("mirror_image_get_info", "PermissionError")
        self.assertRaises(exception.ImageLocked, self.open().write, 0, b"x")

    def test_opened_for_reading(self):
        self.assertRaises(exception.ImageReadOnly,
                          self.open(read_only=True).write, 0, b"x")

    @ddt.data("create_snap", "resize", "metadata_set")
    def test_every_change(self, call):
        self.ceph.mirrored["volumes/v"] = {"state": 1, "primary": False}
        self.refuse(call)
        image = self.open()
        change = {"create_snap": lambda: image.create_snapshot("s"),
                  "resize": lambda: image.resize(2 * SIZE),
                  "metadata_set": lambda: image.set_note("k", "v")}[call]
        self.assertRaises(exception.ImageNotPrimary, change)

    @ddt.data("ImageBusy", "ImageHasSnapshots", "InvalidArgument")
    def test_removing_a_secondary(self, error):
        self.ceph.mirrored["volumes/v"] = {"state": 1, "primary": False}
        self.refuse("remove", error)
        raised = self.assertRaises(exception.ImageNotPrimary,
                                   self.pool.remove, "v")
        self.assertIn("volumes/v: it is the secondary", str(raised))

    def test_removing_the_target_of_a_migration(self):
        self.ceph.content("volumes/v").features |= {"migrating"}
        self.refuse("remove", "ImageBusy")
        raised = self.assertRaises(exception.ImageMigrating,
                                   self.pool.remove, "v")
        self.assertIn("rbd migration commit", str(raised))

    def test_removing_hides_no_error(self):
        self.ceph.mirrored["volumes/v"] = {"state": 1, "primary": False}
        self.refuse("remove", "ImageBusy")
        self.refuse("open_image", "Timeout")
        raised = self.assertRaises(exception.ImageLocked,
                                   self.pool.remove, "v")
        self.assertIs(exception.ImageLocked, type(raised))

    def test_removing_what_is_in_use(self):
        self.refuse("remove", "ImageBusy")
        raised = self.assertRaises(exception.ImageLocked,
                                   self.pool.remove, "v")
        self.assertIs(exception.ImageLocked, type(raised))


@ddt.ddt
class HistoryTest(PlacesTestCase):

    def history(self, **kinds):
        self.pool.create("v", SIZE).__exit__()
        self.ceph.kinds.update(kinds)
        image = self.open()
        for snapshot in kinds or ("s",):
            image.create_snapshot(snapshot)
        return image.history()

    def test_none(self):
        self.pool.create("v", SIZE).__exit__()
        self.assertEqual([], self.open().history())

    @ddt.data(({}, "s"), ({"namespace": 3}, "s (of mirroring)"),
              ({"namespace": 1}, "s (of the image's group)"),
              ({"namespace": 2, "trash": {"original_name": "t"}},
               "t (removed, and kept for its clones)"))
    @ddt.unpack
    def test_snapshot(self, kind, expected):
        self.assertEqual([expected], self.history(s=kind))

    def test_source_of_a_migration(self):
        self.pool.create("v", SIZE).__exit__()
        self.ceph.content("volumes/v").features |= {"migrating"}
        self.assertIn("rbd migration commit", *self.open().history())


class UnfitPoolTest(PlacesTestCase):

    def test_erasure_coded(self):
        self.ceph.erasure_coded.add("volumes")
        self.ceph.faults["create"] = self.ceph.rbd.OperationNotSupported("no")
        error = self.assertRaises(exception.UnfitPool, self.pool.create, "v",
                                  SIZE)
        self.assertIn("--data-pool volumes", str(error))

    def test_data_pool_that_is_not_there(self):
        error = self.assertRaises(exception.ImageNotFound, self.pool.create,
                                  "v", SIZE, data_pool="nopool")
        self.assertIn("data pool nopool does not exist", str(error))

    def test_data_pool(self):
        with self.pool.create("v", SIZE, data_pool="volumes") as image:
            self.assertIn("data-pool", image.features())

    def test_replicated(self):
        self.ceph.faults["create"] = self.ceph.rbd.OperationNotSupported("no")
        self.assertRaises(exception.ImageIOError, self.pool.create, "v", SIZE)

    def test_namespace(self):
        there = self.inside("space")
        del self.ceph.pools["volumes/space"]
        self.ceph.faults["create"] = self.ceph.rbd.ImageNotFound("no")
        error = self.assertRaises(exception.ImageNotFound, there.create, "v",
                                  SIZE)
        self.assertIn("namespace volumes/space does not exist", str(error))
