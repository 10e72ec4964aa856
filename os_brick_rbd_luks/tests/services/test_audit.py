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
"""Volumes of real services are audited, and erased."""

from __future__ import annotations

import pathlib

import fixtures

from os_brick_rbd_luks.headers import backup_series
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import record_store
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import commanding
from os_brick_rbd_luks.tests import units

TYPES = ("ours-luks", "ours-luks2")


@selection.full
class AuditTest(commanding.CommandTestCase):

    def audit(self, code):
        """What it finds, by the volume or image."""
        return {row["volume"]: row["finding"] for row in self.run_program(
            "audit", "--all", "-f", "json", code=code)}

    def test_all_is_well(self):
        volumes = [self.filled(name) for name in TYPES]
        self.create("ours-luks2", source_volume_id=volumes[1].id)
        snapshot = self.user.block_storage.create_snapshot(
            volume_id=volumes[0].id)
        self.addCleanup(self.delete, snapshot)
        self.ready(snapshot)
        self.attach(volumes[1])
        self.assertEqual({}, self.audit(0))
        keys = {row["key"] for row in self.run_program(
            "audit", "--all", "--keys", "-f", "json")}
        self.assertEqual(self.keys(), keys)

    def test_what_is_wrong(self):
        gone, plain = (self.create(name) for name in TYPES)
        self.user.key_manager.delete_secret(self.key_id(gone))
        with cluster.connect(self.lab.ceph_conf) as connected, \
                connected.pool(self.pool(plain)) as pool, \
                pool.open(self.image_name(plain)) as image:
            image.write(0, bytes(units.MIB))
        found = self.audit(5)
        self.assertEqual({gone.id: "key is gone", plain.id: "plain image"},
                         found)

    def test_headers_of_all_backends(self):
        volumes = [self.filled(name) for name in TYPES]
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / "passphrase").write_bytes(b"of the operator")
        (folder / "headers").mkdir()
        command = ("header", "backup-all", "--to", str(folder / "headers"),
                   "--backup-passphrase-file", str(folder / "passphrase"),
                   "-f", "json")
        found = self.run_program(*command)
        self.assertEqual([], found["problems"])
        self.assertLessEqual(len(volumes), found["saved"])
        again = self.run_program(*command)
        self.assertEqual((0, found["saved"]),
                         (again["saved"], again["unchanged"]))
        with cluster.connect(self.lab.ceph_conf) as connected:
            for volume in volumes:
                with connected.pool(self.pool(volume)) as pool, \
                        pool.open(self.image_name(volume)) as image:
                    # Both copies of LUKS2, and all keyslots.
                    image.write(0, bytes(units.MIB))
                    header_backup.restore(image, backup_series.Series(
                        record_store.Folder(folder / "headers"),
                        pool.name).find(image, b"of the operator").data,
                        force=True)
                self.check(volume)

    def test_erased(self):
        """What has its key still is listed, before and afterwards."""
        source = self.filled("ours-luks")
        copy = self.create("ours-luks", source_volume_id=source.id)
        for command in (("reachable",), ("erase", "--force")):
            found = self.run_program(*command, "--volume", source.id, "-f",
                                     "json", code=5)
            self.assertIn(copy.id, str(found), command)
        self.assertFalse(self.disk(source).opens())
        self.check(copy)
