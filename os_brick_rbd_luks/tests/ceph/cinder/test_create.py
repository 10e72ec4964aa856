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

"""Empty volumes."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader


@ddt.ddt
class CreateTest(base.DriverTestCase):

    @ddt.data(*base.PROVIDERS)
    def test_create(self, provider):
        volume = self.filled(provider, size=2)
        self.check(volume)
        self.assert_images(volume)
        self.assert_keys(volume)
        self.delete(volume)
        self.assert_nothing_left()

    @ddt.data(*base.PROVIDERS)
    def test_extend(self, provider):
        volume = self.filled(provider)
        self.extend(volume, 3)
        self.check(volume, reader.filling(1))
        self.disk(volume).write(reader.filling(3, 0x61))
        self.check(volume, reader.filling(3, 0x61))
