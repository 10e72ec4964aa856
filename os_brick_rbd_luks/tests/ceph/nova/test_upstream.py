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

"""An unmodified nova-compute, which knows us only by os-brick."""

from __future__ import annotations

import ddt
import fixtures
from nova import privsep

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.tests.ceph.attach import base as attach
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


@ddt.ddt
class UnmodifiedTest(base.NovaTestCase):

    loaded = False

    def assert_no_secret_left(self, volume):
        """The mark is thrown away by Nova, with the connection it is in.

        Where libvirt has a secret, Nova removes that and asks no encryptor.
        """
        self.assertEqual([], self.secrets(volume.id))

    @ddt.data(*selection.cases("luks", full=(attach.PROVIDER,)))
    def test_boot_from_volume(self, provider):
        volume = self.filled(provider)
        info = self.info(volume)
        booted, _instance = self.boot(info, guests.READER)
        said = booted.finish()
        self.check(said, volume)
        self.check_end(said)
        self.driver._disconnect_volume(self.context, info, None)
        self.assert_no_secret_left(volume)
        self.assertEqual(b"G" * units.MIB, self.read(
            volume, 16 * units.MIB, units.MIB))

    @ddt.data("luks", attach.PROVIDER)
    @selection.full
    def test_attach_and_detach(self, provider):
        root, volume = self.make(""), self.filled(provider)
        booted, instance = self.boot(self.info(root), guests.HOTPLUG)
        booted.wait("ready")
        info = self.info(volume)
        self.driver.attach_volume(self.context, info, instance, "/dev/vdb",
                                  disk_bus="virtio")
        booted.wait("attached")
        self.driver.detach_volume(self.context, info, instance, "/dev/vdb")
        booted.wait("detached")
        self.check(booted.said(), volume)
        self.assert_no_secret_left(volume)
        self.assertEqual(b"G" * units.MIB, self.read(
            volume, 16 * units.MIB, units.MIB))

    @selection.full
    def test_extend(self):
        """The class path: os-brick's encryptor is asked for the size."""
        volume = self.make(attach.PROVIDER)
        info = self.info(volume)
        booted, instance = self.boot(info, guests.WATCHER)
        booted.wait(f"size {volume.size}")
        self.extend(volume, 2 * base.SIZE)
        self.driver.extend_volume(self.context, info, instance, volume.size)
        booted.wait(f"size {2 * base.SIZE}")

    @selection.full
    def test_extend_by_the_name_luks(self):
        """Nova does not ask os-brick then, and takes the header's size off.

        QEMU cuts the image by as much, in the part that was added.
        """
        # Nova runs qemu-img as root, which finds the cluster by itself.
        privsep.sys_admin_pctxt.set_client_mode(False)
        self.addCleanup(privsep.sys_admin_pctxt.set_client_mode, True)
        self.useFixture(fixtures.EnvironmentVariable("CEPH_CONF", self.conf))
        volume = self.filled("luks")
        info = self.info(volume)
        booted, instance = self.boot(info, guests.WATCHER)
        booted.wait(f"size {volume.size}")
        self.extend(volume, 2 * base.SIZE)
        self.driver.extend_volume(self.context, info, instance, volume.size)
        with self.pool.open(volume.id) as image:
            offset = header_io.read_header(image).data_offset
            booted.wait(f"size {2 * base.SIZE - offset}")
            self.assertEqual(2 * base.SIZE, image.size())
            booted.destroy()
            # As the documentation says.
            resizing.resize(image, 2 * base.SIZE)
            self.assertEqual(2 * base.SIZE + offset, image.size())
        self.assertEqual(base.END, self.read(volume, base.SIZE - 512, 512))

    @ddt.data("luks", attach.PROVIDER)
    @selection.full
    def test_power_cycle(self, provider):
        volume = self.filled(provider)
        info = self.info(volume)
        booted, _instance = self.boot(info, guests.READER)
        booted.finish()
        self.driver._disconnect_volume(self.context, info, None,
                                       destroy_secrets=False)
        self.driver._connect_volume(self.context, info, None)
        again, _instance = self.boot(info, guests.READER, connect=False)
        self.check(again.finish(), volume)
        self.driver._disconnect_volume(self.context, info, None)
        self.assert_no_secret_left(volume)

    def test_a_luks2_volume_is_not_given_away_in_clear(self):
        """Upstream's QEMU refuses it: no guest runs, nothing is written."""
        volume = self.make(attach.LUKS2_PROVIDER)
        info = self.info(volume)
        self.driver._connect_volume(self.context, info, None)
        disk = self.disk(info)
        self.assertIn('<encryption format="luks"', disk)
        self.libvirt()
        import libvirt
        self.assertRaises(libvirt.libvirtError, self.guest, disk, "true")
        self.driver._disconnect_volume(self.context, info, None)
        self.assert_no_secret_left(volume)
        self.assertEqual("luks2", attachment.read(info).format)
