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

"""Volumes and snapshots that go to another project."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import attaching


@ddt.ddt
class TransferTest(attaching.AttachTestCase):
    """The former owner knows the passphrase (fault H4)."""

    def transfer(self, volume):
        """Give a volume of "user" to "other", with its snapshots."""
        made = self.user.block_storage.create_transfer(
            volume_id=volume.id, name="gift")
        self.other.block_storage.accept_transfer(made.id, made.auth_key)
        self.addCleanup(self.delete, volume, self.other)
        return self.ready(volume, cloud=self.other)

    def setUp(self):
        super().setUp()
        self.other = self.lab.cloud("other")

    @ddt.data(*selection.cases("luks", full=("luks2",)))
    def test_rekeyed_when_it_is_attached(self, provider):
        volume = self.filled(f"ours-{provider}")
        former = self.passphrase(self.key_id(volume))
        self.transfer(volume)
        # Nothing of it is left to its former owner.
        self.assertEqual(set(), self.keys())
        given = self.key_id(volume, self.other)
        self.check(volume, cloud=self.other)

        made = self.attach(volume, self.other)
        present = self.key_id(volume, self.other)
        self.assertNotEqual(given, present)
        self.assertEqual({present}, self.keys("other"))
        self.assert_no_secret(made, volume, self.other)
        self.check(volume, cloud=self.other)
        self.assertFalse(self.disk(volume, self.other, former).opens())

        # Once is enough.
        self.detach(made["id"], self.other)
        self.ready(volume, cloud=self.other)
        self.attach(volume, self.other)
        self.assertEqual(present, self.key_id(volume, self.other))
