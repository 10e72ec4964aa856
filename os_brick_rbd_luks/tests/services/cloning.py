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

"""Volumes to clone, and what is in the clones."""

from __future__ import annotations

from os_brick_rbd_luks.tests.services import base


class CloneTestCase(base.IntegrationTestCase):
    """Knows what a volume of another's data has to be."""

    def assert_own_key(self, volume, source):
        """Its key is another, and the other's does not open it."""
        self.assertNotEqual(self.key_id(source), self.key_id(volume))
        other = self.passphrase(self.key_id(source))
        self.assertNotEqual(other, self.passphrase(self.key_id(volume)))
        self.assertFalse(self.disk(volume, passphrase=other).opens())

    def assert_new_keys(self, before, *volumes):
        """There are the keys of *volumes*, no others.

        :param before: the keys that there were without them
        """
        new = {self.key_id(volume) for volume in volumes}
        self.assertEqual(len(volumes), len(new))
        self.assertEqual(before.union(new), self.keys())

    def same_and_larger(self, source, provider, **origin):
        """Volumes of 1 and 2 GiB with data of *source*, and their own keys.

        :param origin: of both, for Cinder
        """
        keys = self.keys()
        same = self.start(f"ours-{provider}", **origin)
        larger = self.start(f"ours-{provider}", 2, **origin)
        for volume, size in ((self.ready(same), 1), (self.ready(larger), 2)):
            self.check(volume, size=size)
            self.assert_own_key(volume, source)
        self.assert_new_keys(keys, same, larger)
        return same, larger

    def snapshot(self, volume):
        """A snapshot; it is deleted with the test."""
        snapshot = self.user.block_storage.create_snapshot(
            volume_id=volume.id, name="one", force=True)
        self.addCleanup(self.delete, snapshot)
        return self.ready(snapshot)
