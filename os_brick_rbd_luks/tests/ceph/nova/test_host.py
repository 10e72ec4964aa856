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

"""A host's life, and what Nova's driver has of a server afterwards."""

from __future__ import annotations

import libvirt

from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base


class HostTest(base.NovaTestCase):

    own_host = True

    def test_reboot(self):
        volume = self.filled("luks")
        info = self.info(volume)
        booted, _instance = self.boot(info, guests.READER)
        booted.wait("waiting")
        lost, = self.secrets(volume.id)
        self.reboot()
        self.assertEqual({}, self.host.guests())
        self.assertEqual({booted.uuid}, self.host.defined())
        self.assertNotIn(volume.id, self.host.secrets())
        self.find_again(booted)
        error = self.assertRaises(libvirt.libvirtError, booted.domain.create)
        self.assertEqual(libvirt.VIR_ERR_NO_SECRET, error.get_error_code())

        # So does Nova when it starts the host's servers again.
        self.driver._connect_volume(self.context, info, None)
        found, = self.secrets(volume.id)
        # Today the definition that was kept names the secret by a uuid that
        # no secret has any more: only one that Nova makes anew starts.
        self.assertNotEqual(lost.UUIDString(), found.UUIDString())
        error = self.assertRaises(libvirt.libvirtError, booted.domain.create)
        self.assertEqual(libvirt.VIR_ERR_NO_SECRET, error.get_error_code())
        again, _instance = self.boot(info, guests.READER, connect=False)
        self.check(again.finish(), volume)
