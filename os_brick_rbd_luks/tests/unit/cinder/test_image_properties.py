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

"""What Glance says of encrypted images, read and written."""

from __future__ import annotations

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import image_properties

SIZE = imaging.SIZE


class PropertiesTestCase(imaging.ImageTestCase):

    def called(self, image_id, key=None, **properties):
        """Let an image have these properties, and none of Cinder's.

        :param key: the id that it names; its own one by default
        """
        key = key or self.key_of(image_id)
        self.glance.set(image_id, properties={
            name: value for name, value in {
                "os_encrypt_key_id": key, "os_encrypt_format": "LUKSv1",
                "os_decrypt_size": str(SIZE), **properties}.items()
            if value is not None}, cinder_encryption_key_id=None)
        return image_id


@ddt.ddt
class ReadTest(PropertiesTestCase):

    @ddt.data(("luks", "luks"), ("luks", "luks2"), ("luks2", "luks2"))
    @ddt.unpack
    def test_volume_of_it(self, made, provider):
        key_id = self.keys.new()
        image_id = self.called(
            self.encrypted(made, key_id=key_id),
            os_encrypt_format={"luks": "LUKSv1", "luks2": "LUKSv2"}[made])
        volume = self.of_image(image_id, provider)
        # Who owns the image has not the volume's.
        self.assert_opens(volume)
        self.assert_keys(volume, key_id)

    def test_container_format(self):
        image_id = self.called(self.encrypted())
        self.glance.set(image_id, container_format="luks")
        self.assert_opens(self.of_image(image_id))

    def test_reference(self):
        image_id = self.encrypted()
        key_id = self.key_of(image_id)
        self.called(image_id,
                    f"https://keys.example.com:9311/v1/secrets/{key_id}")
        self.assert_opens(self.of_image(image_id))

    def test_cinders_key_comes_first(self):
        image_id = self.encrypted()
        key_id = self.key_of(image_id)
        self.called(image_id, "of another")
        self.glance.set(image_id, cinder_encryption_key_id=key_id)
        volume = self.of_image(image_id, key_id=self.keys.copy(key_id))
        self.assert_opens(volume)

    @ddt.data(
        ({"os_encrypt_format": "GPG"}, "'GPG'"),
        ({"os_encrypt_key_id": None}, "with which key"),
        ({"os_decrypt_size": "some"}, "'some'"))
    @ddt.unpack
    def test_refused(self, properties, why):
        image_id = self.called(self.encrypted(), **properties)
        said = self.refused(image_id, cinder_exception.ImageUnacceptable)
        self.assertIn(why, said)
        self.assertIn(image_id, said)
        self.assertEqual([], self.glance.downloads)
        with self.pool() as pool:
            self.assertEqual([], pool.images())

    def test_qcow2(self):
        image_id = self.called(self.encrypted())
        self.glance.set(image_id, disk_format="qcow2")
        said = self.refused(image_id, cinder_exception.ImageUnacceptable)
        self.assertIn("qemu-img convert", said)
        self.assertEqual([], self.glance.downloads)

    def test_larger_than_the_volume(self):
        image_id = self.called(self.encrypted(),
                               os_decrypt_size=str(units.GIB + 1))
        said = self.refused(image_id, cinder_exception.ImageTooBig)
        self.assertIn("2 GiB", said)
        self.assertEqual([], self.glance.downloads)

    @ddt.data(True, False)
    def test_volume_without_encryption(self, cinders):
        """Its guest would have cipher text."""
        image_id = self.encrypted()
        if not cinders:
            self.called(image_id)
        said = self.refused(image_id, cinder_exception.ImageUnacceptable,
                            provider=None)
        self.assertIn("volume type with encryption", said)
        volume = self.create(None)
        self.assertRaises(
            cinder_exception.ImageUnacceptable,
            self.driver.copy_image_to_volume, self.context, volume,
            self.glance, image_id)
        self.assertEqual([], self.glance.downloads)

    def test_reimage(self):
        volume = self.filled()
        self.assertRaises(
            cinder_exception.ImageUnacceptable,
            self.driver.copy_image_to_encrypted_volume, self.context, volume,
            self.glance, self.called(self.encrypted(),
                                     os_encrypt_format="GPG"))
        self.check(volume)
        self.driver.copy_image_to_encrypted_volume(
            self.context, volume, self.glance, self.called(self.encrypted()))
        self.assert_opens(volume)


@ddt.ddt
class WrittenTest(PropertiesTestCase):

    def setUp(self):
        super().setUp()
        # A gibibyte takes Python's AES seconds, and shows nothing else.
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", SIZE)

    def upload(self, volume, **properties):
        if volume.encryption_key_id:
            properties.update(
                cinder_encryption_key_id=self.keys.copy(
                    volume.encryption_key_id),
                cinder_encryption_key_deletion_policy="on_image_deletion")
        image_id = self.glance.add(properties=properties)
        self.driver.copy_volume_to_image(
            self.context, volume, self.glance,
            self.glance.show(self.context, image_id))
        return self.glance.show(self.context, image_id)["properties"]

    @ddt.data("luks", "luks2")
    def test_as_the_data_are(self, provider):
        found = self.upload(
            self.create(provider), hw_disk_bus="scsi",
            # Of the image that the volume was made of.
            os_encrypt_key_id="of another", os_encrypt_format="LUKSv2")
        self.assertEqual({
            "hw_disk_bus": "scsi",
            "cinder_encryption_key_id": found["os_encrypt_key_id"],
            "cinder_encryption_key_deletion_policy": "on_image_deletion",
            "os_encrypt_key_id": found["cinder_encryption_key_id"],
            "os_encrypt_key_deletion_policy": "on_image_deletion",
            "os_encrypt_format": "LUKSv1",
            "os_decrypt_size": str(SIZE)}, found)

    def test_policy_forbids_it(self):
        self.glance.protected = frozenset({image_properties.FORMAT})
        with self.assertLogs(image_properties.LOG, "WARNING") as logged:
            found = self.upload(self.create("luks2"))
        self.assertNotIn(image_properties.SIZE, found)
        self.assertIn("only Cinder's own", logged.output[0])

    @ddt.data({}, {"hw_disk_bus": "scsi"})
    def test_volume_without_encryption(self, others):
        """It was retyped: what its image is encrypted with is not its own."""
        found = self.upload(self.create(None), **others, **dict.fromkeys(
            image_properties._ALL, "of another"))
        self.assertEqual(others, found)
