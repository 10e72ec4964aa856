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

"""Servers on clones whose layers have keys of their own."""

from __future__ import annotations

import re

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests.ceph.nova import hosts
from os_brick_rbd_luks.tests import selection


@ddt.ddt
@selection.needs("layers")
class LayersTest(hosts.MigrationTestCase):

    def clone(self, provider="luks2"):
        """A clone with its own key of an encrypted image with another."""
        volume = self.new_clone(self.prepared(provider))
        self.addCleanup(cloning.remove, self.pool, volume.id)
        self.addCleanup(self.remove_secrets, volume.id)
        self.addCleanup(self.remove_secrets,
                        attachment.secret_below(volume.id, 1))
        return volume

    def uuids(self):
        """Of the secrets of both layers on the present host."""
        return [secret.UUIDString() for usage in (
            self.old.id, attachment.secret_below(self.old.id, 1))
            for secret in self.secrets(usage)]

    def assert_uses(self, uuids):
        """That the server's disk has these secrets, in that order."""
        xml = self.booted.domain.XMLDesc()
        self.assertIn("format='luks-any' engine='librbd'", xml)
        self.assertEqual(2, len(uuids))
        self.assertEqual(uuids, re.findall(
            "<secret type='passphrase' uuid='(.*?)'", xml))

    @ddt.data(*selection.cases("luks2", full=("luks",)))
    def test_power_cycle_and_extension(self, provider):
        self.start_on(self.clone(provider))
        self.assert_uses(self.uuids())
        self.extend(self.old, 2 * base.SIZE)
        self.driver.extend_volume(self.context, self.old_info, self.instance,
                                  self.old.size)
        self.wait_for_size(2 * base.SIZE)
        self.booted.destroy()
        self.driver._disconnect_volume(self.context, self.old_info, None,
                                       destroy_secrets=False)
        kept = self.uuids()
        self.booted, self.instance = self.boot(self.old_info, guests.WRITER)
        self.assert_uses(kept)
        self.written(10)
        self.assertEqual(base.END, self.read(
            self.old, base.SIZE - 512, 512))
        self.booted.destroy()
        self.driver._disconnect_volume(self.context, self.old_info, None)
        self.assertEqual([], self.uuids())
        self.assertNotIn(attachment.KEY, self.old_info["data"])

    @selection.full
    def test_live_migration(self):
        self.start_on(self.clone())
        before = self.uuids()
        _devices, received = self.prepare()
        self.assertEqual(["moved"], self.migrate(received))
        self.leave()
        self.assertEqual([], self.uuids())
        self.assert_moved()
        with self.there():
            after = self.uuids()
        self.assert_uses(after)
        # They follow from the volume's id, on every host.
        self.assertEqual(before, after)
        self.assert_complete(self.old)

    @ddt.data("luks", "luks2")
    @selection.full
    def test_swapped_for_one_without_layers(self, provider):
        self.start_on(self.clone())
        other = self.make(provider)
        self.swap(other, self.info(other))
        self.assertEqual([], self.uuids())
        self.written(10)
        self.assert_complete(other)

    @selection.full
    def test_swapped_for_one_with_layers(self):
        """Nothing of what the layers below have shows through."""
        self.start("luks2")
        other = self.clone()
        self.swap(other, self.info(other))
        self.written(10)
        self.assert_complete(other)
        self.old = other
        self.assert_uses(self.uuids())
