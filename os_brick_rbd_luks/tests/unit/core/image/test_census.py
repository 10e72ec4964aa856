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

"""What there is without a name, as librbd tells it."""

from __future__ import annotations

import contextlib

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import census
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import units


@ddt.ddt
class CensusTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph(
            "volumes", "volumes/space", "images"))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        connected = stack.enter_context(cluster.connect())
        self.pool = stack.enter_context(connected.pool("volumes"))
        self.space = stack.enter_context(connected.pool("volumes", "space"))
        self.pool.create("v", units.MIB).__exit__()
        self.entry, = self.pool.entries()

    def hidden(self):
        with self.pool.open_entry(self.entry) as image:
            return [kind for kind, _what in image.hidden()]

    def test_pool_is_removed_when_it_was_listed(self):
        """The others have to be searched all the same."""
        listed = self.pool.cluster_pools()
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick_rbd_luks.tests.fakes.rados.Rados.list_pools",
            lambda _self: ["gone", *listed]))
        self.assertEqual(listed, self.pool.cluster_pools())

    def test_names(self):
        entry = census.Entry("volumes", "space", "v", "1")
        trashed = entry._replace(in_trash=True)
        for expected, found in (
                ("volumes/space/v", entry.named()),
                ("volumes/space/v@s", entry.named("s")),
                ("volumes/space/v (in the trash: 1)", trashed.named()),
                ("volumes/space/v@s (in the trash: 1)", trashed.named("s")),
                ("volumes/v", entry._replace(namespace="").named())):
            self.assertEqual(expected, found)
        self.assertEqual(entry.key, trashed._replace(image="other").key)

    def test_image_of_the_first_format(self):
        """It has no id, and cannot be in the trash."""
        entry = self.entry._replace(id="")
        self.assertNotEqual(entry.key, entry._replace(image="other").key)
        with self.pool.open_entry(entry) as image:
            self.assertEqual("volumes/v", image.name)

    def test_pools_of_other_applications(self):
        self.assertEqual(["images", "volumes"], self.pool.cluster_pools())
        for applications, expected in (
                (["cephfs"], False), (["cephfs", "rbd"], True), ([], True)):
            self.ceph.applications["images"] = applications
            self.assertEqual(expected, "images" in self.pool.cluster_pools())

    def test_pools_that_cannot_be_listed(self):
        self.ceph.faults["list_pools"] = self.ceph.rados.TimedOut("no")
        self.assertRaises(exception.ImageTimedOut, self.pool.cluster_pools)

    def test_trash(self):
        """All that is there, whoever has put it there."""
        self.ceph.trashed["volumes/space"] = [
            {"id": "1", "name": "a", "source": "USER"},
            {"id": "2", "name": "b", "source": "MIRRORING"}]
        self.assertEqual(
            ([("volumes", "space", "a", "1", True),
              ("volumes", "space", "b", "2", True)], True),
            tuple(self.space.trashed()))
        self.assertEqual(([], True), tuple(self.pool.trashed()))

    @ddt.data((16, ["1"], False), (18, ["1", "2", "3"], True))
    @ddt.unpack
    def test_trash_with_a_source_of_a_migration(self, release, ids, complete):
        self.ceph.release = release
        self.ceph.trashed["volumes"] = [
            {"id": number, "name": number, "source": source}
            for number, source in zip("123", ("USER", "MIGRATION", "USER"))]
        found = self.pool.trashed()
        self.assertEqual(ids, [entry.id for entry in found.entries])
        self.assertIs(complete, found.complete)

    def test_trash_that_may_not_be_read(self):
        self.ceph.faults["trash_list"] = self.ceph.rbd.PermissionError("no")
        self.assertRaises(exception.ImageAccessDenied, self.pool.trashed)

    def test_mirrored(self):
        self.assertEqual([], self.hidden())
        for state, expected in ((0, ["mirror"]), (1, ["mirror"]), (2, [])):
            self.ceph.mirrored["volumes/v"] = {"state": state}
            self.assertEqual(expected, self.hidden())

    def test_migrating_and_journaling(self):
        self.ceph.content("volumes/v").features = frozenset(
            {"migrating", "journaling"})
        self.assertEqual(["migration", "journal"], self.hidden())

    def test_snapshots_that_no_user_took(self):
        content = self.ceph.content("volumes/v")
        content.freeze("of a group")
        content.freeze("of mirroring")
        self.ceph.kinds["of a group"] = {"namespace": 1}
        self.ceph.kinds["of mirroring"] = {"namespace": 3}
        with self.pool.open_entry(self.entry) as image:
            self.assertEqual(
                ["of a group (of the image's group)",
                 "of mirroring (of mirroring)"],
                [snapshot.name for snapshot in image.all_snapshots()])
            for snapshot in image.all_snapshots():
                with image.at(snapshot.id):
                    self.assertEqual(units.MIB, image.size())

    def test_nothing_is_left_open(self):
        """Whatever fails while an image is opened by its id."""
        self.ceph.faults["aio_stat"] = self.ceph.rados.TimedOut("no")
        self.assertRaises(exception.ImageTimedOut, self.pool.open_entry,
                          self.entry)
        self.assertEqual([], self.ceph.images)
