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

"""Images of handles that os-brick, and Cinder's backup drivers, make."""

from __future__ import annotations

from unittest import mock

from os_brick.initiator import linuxrbd
import testtools

from os_brick_rbd_luks.image import brick
from os_brick_rbd_luks.tests.fakes import ceph


class Proxy:
    """As eventlet's, which any attribute that is a proxy goes through."""

    def __init__(self, item):
        self._obj = item

    def __getattr__(self, name):
        return lambda *args: getattr(self._obj, name)(*args)


class BareHandleTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        # The bindings name the errors to translate.
        self.useFixture(ceph.Ceph())

    def handle(self, image):
        return linuxrbd.RBDVolumeIOWrapper(linuxrbd.RBDImageMetadata(
            image, "backups", "cinder", "ceph.conf"))

    def test_an_image_alone(self):
        """As Cinder's Ceph backup driver has it, in a proxy or in two."""
        image = mock.Mock(spec=["size", "flush", "close",
                                "require_not_closed"])
        image.size.return_value = 5
        for handle in (self.handle(image), self.handle(Proxy(image)),
                       Proxy(self.handle(Proxy(image)))):
            found = brick.over_bare_handle(handle, "base")
            self.assertIs(image, found._image)
            self.assertEqual(("base", 5), (found.name, found.size()))

    def test_os_bricks_volume(self):
        volume = mock.Mock()
        volume.client.client.get_instance_id.return_value = 7
        for handle in (self.handle(volume), Proxy(self.handle(volume))):
            found = brick.over_bare_handle(handle, "volume")
            self.assertIs(volume, found._image)
            self.assertIs(volume.client.ioctx, found._ioctx)
            self.assertEqual(7, found._client_id)
