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

"""Clones and snapshots: a key for each volume, and only one that opens it.
"""

from __future__ import annotations

import json

import ddt
from openstack import exceptions

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import base
from os_brick_rbd_luks.tests.services import cloning
from os_brick_rbd_luks.tests import units


@ddt.ddt
class CloneTest(cloning.CloneTestCase):
    """Upstream's have their source's key and its size (faults H3, S1)."""

    @ddt.data(*selection.cases("luks2", full=("luks",)))
    def test_clones(self, provider):
        source = self.filled(f"ours-{provider}")
        same, larger = self.same_and_larger(
            source, provider, source_volume_id=source.id)
        self.check_independence(source, same, larger)

    def check_independence(self, source, same, larger):
        """What one of them writes is not the others'; nor is its deletion."""
        self.disk(larger).write(base.reader.filling(2 * units.GIB, 0x51))
        self.check(same)
        self.delete(source)
        self.check(same)
        self.check(larger, base.reader.filling(2 * units.GIB, 0x51), 2)

    @selection.full
    @ddt.data("luks", "luks2")
    def test_clone_of_a_clone(self, provider):
        source = self.filled(f"ours-{provider}")
        clone = self.create(f"ours-{provider}", source_volume_id=source.id)
        second = self.create(f"ours-{provider}", source_volume_id=clone.id)
        self.check(second)
        self.assert_own_key(second, clone)
        self.assert_own_key(second, source)
        self.delete(clone)
        self.check(second)


@selection.full
@ddt.ddt
class SnapshotTest(cloning.CloneTestCase):
    """A key of their own, and all of the data (faults H3, D2, D11, S1)."""

    @ddt.data("luks", "luks2")
    def test_volumes_of_a_snapshot(self, provider):
        source = self.filled(f"ours-{provider}")
        snapshot = self.snapshot(source)
        # What comes later is not in it.
        self.disk(source).write(base.reader.filling(units.GIB, 0x31))
        same, larger = self.same_and_larger(
            source, provider, snapshot_id=snapshot.id)
        # As upstream's, a snapshot may go before the volumes made of it.
        self.delete(snapshot)
        self.check(same)
        self.check(larger, size=2)

    @ddt.data("luks", "luks2")
    def test_revert(self, provider):
        volume = self.filled(f"ours-{provider}")
        key = self.key_id(volume)
        snapshot = self.snapshot(volume)
        self.disk(volume).write(base.reader.filling(units.GIB, 0x31))
        self.user.block_storage.revert_volume_to_snapshot(volume, snapshot)
        self.ready(volume)
        self.check(volume)
        self.assertEqual(key, self.key_id(volume))

    @ddt.data(("luks2", "luks"), ("luks", "luks2"))
    @ddt.unpack
    def test_rebuild_from_an_image_of_a_server(self, before, after):
        snapshot = self.snapshot(self.filled(f"ours-{before}"))
        image = self.image_of_a_server(snapshot)
        volume = self.ready(self.start(f"ours-{after}"))
        key = self.key_id(volume)
        answer = self.user.block_storage.post(
            f"/volumes/{volume.id}/action",
            json={"os-reimage": {"image_id": image.id}})
        self.assertEqual(202, answer.status_code)
        self.ready(volume)
        self.check(volume)
        self.assertEqual(key, self.key_id(volume))

    def image_of_a_server(self, snapshot):
        """As Nova makes it of one whose root disk is a volume: no data."""
        proxy = self.user.image
        image = proxy.create_image(
            "of a server", disk_format="raw", container_format="bare",
            allow_duplicates=True, block_device_mapping=json.dumps([{
                "source_type": "snapshot", "destination_type": "volume",
                "snapshot_id": snapshot.id, "volume_size": snapshot.size,
                "boot_index": 0}]))
        self.addCleanup(self.delete, image)
        exceptions.raise_from_response(proxy.put(
            f"/images/{image.id}/file", data=b"",
            headers={"Content-Type": "application/octet-stream"}))
        return image

    def test_revert_of_an_extended_volume(self):
        volume = self.filled("ours-luks")
        snapshot = self.snapshot(volume)
        self.user.block_storage.extend_volume(volume, 2)
        self.ready(volume)
        answer = self.user.block_storage.post(
            f"/volumes/{volume.id}/action",
            json={"revert": {"snapshot_id": snapshot.id}})
        # Cinder's own rule, so that no size has to shrink.
        self.assertEqual(400, answer.status_code)
        self.check(volume, size=2)
