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

import ddt
import libvirt
from nova.virt import fake

from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base


@ddt.ddt
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
        # What was defined before names it.
        self.assertEqual(lost.UUIDString(), found.UUIDString())
        booted.domain.create()
        self.assertTrue(booted.domain.isActive())
        booted.domain.destroy()
        again, _instance = self.boot(info, guests.READER, connect=False)
        self.check(again.finish(), volume)

    @ddt.data("luks", "luks2")
    def test_suspended_while_libvirtd_is_restarted(self, provider):
        """Its memory comes back, in which what it wrote last is not safe."""
        volume = self.filled(provider)
        info = self.info(volume)
        booted, instance = self.boot(info, guests.WRITER)
        booted.wait("ack 3")
        self.driver._host.get_guest(instance).save_memory_state()
        self.host.restart_libvirtd()
        self.driver = self.make_driver()
        self.assertNotIn(volume.id, self.host.secrets())
        self.find_again(booted)
        self.assertTrue(booted.domain.hasManagedSaveImage())
        # No network has to be waited for.
        self.driver.virtapi = fake.FakeVirtAPI()
        self.driver.resume(self.context, instance, [], {
            "block_device_mapping": [{"connection_info": info}]})
        self.find_again(booted)
        self.assertTrue(booted.domain.isActive())
        self.assertFalse(booted.domain.hasManagedSaveImage())
        written = booted.output().count("ack")
        booted.wait(f"ack {written + 32}")
