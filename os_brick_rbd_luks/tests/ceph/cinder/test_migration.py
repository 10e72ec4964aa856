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

"""Migration and retype, with upstream's manager on both sides."""

from __future__ import annotations

from unittest import mock

from cinder import exception as cinder_exception
import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.ceph.cinder import image_base as base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import volumes
from os_brick_rbd_luks.volume import volume_keys


@ddt.ddt
class MigrationTest(volumes.Moves, base.ImageTestCase):

    def setUp(self):
        super().setUp()
        # Its user may write to that pool only.
        self.other = self.make_backend(pool="images", user="admin")
        self.patch("cinder.volume.rpcapi.VolumeAPI",
                   return_value=volumes.InProcess(self.backend, self.other))
        for backend in (self.backend, self.other):
            self.patch_object(backend, "publish_service_capabilities")

    def patch_object(self, target, name):
        self.mock_object(target, name)

    def place(self, backend):
        """A host as the scheduler names it."""
        backend.driver.get_volume_stats(refresh=True)
        return {"host": f"{backend.host}#pool", "cluster_name": None,
                "capabilities": {
                    **backend.driver._stats,
                    "location_info": backend.driver._stats.get(
                        "location_info")}}

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_to_another_pool(self, provider):
        self.override_config("rbd_user", "admin",
                             self.driver.configuration.config_group)
        volume = self.filled(provider)
        self.migrate(volume, False)
        self.check(volume, pool="images")
        self.assert_images()
        self.assert_images(volume, pool="images")
        self.assert_keys(volume)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_d5_to_another_backend(self, provider):
        volume = self.filled(provider)
        # Who migrates is an administrator, who gets nobody's keys.
        with mock.patch.object(volume_keys.Keys, "passphrase", autospec=True,
                               side_effect=AssertionError):
            self.migrate(volume, True)
        self.check(volume, pool="images")
        self.assert_images()
        self.assert_keys(volume)

    def test_d5_clone_to_another_backend(self):
        source = self.filled("luks2")
        clone = self.clone(source)
        self.migrate(clone, True)
        self.check(clone, pool="images")
        self.check(source)
        self.assert_images(source)
        self.assert_keys(source, clone)

    @ddt.data(True, False)
    def test_zeros_of_an_image(self, generic):
        """They need not be stored; what is written for holes is noise."""
        self.override_config("rbd_user", "admin",
                             self.driver.configuration.config_group)
        size = 96 * units.MIB
        data = [reader.Extent(0, 0x61), reader.Extent(72 * units.MIB, 0x62)]
        volume = self.of_image(self.rbd_image(size, data), "luks2")
        # All of the image: 64 MiB of zeros, and some that are less.
        expected = [*data, *(
            reader.Extent(offset, 0, end - offset) for offset, end in (
                (data[0].length, 4 * units.MIB),
                (4 * units.MIB, 68 * units.MIB),
                (68 * units.MIB, data[1].offset),
                (data[1].offset + data[1].length, size)))]
        self.check(volume, expected)
        with self.pool() as pool, pool.open(volume.name) as image:
            before = None if image.parent() else [*image.extents()]
        self.migrate(volume, generic)
        self.check(volume, expected, pool="images")
        with self.pool("images") as pool, pool.open(volume.name) as image:
            # Where librbd flattens a clone, it writes the zeros of its parent.
            if before is not None:
                self.assertEqual(before, [*image.extents()])

    @ddt.data(("luks", "luks2"), ("luks2", "luks"))
    @ddt.unpack
    def test_m2_retype_to_another_format(self, before, after):
        self.patch("cinder.volume.volume_utils.copy_volume",
                   side_effect=AssertionError)
        volume = self.filled(before)
        old = volume.encryption_key_id
        self.retype(volume, self.volume_type(after))
        self.assertNotEqual(old, volume.encryption_key_id)
        self.check(volume)
        self.assertEqual(after == "luks2", self.is_luks2(volume))
        self.assert_images(volume)
        self.assert_keys(volume)

    def test_m2_retype_from_plain(self):
        volume = self.create(type_id=self.volume_type(None))
        extents = reader.filling(1)
        with self.pool() as pool, pool.open(volume.name) as image:
            for extent in extents:
                image.write(extent.offset,
                            bytes([extent.value]) * extent.length)
        # All of it fits (fault S3).
        self.retype(volume, self.volume_type("luks"))
        self.check(volume, extents)
        self.assert_images(volume)
        self.assert_keys(volume)

    @ddt.data(*selection.cases("luks", full=["luks2"]))
    def test_m2_retype_to_plain(self, provider):
        volume = self.filled(provider)
        self.retype(volume, self.volume_type(None), self.other)
        self.assertIsNone(volume.encryption_key_id)
        with self.pool("images") as pool, pool.open(volume.name) as image:
            self.assertEqual(units.GIB, image.size())
            for extent in reader.filling(1):
                self.assertEqual(
                    bytes([extent.value]) * extent.length,
                    image.read(extent.offset, extent.length))
        self.assert_images()
        self.assert_keys()

    @selection.full
    def test_retype_fails(self):
        volume = self.filled()
        self.patch("os_brick_rbd_luks.copies.copying.copy",
                   side_effect=exception.ImageFull(action="write"))
        volume.previous_status, volume.status = "available", "retyping"
        volume.save()
        self.assertRaises(
            cinder_exception.VolumeBackendAPIException, self.backend.retype,
            self.context, volume, self.volume_type("luks2"),
            self.place(self.backend), migration_policy="on-demand")
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)

    def test_m6_size_of_one_to_manage(self):
        source = self.filled(size=2)
        volume = self.volume(size=0)
        self.assertEqual(2, self.driver.manage_existing_get_size(
            volume, {"source-name": source.name}))
        plain = self.create(type_id=self.volume_type(None))
        self.assertRaises(
            cinder_exception.ManageExistingInvalidReference,
            self.driver.manage_existing_get_size, volume,
            {"source-name": plain.name})
        volume.encryption_key_id = None
        error = self.assertRaises(
            cinder_exception.ManageExistingVolumeTypeMismatch,
            self.driver.manage_existing_get_size, volume,
            {"source-name": source.name})
        self.assertIn("key", str(error))
