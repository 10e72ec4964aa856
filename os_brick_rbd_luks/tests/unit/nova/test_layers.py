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

import ddt
from nova import exception as nova_exception

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests.unit.nova import migrating


class LayersTestCase(migrating.MigratedTestCase):

    release = 18

    def setUp(self):
        super().setUp()
        self.other_host.secrets[self.ceph_uuid] = (
            self.host.secrets[self.ceph_uuid])

    def clone(self, provider="luks2"):
        """A clone with its own key of an encrypted image with another."""
        golden = self.make(provider)
        self.golden = golden
        return self.new_clone(golden)

    def start_on(self, volume):
        self.make = lambda *_arguments: volume
        try:
            self.start(volume.provider)
        finally:
            del self.make

    def usages(self, volume):
        return [volume.id, attachment.secret_below(volume.id, 1)]


@ddt.ddt
class LayersTest(LayersTestCase):

    @ddt.data("luks", "luks2")
    def test_a_secret_for_each_layer(self, provider):
        volume = self.clone(provider)
        self.start_on(volume)
        self.assertEqual(
            dict(zip(self.usages(volume),
                     (volume.passphrase, *volume.below))),
            self.host.volumes())
        element = self.domain.live.find("devices/disk/encryption")
        self.assertEqual(("luks-any", "librbd"),
                         (element.get("format"), element.get("engine")))
        self.assertEqual(
            self.uuids(self.host, *self.usages(volume)),
            [secret.get("uuid") for secret in element.findall("secret")])
        self.disconnect(self.old_info)
        self.assert_nothing_left(self.old_info)

    def test_power_cycle(self):
        self.start_on(self.clone())
        self.domain.stop()
        self.disconnect(self.old_info, destroy_secrets=False)
        self.break_keys()
        self.boot(self.connect(self.old))
        self.assertEqual(self.before[1], self.host.volumes())

    def test_mark_was_lost(self):
        """All secrets go nevertheless."""
        self.start_on(self.clone())
        attachment.unmark(self.old_info)
        self.disconnect(self.old_info)
        self.assert_nothing_left(self.old_info)

    def test_only_its_own_key_is_asked_for(self):
        """What it is a clone of may be gone, and its key with it."""
        volume = self.clone()
        del keymanager.SECRETS[self.golden.key_id]
        self.connect(volume)
        self.assertEqual([volume.passphrase, *volume.below],
                         [self.host.volumes()[usage]
                          for usage in self.usages(volume)])

    def test_secret_of_a_layer_is_missing(self):
        volume = self.clone()
        info = self.connect(volume)
        del self.host.secrets[self.uuids(
            self.host, *self.usages(volume))[1]]
        error = self.assertRaises(exception.MissingSecret, self.config, info)
        self.assertIn(attachment.BELOW, str(error))

    def test_extension(self):
        self.start_on(self.clone())
        content = self.pool.contents[self.old.id]
        content.resize(content.size + base.SIZE)
        self.driver.extend_volume(self.context, self.old_info, self.instance,
                                  2 * base.SIZE)
        self.assertEqual(2 * base.SIZE, self.domain.disks["vda"].size)
        self.assertEqual(2 * base.SIZE, self.decrypted_size(self.old))

    def test_live_migration(self):
        self.start_on(self.clone())
        element = self.encryption(self.prepare())
        self.assertEqual(
            self.uuids(self.other_host, *self.usages(self.old)),
            [secret.get("uuid") for secret in element.findall("secret")])
        self.assertEqual("luks-any", element.get("format"))

    @ddt.data("luks", "luks2")
    def test_swapped_for_one_without_layers(self, provider):
        self.start_on(self.clone())
        new = self.make(provider)
        info = self.info(new)
        self.driver.swap_volume(self.context, self.old_info, info,
                                self.instance, "/dev/vda", 0)
        self.assertEqual({new.id: new.passphrase}, self.host.volumes())
        self.assertEqual(f"volumes/{new.id}", self.domain.source("vda"))

    def test_swapped_for_one_with_layers(self):
        self.start("luks2")
        new = self.clone()
        info = self.info(new)
        self.driver.swap_volume(self.context, self.old_info, info,
                                self.instance, "/dev/vda", 0)
        self.assertEqual(self.usages(new), sorted(self.host.volumes()))
        self.assert_nothing_left(self.old_info)
        self.domain.stop()
        self.domain.start()

    def test_swap_for_one_with_layers_fails(self):
        self.start("luks2")
        new = self.clone()
        info = self.info(new)
        self.host.fail("blockCopy")
        self.assertRaises(
            nova_exception.VolumeRebaseFailed, self.driver.swap_volume,
            self.context, self.old_info, info, self.instance, "/dev/vda", 0)
        self.assert_unchanged()
        self.assert_nothing_left(info)
