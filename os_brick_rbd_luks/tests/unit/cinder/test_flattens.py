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

"""Every flatten counts for upstream's limit of them."""

from __future__ import annotations

from cinder import objects

from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import own_headers


class _Limit:
    """Upstream's semaphore, which is not asked twice by one request."""

    def __init__(self):
        self.held = False

    def __enter__(self):
        assert not self.held
        self.held = True

    def __exit__(self, *_exc_info):
        self.held = False


class FlattenTestCase(imaging.ImageTestCase):

    def setUp(self):
        super().setUp()
        self.patch("os_brick_rbd_luks.volume.encrypted.GIB", 32 * units.MIB)
        #: whether each flatten had the limit's permission
        self.permitted = []
        self.limit = self.driver._semaphore = _Limit()
        flatten = rbd_image.RBDImage.flatten

        def counted(image, *args, **kwargs):
            self.permitted.append(self.limit.held)
            return flatten(image, *args, **kwargs)

        self.mock_object(rbd_image.RBDImage, "flatten", counted)

    def assert_permitted(self):
        self.assertEqual([True], self.permitted)
        self.assertFalse(self.limit.held)


class OwnHeaderTest(FlattenTestCase):

    release = 18

    def layered(self):
        return self.of_image(self.in_ceph(), "luks2")

    def test_make_independent(self):
        volume = self.layered()
        with self.driver._encrypted(volume) as ours:
            own_headers.make_independent(ours)
        self.assert_permitted()
        self.assert_opens(volume)

    def test_upstreams_way(self):
        volume = self.layered()
        with self.driver._encrypted(volume):
            self.driver._flatten("volumes", volume.name)
        self.assert_permitted()

    def test_backup_of_a_clone(self):
        volume = self.layered()
        device = self.driver._create_temp_cloned_volume(self.context, volume)
        self.patch("cinder.volume.driver.BaseVD.get_backup_device",
                   return_value=(device, False))
        self.patch("os_brick_rbd_luks.copies.fill.fill_holes", return_value=7)
        backup = objects.Backup(
            context=self.context, volume_id=volume.id, status="creating",
            user_id=volume.user_id, project_id=volume.project_id,
            size=volume.size, host="here",
            service="cinder.backup.drivers.posix.PosixBackupDriver")
        backup.create()
        self.driver.get_backup_device(self.context, backup)
        self.assert_permitted()


class LargerCloneTest(FlattenTestCase):
    """What librbd of Ceph 16 cannot read is flattened."""

    def test_clone(self):
        source = self.create("luks2")
        clone = self.clone(source, 2)
        self.assert_permitted()
        self.assert_opens(source)
        self.assertIsNone(self.content(clone).parent)

    def test_extension(self):
        source = self.create("luks2")
        clone = self.clone(source)
        self.assertEqual([], self.permitted)
        self.extend(clone, 2)
        self.assert_permitted()

    def test_not_while_nothing_is_flattened(self):
        volume = self.create("luks2")
        with self.limit:
            # It would be asked twice.
            self.extend(volume, 2)
        self.assertEqual([], self.permitted)

    def test_without_a_limit(self):
        """As Cinder 21 has none."""
        del self.driver._semaphore
        self.clone(self.create("luks2"), 2)
        self.assertEqual([False], self.permitted)
