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

"""Reverting a volume: the data is the snapshot's, the key is the volume's."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection


@ddt.ddt
class RevertTest(base.DriverTestCase):

    def rekey(self, volume):
        """Change a volume's passphrase, as an operator's command does."""
        old, volume.encryption_key_id = (volume.encryption_key_id,
                                         self.keys.new())
        with self.pool() as pool, pool.open(volume.name) as image:
            keyslots.replace(image, self.keys.passphrase(old),
                           self.passphrase(volume))
        volume.save()
        self.keys.delete(old)

    @ddt.data(*base.PROVIDERS)
    def test_revert(self, provider):
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.disk(volume).write(reader.filling(1, 0x61))
        self.driver.revert_to_snapshot(self.context, volume, snapshot)
        self.check(volume)
        self.assert_images(images={volume.name: [snapshot.name]})
        self.assert_keys(volume)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_d11_revert_after_the_passphrase_was_changed(self, provider):
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.disk(volume).write(reader.filling(1, 0x61))
        self.rekey(volume)
        self.driver.revert_to_snapshot(self.context, volume, snapshot)
        self.check(volume)
        self.assert_keys(volume)

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_revert_a_clone(self, provider):
        # Its snapshot has the header of its own key already.
        source = self.filled(provider)
        clone = self.clone(source)
        snapshot = self.snapshot(clone)
        self.disk(clone).write(reader.filling(1, 0x61))
        self.driver.revert_to_snapshot(self.context, clone, snapshot)
        self.check(clone)
        self.check(source)
