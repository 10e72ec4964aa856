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

"""Empty volumes, and how they grow and go."""

from __future__ import annotations

import inspect

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import driver
from os_brick_rbd_luks.volume import volume_keys


@ddt.ddt
class CreateTest(base.DriverTestCase):

    @ddt.data(*base.PROVIDERS)
    def test_create(self, provider):
        volume = self.filled(provider, size=2)
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)
        self.assert_nothing_is_open()
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data("luks", "luks2")
    def test_offset_is_aligned(self, provider):
        content = self.content(self.create(provider))
        self.assertEqual(0, (content.size - units.GIB)
                         % content.stripe_period)

    def test_object_size_is_the_backends(self):
        self.option(rbd_store_chunk_size=8)
        volume = self.filled()
        self.assertEqual(8 * units.MIB, self.content(volume).object_size)
        self.check(volume)

    @ddt.data("luks", "luks2")
    def test_extend(self, provider):
        volume = self.filled(provider)
        self.extend(volume, 3)
        self.check(volume, base.data(1))
        self.write(volume, base.data(3, b"B"))
        self.check(volume, base.data(3, b"B"))

    def test_plain_volumes_are_upstreams(self):
        volume = self.create(None)
        self.assertEqual(units.GIB, self.content(volume).size)
        self.extend(volume, 2)
        self.assertEqual(2 * units.GIB, self.content(volume).size)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data("luks", "luks2")
    def test_each_call_fails(self, provider):
        volume = self.volume(provider)

        def check(worked, _name):
            if worked:
                self.check(volume, {})
                self.driver.delete_volume(volume)
            self.assert_images()
            self.assert_keys(volume)
            self.assert_nothing_is_open()

        self.each_call_fails(lambda: self.driver.create_volume(volume),
                             check)

    def test_each_call_of_the_key_manager_fails(self):
        def check(worked, name):
            self.assertEqual((False, "get"), (worked, name))
            self.assert_images()
            self.assert_keys(volume)

        volume = self.volume()
        self.each_key_call_fails(lambda: self.driver.create_volume(volume),
                                 check)

    @ddt.data("luks", "luks2")
    def test_extending_fails(self, provider):
        volume = self.filled(provider)

        def check(worked, _name):
            self.assertFalse(worked and self.content(volume).size
                             < 2 * units.GIB)
            # The size that it had, or the new one; nothing else is lost.
            self.assert_opens(volume)
            self.extend(volume, 2)
            self.check(volume, base.data(1))

        self.each_call_fails(lambda: self.driver.extend_volume(volume, 2),
                             check)

    def test_unknown_provider(self):
        volume = self.volume("plain")
        self.assertRaises(cinder_exception.VolumeDriverException,
                          self.driver.create_volume, volume)
        self.assert_images()
        self.assert_keys(volume)


class ErrorsTest(base.DriverTestCase):
    """What Cinder's manager gets from the driver is Cinder's."""

    def test_bad_cipher(self):
        """It is met before anything of ours translates."""
        volume = self.volume("luks2")
        self.mock_object(volume_keys, "options", side_effect=(
            exception.InvalidParameter(name="cipher", value="rot13",
                                       reason="is not known")))
        self.mock_object(self.driver, "_is_replicated_type",
                         return_value=True)
        error = self.assertRaises(cinder_exception.VolumeBackendAPIException,
                                  self.driver.create_volume, volume)
        self.assertIn("cipher 'rot13' is not known", str(error))
        self.assertIsInstance(error.__cause__, exception.InvalidParameter)

    def test_every_method(self):
        for name, function in vars(driver.RBDLuksDriver).items():
            if inspect.isfunction(function) and not name.startswith("_"):
                self.assertTrue(hasattr(function, "__wrapped__"), name)

    def test_signatures_stay(self):
        self.assertEqual(
            ["self", "context", "volume", "image_service", "image_id",
             "disable_sparse"],
            [*inspect.signature(driver.RBDLuksDriver
                                .copy_image_to_encrypted_volume).parameters])
