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

"""A host's life, and what becomes of guests with encrypted disks in it."""

from __future__ import annotations

import ddt
import libvirt

from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests import selection

PROVIDERS = {"luks1": base.PROVIDER, "luks2": base.LUKS2_PROVIDER}


@ddt.ddt
class HostTest(base.AttachmentTestCase):

    own_host = True

    def start(self, header):
        """A guest that writes to an encrypted volume all the while."""
        self.usage = self.volume(header=header)
        self.info = self.connection_info(self.usage)
        self.attach(self.info, provider=PROVIDERS[header])
        self.ceph_usage = self.id()
        self.booted = self.guest(self.disk(self.info), guests.WRITER)
        self.booted.wait("ack 3\n")

    def acknowledged(self):
        """The last block that the guest knows to be safe."""
        return guests.acknowledged(self.booted.output())[-1]

    def assert_written(self, header, last):
        """All blocks up to that one are on the volume."""
        with self.pool.open(self.usage) as image:
            image.load_encryption(header, self.passphrase)
            for number in range(1, last + 1):
                self.assertEqual(guests.block(number), image.read(
                    number * guests.BLOCK, guests.BLOCK))

    @ddt.data(*selection.cases("luks1", full=("luks2",)))
    def test_restart_of_libvirtd(self, header):
        self.start(header)
        self.assertEqual(sorted([self.usage, self.ceph_usage]),
                         self.host.secrets())
        running, written = self.host.guests(), self.acknowledged()
        self.assertEqual([self.booted.uuid], [*running])
        self.host.restart_libvirtd()
        # The same process: it goes on, and needs no secret for that.
        self.assertEqual(running, self.host.guests())
        self.booted.wait(f"ack {written + 5}\n")
        # What was in memory only is forgotten.
        self.assertEqual([self.ceph_usage], self.host.secrets())
        self.find_again(self.booted)
        self.assertTrue(self.booted.is_running())
        self.booted.destroy()
        self.assertEqual({}, self.host.guests())
        self.assertEqual({}, self.host.processes())
        self.assert_written(header, self.acknowledged())

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_reboot(self, header):
        self.start(header)
        with self.host.connection() as connection:
            connection.defineXML(self.booted.domain.XMLDesc())
        self.host.reboot()
        self.assertEqual(({}, {}), (self.host.guests(),
                                    self.host.processes()))
        self.assertEqual({self.booted.uuid}, self.host.defined())
        self.assertEqual([self.ceph_usage], self.host.secrets())
        self.assert_written(header, self.acknowledged())

        self.find_again(self.booted)
        self.assert_not_started_without_a_secret()
        # Who attaches the volume again publishes it.
        self.attach(self.info, provider=PROVIDERS[header])
        # QEMU opens the disk before the guest starts.
        self.booted.domain.create()
        self.assertEqual([self.booted.uuid], [*self.host.guests()])

    def assert_not_started_without_a_secret(self):
        """What happens today: libvirt refuses, and says which one it lacks.

        Nothing publishes the secrets again by itself.
        """
        error = self.assertRaises(libvirt.libvirtError,
                                  self.booted.domain.create)
        self.assertEqual(libvirt.VIR_ERR_NO_SECRET, error.get_error_code())
        self.assertIn(self.usage, str(error))
        self.assertEqual({}, self.host.guests())
