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

"""What a volume type says, for encrypted volumes as for others."""

from __future__ import annotations

from cinder import exception as cinder_exception
from cinder import objects
from cinder.volume import qos_specs
import ddt

from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests import selection


@ddt.ddt
class TypeTest(base.DriverTestCase):

    def key_bytes(self, volume):
        """The length of a volume's volume key."""
        with self.pool() as pool, pool.open(volume.name) as image:
            return len(unlocking.unlock(
                image, self.passphrase(volume)).volume_key)

    def features(self, volume):
        """RBD's features of a volume's image."""
        with self.pool() as pool, pool.open(volume.name) as image:
            return image._image.features()

    @ddt.data(*selection.cases((256, 64), full=[(128, 32)]))
    @ddt.unpack
    def test_h12_key_size(self, bits, key_bytes):
        for provider in ("luks", "luks2"):
            volume = self.create(type_id=self.volume_type(
                provider, key_size=bits))
            self.check(volume, [])
            self.assertEqual(key_bytes, self.key_bytes(volume))

    def test_h12_key_size_of_512(self):
        volume = self.volume(type_id=self.volume_type(key_size=512))
        self.assertRaises(cinder_exception.CinderException, self.build,
                          volume)
        self.assert_images()

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_m7_multiattach(self, provider):
        volume = self.create(type_id=self.volume_type(
            provider, multiattach="<is> True"))
        self.assertEqual(
            0, self.features(volume) & self.driver.MULTIATTACH_EXCLUSIONS)
        self.assertIn("saved_features", volume.provider_location)
        self.check(volume, [])
        clone = self.clone(volume)
        self.assertEqual(
            0, self.features(clone) & self.driver.MULTIATTACH_EXCLUSIONS)
        self.assertIn("saved_features", clone.provider_location)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_m7_qos(self, provider):
        type_id = self.volume_type(provider)
        specs = qos_specs.create(self.context, "q", {
            "consumer": "back-end", "total_iops_sec": "1234"})
        qos_specs.associate_qos_with_type(self.context, specs["id"], type_id)
        volume = self.create(type_id=type_id)
        with self.pool() as pool, pool.open(volume.name) as image:
            self.assertEqual("1234", image.note("conf_rbd_qos_iops_limit"))

    def test_m8_replication_needs_luks1(self):
        replicated = {"replication_enabled": "<is> True"}
        volume = self.volume(type_id=self.volume_type("luks2", **replicated))
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.driver.create_volume, volume)
        self.assert_images()
        volume = self.create("luks2")
        new_type = objects.VolumeType.get_by_id(
            self.context, self.volume_type("luks2", **replicated))
        self.assertRaises(
            cinder_exception.VolumeDriverException, self.driver.retype,
            self.context, volume, new_type, {}, None)
        self.assertEqual(0, self.features(volume) & (
            librbd.bindings().RBD_FEATURE_JOURNALING))

    def test_m7_replication(self):
        enable = self.patch(
            "cinder.volume.drivers.rbd.RBDDriver._enable_replication",
            return_value={"replication_status": "enabled"})
        volume = self.create(type_id=self.volume_type(
            "luks", replication_enabled="<is> True"))
        self.assertEqual(1, enable.call_count)
        self.assertEqual("enabled", volume.replication_status)
        self.check(volume, [])

    def test_m7_nothing_is_left_when_features_fail(self):
        self.patch("cinder.volume.drivers.rbd.RBDDriver._enable_multiattach",
                   side_effect=cinder_exception.VolumeBackendAPIException(
                       data="no"))
        volume = self.volume(type_id=self.volume_type(
            multiattach="<is> True"))
        self.assertRaises(cinder_exception.VolumeBackendAPIException,
                          self.driver.create_volume, volume)
        self.assert_images()

    def test_p7_no_kdf_is_measured(self):
        # Under load, that is what fails upstream's creation now and then.
        self.patch("cinder.utils.execute",
                   side_effect=AssertionError("a process was started"))
        self.driver._execute = None
        volume = self.volume()
        self.driver.create_volume(volume)
        self.check(volume, [])

    def test_unknown_provider(self):
        volume = self.volume(type_id=self.volume_type("plain"))
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.driver.create_volume, volume)
        self.assert_images()
