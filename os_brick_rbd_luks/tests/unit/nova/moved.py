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

"""A server on a volume that Cinder gives the name of another."""

from __future__ import annotations

from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import swapping

FIRST = "first-id"


class MovedTestCase(swapping.SwapTestCase):

    def renamed(self, info, name=FIRST):
        """As Nova keeps a connection when Cinder has renamed its volume."""
        volume = self.cinder.volumes[info["serial"]]
        self.cinder.volumes[name] = records.Volume(
            name, volume.size, volume.provider, volume.key_id,
            volume.passphrase)
        info["serial"] = info["data"]["volume_id"] = name
        return info

    def uuid(self, usage):
        return self.host.find(fake.VIR_SECRET_USAGE_TYPE_VOLUME, usage).uuid
