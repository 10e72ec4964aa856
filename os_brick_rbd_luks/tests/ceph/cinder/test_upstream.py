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

"""Volumes that upstream's driver has made, and ours in its hands."""

from __future__ import annotations

from cinder import exception as cinder_exception

from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


class UpstreamVolumeTest(base.DriverTestCase):
    """Of volumes with the payload at 4040 sectors."""

    def setUp(self):
        super().setUp()
        self.made = self.volume()
        base.make_like_upstream(
            f"rbd:volumes/{self.made.name}:id=admin:conf={self.conf}",
            units.GIB, self.passphrase(self.made), clean=self.remove_made)
        self.made.status = "available"
        self.made.save()
        self.disk(self.made).write(reader.filling(1))

    def remove_made(self):
        with self.pool() as pool:
            if self.made.name in pool.images():
                pool.remove(self.made.name)

    def test_extend(self):
        self.extend(self.made, 2)
        self.check(self.made, reader.filling(1))
        self.disk(self.made).write(reader.filling(2, 0x61))
        self.check(self.made, reader.filling(2, 0x61))

    def test_clone(self):
        clone = self.clone(self.made)
        self.check(clone)
        larger = self.clone(clone, size=2)
        self.check(larger, reader.filling(1))
        self.check(self.made)
        self.assert_keys(self.made, clone, larger)
        for volume in (self.made, clone, larger):
            self.delete(volume)
        self.assert_nothing_left()

    @selection.full
    def test_copy(self):
        self.option(rbd_max_clone_depth=0)
        copy = self.clone(self.made, size=2)
        self.check(copy, reader.filling(1))
        self.assert_keys(self.made, copy)

    def test_snapshot_and_revert(self):
        snapshot = self.snapshot(self.made)
        self.disk(self.made).write(reader.filling(1, 0x61))
        volume = self.from_snapshot(snapshot, size=2)
        self.check(volume, reader.filling(1))
        self.driver.revert_to_snapshot(self.context, self.made, snapshot)
        self.check(self.made)
        if not self.flattens():
            # Not before its volumes.
            self.assertRaises(cinder_exception.SnapshotIsBusy,
                              self.delete_snapshot, snapshot)
            self.check(volume, reader.filling(1))
            self.assert_images(volume,
                               images={self.made.name: [snapshot.name]})
            self.assert_keys(self.made, volume)
            self.delete(volume)
            self.delete_snapshot(snapshot)
            self.check(self.made)
            self.assert_images(self.made)
            self.assert_keys(self.made)
            return
        self.delete_snapshot(snapshot)
        self.check(volume, reader.filling(1))
        self.assert_keys(self.made, volume)

    @selection.full
    def test_s1_extended_by_upstream(self):
        upstreams = self.make_backend(base.UPSTREAMS)
        upstreams.driver.extend_volume(self.made, 2)
        # The guest has less than it should, until ours extends it.
        self.extend(self.made, 3)
        self.check(self.made, reader.filling(1))


class OurVolumeTest(base.DriverTestCase):
    """Operations of upstream's driver, after ours is gone again."""

    def setUp(self):
        super().setUp()
        self.made = self.filled()
        self.upstreams = self.make_backend(base.UPSTREAMS)

    def check_deleted(self, *volumes):
        # Of a clone's source, upstream leaves "volume-....deleted" (29).
        for volume in volumes:
            self.assertNotIn(volume.name, self.images())
        self.assert_keys()

    @selection.full
    def test_clone_and_delete(self):
        clone = self.volume(
            size=1, backend=self.upstreams, source_volid=self.made.id,
            key_id=self.keys.copy(self.made.encryption_key_id))
        self.build(clone, self.upstreams, source_volid=self.made.id)
        self.check(clone)
        self.check(self.made)
        self.made.host = clone.host
        self.made.save()
        self.delete(clone, self.upstreams)
        self.delete(self.made, self.upstreams)
        self.check_deleted(clone, self.made)

    def test_our_clone_is_deleted(self):
        clone = self.clone(self.made)
        for volume in (self.made, clone):
            volume.host = f"{self.upstreams.host}#pool"
            volume.save()
        self.delete(self.made, self.upstreams)
        self.check(clone)
        self.delete(clone, self.upstreams)
        self.check_deleted(clone, self.made)

    def test_extend(self):
        self.upstreams.driver.extend_volume(self.made, 2)
        with self.pool() as pool, pool.open(self.made.name) as image:
            self.assertEqual(2 * units.GIB, image.size())
        # What upstream has left out comes back (fault S1).
        self.extend(self.made, 2)
        self.check(self.made, reader.filling(1))

    @selection.full
    def test_snapshot(self):
        snapshot = self.snapshot(self.made)
        volume = self.volume(
            size=2, backend=self.upstreams, snapshot_id=snapshot.id,
            key_id=self.keys.copy(snapshot.encryption_key_id))
        self.build(volume, self.upstreams, snapshot_id=snapshot.id)
        self.check(volume, reader.filling(1))
