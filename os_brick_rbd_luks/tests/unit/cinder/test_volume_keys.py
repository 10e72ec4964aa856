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

"""New keys of volumes."""

from __future__ import annotations

from unittest import mock

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.volume import volume_keys


@ddt.ddt
class NewKeyTest(base.DriverTestCase):

    def calls_of_a_clone(self):
        """What a clone asks of the key manager, and it."""
        source = self.filled()
        volume = self.volume(
            type_id=source.volume_type_id, source_volid=source.id,
            key_id=self.keys.copy(source.encryption_key_id))
        keystore.VAULT.calls.clear()
        self.patch("cinder.volume.volume_utils."
                   "brick_get_connector_properties",
                   side_effect=AssertionError("attached by os-brick"))
        self.build(volume, source_volid=source.id)
        calls = [*keystore.VAULT.calls]
        self.check(volume)
        return calls, volume

    def test_made_here(self):
        """Three calls, where one for its bytes is not needed."""
        calls, volume = self.calls_of_a_clone()
        self.assertEqual(["get", "store", "delete"], calls)
        key = keystore.VAULT.secrets[volume.encryption_key_id]
        self.assertEqual(
            (f"LUKS passphrase of volume {volume.id}", "aes", 256, 32),
            (key.name, key.algorithm, key.bit_length,
             len(key.get_encoded())))

    def test_made_by_the_key_manager(self):
        self.option(rbd_luks_keys_by_key_manager=True)
        calls, volume = self.calls_of_a_clone()
        self.assertEqual(["get", "create_key", "get", "delete"], calls)
        self.assertIn(volume.encryption_key_id, keystore.VAULT.secrets)

    def test_never_shown(self):
        made = volume_keys.Made("id", b"very secret")
        self.assertNotIn("secret", repr(made))

    @ddt.data("cipher", "key_size")
    def test_type_says_too_little(self, what):
        source = self.filled()
        record = self.volume(type_id=source.volume_type_id)
        with mock.patch.object(
                volume_keys, "metadata", autospec=True,
                return_value={"provider": "luks", "cipher": "aes-xts-plain64",
                              "key_size": 256, what: None}):
            error = self.assertRaises(
                cinder_exception.VolumeDriverException,
                volume_keys.Keys(self.context).make, record)
        self.assertIn(record.id, str(error))
