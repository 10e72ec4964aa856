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
"""The commands that destroy a volume of Cinder's, and say what is left."""

from __future__ import annotations

import uuid

from cinder.db import api as db
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.layers import reachable
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.unit.cinder import commanding
from os_brick_rbd_luks.volume import record_places

BUSY = 5


class ErasingTestCase(commanding.CommandTestCase):

    def erase(self, volume, *arguments, code=0):
        """Run it; kind and name of the places."""
        return self.places("erase", volume, *(arguments or ("--force",)),
                           code=code)

    def places(self, name, volume, *arguments, code):
        rows = self.run_program(name, "--volume", volume.id, *arguments,
                                code=code)
        self.assert_nothing_is_open()
        return [(row["place"], row["name"]) for row in rows]

    def backup(self, volume, **values):
        return db.backup_create(self.context, {
            "volume_id": volume.id, "status": "available", "size": 1,
            "user_id": volume.user_id, "project_id": volume.project_id,
            "encryption_key_id": self.keys.new(), **values})


@ddt.ddt
class EraseTest(ErasingTestCase):

    @ddt.data("luks", "luks2")
    def test_nothing_left(self, provider):
        volume = self.filled(provider)
        self.assertEqual([], self.erase(volume))
        self.assertEqual([], self.openers(volume.name))
        volume.refresh()
        self.assertEqual("error", volume.status)
        self.assertIn("erased keyslots: 0", self.stderr)
        self.assertIn("Glance", self.stderr)

    def test_one_of_status_error(self):
        volume = self.create()
        volume.status = "error"
        volume.save()
        self.assertEqual([], self.erase(volume))

    def test_other_backend_is_away(self):
        volume = self.create()
        self.other_backend_is_away()
        self.assertEqual([], self.erase(volume))

    @ddt.data("in-use", "attaching", "reserved", "maintenance", "deleting",
              "awaiting-transfer")
    def test_somebody_has_it(self, status):
        volume = self.create()
        volume.status = status
        volume.save()
        self.erase(volume, code=BUSY)
        self.assert_untouched(volume, status)
        self.assertIn(status, self.stderr)

    @ddt.data("error", "available")
    def test_somebody_has_it_whatever_its_status(self, status):
        """After a failover, or when an administrator has set it."""
        volume = self.attached(self.create())
        volume.status = status
        volume.save()
        self.erase(volume, code=BUSY)
        self.assert_untouched(volume, status)
        self.assertIn("attached", self.stderr)

    def assert_untouched(self, volume, status="available"):
        volume.refresh()
        self.assertEqual(status, volume.status)
        self.assert_opens(volume)

    def test_has_snapshots(self):
        volume = self.create()
        snapshot = self.snapshot(volume)
        self.patch("sys.stdin", None)
        self.run_program("erase", "--volume", volume.id, code=BUSY)
        self.assertIn("it has 1 snapshots", self.stderr)
        self.assert_untouched(volume)
        self.assertEqual(
            [(reachable.SNAPSHOT, f"volumes/{volume.name}@{snapshot.name}")],
            self.erase(volume, code=BUSY))

    def test_is_open_elsewhere(self):
        volume = self.create()
        self.ceph.watchers[f"volumes/{volume.name}"] = [
            ceph.Watcher(7, "10.0.0.7:0/1")]
        self.erase(volume, code=BUSY)
        self.ceph.watchers.clear()
        self.assert_untouched(volume)

    def test_breaks_off_when_something_is_destroyed(self):
        """The lock is lost then, which is told as if nothing was done."""
        volume = self.create()
        self.patch("os_brick_rbd_luks.image.header_lock.ObjectLock.renew",
                   side_effect=exception.ImageLocked(holders="another"))
        self.run_program("erase", "--volume", volume.id, "--force", code=BUSY)
        volume.refresh()
        self.assertEqual("error", volume.status)
        self.assertIn("stays in status error", self.stderr)

    def test_begins_to_be_used(self):
        """Between the look and the change."""
        volume = self.create()

        def meanwhile(_name):
            db.volume_update(self.context, volume.id, {"status": "reserved"})

        self.server.on_call = meanwhile
        self.erase(volume, code=BUSY)
        self.assert_untouched(volume, "reserved")

    def test_nobody_confirms(self):
        volume = self.create()
        self.patch("sys.stdin", None)
        self.run_program("erase", "--volume", volume.id, code=BUSY)
        self.assertIn("to confirm", self.stderr)
        self.assert_untouched(volume)

    def test_no_such_volume(self):
        volume = self.create()
        self.run_program("erase", "--volume", str(uuid.uuid4()), code=1)
        self.assert_untouched(volume)

    def test_key_is_gone(self):
        """What is to be destroyed needs none."""
        volume = self.create()
        del self.server.secrets[volume.encryption_key_id]
        self.assertEqual([], self.erase(volume))
        self.assertIn("not known for certain", self.stderr)

    def test_ceph_fails_when_all_is_done(self):
        """That it is erased is told, and that nobody could look."""
        volume = self.create()
        self.patch("os_brick_rbd_luks.volume.record_places.look",
                   side_effect=self.timed_out)
        self.assertEqual([(reachable.IMAGE, f"volumes/{volume.name}")],
                         self.erase(volume, code=BUSY))
        self.assertIn("erased keyslots: 0", self.stderr)

    def timed_out(self, pool, _record):
        self.ceph.faults["list_pools"] = self.ceph.rbd.Timeout("no OSD")
        with pool.open("none"):
            raise AssertionError("there is no such image")


class ReachableTest(ErasingTestCase):

    def reachable(self, volume, code=BUSY):
        return self.places("reachable", volume, code=code)

    def test_the_image_itself(self):
        volume = self.create()
        self.assertEqual([(reachable.IMAGE, f"volumes/{volume.name}")],
                         self.reachable(volume))
        self.assert_opens(volume)

    def test_backups(self):
        volume = self.create()
        base = self.backup(volume)
        more = self.backup(volume, parent_id=base.id, status="error")
        self.backup(self.create())
        found = self.reachable(volume)
        self.assertEqual({base.id, more.id}, {
            name for place, name in found if place == record_places.BACKUP})
        self.assertEqual({base.id, more.id},
                         {name for _place, name in self.erase(
                             volume, code=BUSY)})

    def test_clones_of_this_cluster(self):
        """Once, by their headers; and their backups."""
        volume = self.filled()
        clone = self.clone(volume)
        backup = self.backup(clone)
        found = self.reachable(volume)
        self.assertIn((reachable.CLONE, f"volumes/{clone.name}"), found)
        self.assertIn((record_places.BACKUP, backup.id), found)
        self.assertNotIn(record_places.VOLUME,
                         [place for place, _name in found])

    def test_relatives_elsewhere(self):
        """Also by way of a snapshot, and of a volume in between."""
        volume = self.filled()
        between = self.from_snapshot(self.snapshot(volume))
        far = self.volume(source_volid=between.id, host="there@other#pool")
        self.assertIn((record_places.VOLUME, far.id), self.reachable(volume))
        self.assertIn((record_places.VOLUME, far.id),
                      self.reachable(between))

    def test_pools_may_not_be_listed(self):
        """What the records tell of is told all the same."""
        volume = self.filled()
        backup = self.backup(volume)
        far = self.volume(source_volid=volume.id, host="there@other#pool")
        self.patch("os_brick_rbd_luks.image.rbd_pool.Pool.cluster_pools",
                   side_effect=exception.ImageAccessDenied(
                       action="list the pools", user="client.cinder"))
        found = self.reachable(volume)
        for place in ((record_places.BACKUP, backup.id),
                      (record_places.VOLUME, far.id)):
            self.assertIn(place, found)
