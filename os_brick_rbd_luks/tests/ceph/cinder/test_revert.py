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

from cinder.volume.drivers import rbd
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection


@ddt.ddt
class RevertTest(base.DriverTestCase):

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
        self.keys.delete(self.rekey(volume))
        self.driver.revert_to_snapshot(self.context, volume, snapshot)
        self.check(volume)
        self.assert_keys(volume)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_killed_when_ceph_has_rolled_it_back(self, provider):
        """The next use of the volume puts its header back."""
        volume = self.filled(provider)
        snapshot = self.snapshot(volume)
        self.disk(volume).write(reader.filling(1, 0x61))
        self.keys.delete(self.rekey(volume))
        with self.pool() as pool:
            kept_aside.keep(pool, volume.name, snapshot.name)
        rbd.RBDDriver.revert_to_snapshot(self.driver, self.context, volume,
                                         snapshot)
        self.assertRaises(exception.WrongPassphrase, self.opened, volume)
        self.driver.initialize_connection(volume, {"host": "here"})
        self.check(volume)
        self.assert_images(images={volume.name: [snapshot.name]})
        self.assert_keys(volume)

    def opened(self, volume):
        with self.pool() as pool, pool.open(
                volume.name, read_only=True) as image:
            unlocking.unlock(image, self.passphrase(volume))

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
