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

"""What users are told of volumes that could not be made."""

from __future__ import annotations

from unittest import mock

from cinder.db import api as db
from cinder import exception as cinder_exception
from cinder.message import message_field
import ddt

from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests.unit.cinder import imaging
from os_brick_rbd_luks.tests import units

ACTION, DETAIL = message_field.Action, message_field.Detail


@ddt.ddt
class MessageTest(imaging.ImageTestCase):

    def told(self):
        """What a user reads: pairs of action and detail of each message."""
        return [(message["action_id"], message["detail_id"])
                for message in db.message_get_all(self.context)]

    def assert_told(self, action, detail):
        self.assertEqual([(action[0], detail[0])], self.told())

    def test_image_is_too_large(self):
        self.refused(self.raw({}, units.GIB + 512),
                     cinder_exception.ImageTooBig)
        self.assert_told(ACTION.COPY_IMAGE_TO_VOLUME,
                         DETAIL.NOT_ENOUGH_SPACE_FOR_IMAGE)

    @ddt.data("luks", None)
    def test_image_is_unacceptable(self, provider):
        image_id = self.encrypted()
        self.glance.set(image_id, properties={"os_encrypt_format": "GPG"})
        self.refused(image_id, cinder_exception.ImageUnacceptable,
                     provider=provider)
        self.assert_told(ACTION.COPY_IMAGE_TO_VOLUME,
                         DETAIL.IMAGE_FORMAT_UNACCEPTABLE)

    def test_download_fails(self):
        image_id = self.raw()
        self.glance.fails_after = imaging.SIZE // 2
        self.refused(image_id)
        # Nothing that a user could mend.
        self.assertEqual([], self.told())

    def away(self):
        """Let the key manager be away from now on."""
        self.addCleanup(setattr, keystore.VAULT, "fail_at", None)
        keystore.VAULT.calls, keystore.VAULT.fail_at = [], 0

    @ddt.data("empty", "clone")
    def test_key_manager_is_away(self, kind):
        if kind == "empty":
            volume, source = self.volume(), {}
        else:
            other = self.create()
            volume = self.volume(source_volid=other.id, key_id=self.keys.copy(
                other.encryption_key_id))
            source = {"source_volid": other.id}
        self.away()
        self.assertRaises(cinder_exception.CinderException,
                          self.build, volume, **source)
        self.assert_told(ACTION.CREATE_VOLUME_FROM_BACKEND,
                         DETAIL.DRIVER_FAILED_CREATE)

    @ddt.data("raw", "iso")
    def test_key_manager_is_away_from_an_image(self, disk_format):
        """Of a file that Cinder has downloaded, its own error hides ours."""
        image_id = self.raw(disk_format=disk_format)
        volume = self.volume()
        self.away()
        self.assertRaises(cinder_exception.CinderException,
                          self.build, volume, image_id=image_id)
        self.assert_told(ACTION.COPY_IMAGE_TO_VOLUME,
                         DETAIL.DRIVER_FAILED_CREATE)

    def test_nothing_fails(self):
        self.of_image(self.raw())
        self.of_image(self.raw(disk_format="iso"), "luks2")
        self.assertEqual([], self.told())


class DownloadingTest(imaging.ImageTestCase):

    def test_status(self):
        """Where the data come as a stream, as where there is a file."""
        found = []
        download = self.glance.download

        def look(*args):
            volume.refresh()
            found.append(volume.status)
            return download(*args)

        for disk_format in ("raw", "iso"):
            image_id = self.raw(disk_format=disk_format)
            volume = self.volume()
            with mock.patch.object(self.glance, "download", look):
                self.build(volume, image_id=image_id)
            self.assertEqual("available", volume.status)
        # Upstream makes the volume when it has the file.
        self.assertEqual(["downloading", "creating"], found)
