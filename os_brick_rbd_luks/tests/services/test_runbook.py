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
"""The runbook of rotation, typed as it is written."""

from __future__ import annotations

import os
import pathlib

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import attaching
from os_brick_rbd_luks.tests.services import operator


@selection.full
class RunbookTest(operator.Operator, attaching.AttachTestCase):

    page_name = "rotation"
    titles = ("Before", "What would be done", "Rotate", "What is left",
              "After")

    def setUp(self):
        super().setUp()
        # No key here is that old.
        self.names["90d"] = "0s"
        for folder in ("srv/headers", "etc"):
            os.makedirs(os.path.join(self.temp, folder))
        with open(os.path.join(self.temp, "etc/backup-passphrase"),
                  "w") as stream:
            stream.write("of the backups")

    def test_rotation(self):
        other = self.lab.cloud("other")
        volumes = [self.filled(name) for name in (
            "ours-luks", "ours-luks2", "ours-luks")]
        others = self.ready(self.start("ours-luks", cloud=other), cloud=other)
        self.attach(volumes[0])
        snapshot = self.ready(self.user.block_storage.create_snapshot(
            volume_id=volumes[2].id))
        self.addCleanup(self.delete, snapshot)
        former = [self.key_id(volume) for volume in volumes]
        self.type_role()
        self.type("Before", "cinder-rbd-luks audit")
        self.type("What would be done", "cinder-rbd-luks rotate")
        self.assertEqual(former, [self.key_id(volume) for volume in volumes])
        # The backups that the page has the reader replace.
        self.run_program("header", "backup-all", "-f", "json", "--to",
                         os.path.join(self.temp, "srv/headers"),
                         "--backup-passphrase-file",
                         os.path.join(self.temp, "etc/backup-passphrase"))
        self.type("Rotate", "cinder-rbd-luks rotate")
        self.type("What is left", "openstack volume snapshot delete", "user",
                  id=snapshot.id)
        self.delete(snapshot)
        self.type("What is left", "cinder-rbd-luks rotate")
        self.assertEqual(set(), set(former) & {
            self.key_id(volume) for volume in volumes})
        for volume in volumes:
            self.check(volume)
        self.assertTrue(self.disk(others, other).opens())
        self.type("After", "cinder-rbd-luks audit")
        self.names["volume-ID"] = self.image_name(volumes[0])
        self.type("After", "rbd-luks info")
        before = self.backups()
        self.assertEqual(4, len(before))
        self.type("After", "cinder-rbd-luks header backup-all")
        self.assertEqual(4, len(self.backups() - before))
        self.assertEqual(set(), self.backups() & before)
        self.assertEqual([], [command for title in self.titles
                              for command in self.page[title].commands])

    def backups(self):
        return set(pathlib.Path(self.temp, "srv/headers").rglob(
            "*.rbd-luks-header"))

    def type_role(self):
        """Let Cinder's user do it in all projects, until the test ends."""
        identity = self.admin.identity
        grant = (identity.find_domain("Default"), identity.find_user("cinder"),
                 identity.find_role("member"))
        self.type("Whose keys they are", "openstack role add")
        self.addCleanup(identity.unassign_domain_role_from_user, *grant,
                        inherited=True)
