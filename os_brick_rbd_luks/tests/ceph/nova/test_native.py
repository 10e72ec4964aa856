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

"""Our side loaded: engines, exact sizes, secrets."""

from __future__ import annotations

import ddt
import libvirt
from nova.virt.libvirt import driver as upstream

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.ceph.attach import base as attach
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


class NativeTestCase(base.NovaTestCase):

    def disconnect(self, info):
        self.driver._disconnect_volume(self.context, info, None)


@ddt.ddt
class AttachTest(NativeTestCase):

    @ddt.data(*selection.cases("luks2", full=(
        "luks", attach.PROVIDER, attach.LUKS2_PROVIDER)))
    def test_boot_from_volume(self, provider):
        volume = self.filled(provider)
        info = self.info(volume)
        booted, _instance = self.boot(info, guests.READER)
        xml = booted.domain.XMLDesc()
        self.assertEqual(volume.header == "luks2", "engine='librbd'" in xml)
        self.assertIn("discard='ignore'", xml)
        secret, = self.secrets(volume.id)
        self.assertIn("private='yes'", secret.XMLDesc())
        self.assertIn("ephemeral='yes'", secret.XMLDesc())
        said = booted.finish()
        self.check(said, volume)
        self.check_end(said)
        self.disconnect(info)
        self.assert_nothing_left(info)
        self.assertEqual(b"G" * units.MIB, self.read(
            volume, 16 * units.MIB, units.MIB))

    @ddt.data(*selection.cases("luks", full=("luks2",)))
    def test_attach_and_detach(self, provider):
        root, volume = self.make(""), self.filled(provider)
        booted, instance = self.boot(self.info(root), guests.HOTPLUG)
        booted.wait("ready")
        info = self.info(volume)
        try:
            self.driver.attach_volume(self.context, info, instance,
                                      "/dev/vdb", disk_bus="virtio")
        except exception.NoHotplug:
            self.assertLess(libvirt.getVersion(), base.HOTPLUG)
            self.assertEqual("luks2", provider)
            self.assert_nothing_left(info)
            return
        booted.wait("attached")
        self.driver.detach_volume(self.context, info, instance, "/dev/vdb")
        booted.wait("detached")
        self.check(booted.said(), volume)
        self.assert_nothing_left(info)

    @ddt.data(*selection.cases("luks2", full=("luks",)))
    def test_extend(self, provider):
        volume = self.make(provider)
        info = self.info(volume)
        booted, instance = self.boot(info, guests.WATCHER)
        booted.wait(f"size {volume.size}")
        self.extend(volume, 2 * base.SIZE + units.MIB)
        self.driver.extend_volume(self.context, info, instance, volume.size)
        booted.wait(f"size {volume.size}")
        self.assertEqual(2, len(guests.sizes(booted.output())))
        self.assertEqual(volume.size, attachment.read(info).size)
        with self.pool.open(volume.id) as image:
            # Nothing was cut off, or added.
            self.assertEqual(volume.size + attachment.read(info).data_offset,
                             image.size())

    def test_plain_volume_is_as_upstream_has_it(self):
        info = self.info(self.make(""))
        ours = self.disk(info)
        plain = upstream.LibvirtDriver
        self.assertNotIn("encryption", ours)
        self.assertIn('discard="unmap"', ours)
        self.assertTrue(issubclass(type(self.driver), plain))

    @ddt.data("luks", "luks2")
    @selection.full
    def test_rekeyed_volume(self, provider):
        """Upstream's goes on with the secret that there is."""
        volume = self.filled(provider)
        info = self.info(volume)
        self.driver._connect_volume(self.context, info, None)
        old = volume.passphrase
        volume.key_id, volume.passphrase = self.new_key()
        with self.pool.open(volume.id) as image:
            keyslots.replace(image, old, volume.passphrase)
        booted, _instance = self.boot(info, guests.READER)
        self.check(booted.finish(), volume)
        self.disconnect(info)
        self.assert_nothing_left(info)


@ddt.ddt
class PowerTest(NativeTestCase):

    def powered_off(self, provider):
        """A volume of a server that is off, as in Nova's hard reboot.

        The secrets are kept then.
        """
        volume = self.filled(provider)
        info = self.info(volume)
        booted, _instance = self.boot(info, guests.READER)
        booted.finish()
        self.driver._disconnect_volume(self.context, info, None,
                                       destroy_secrets=False)
        return volume, info

    @ddt.data(*selection.cases("luks2", full=("luks",)))
    def test_power_cycle(self, provider):
        volume, info = self.powered_off(provider)
        self.assertEqual(1, len(self.secrets(volume.id)))
        again, _instance = self.boot(info, guests.READER)
        self.check(again.finish(), volume)
        self.disconnect(info)
        self.assert_nothing_left(info)

    @ddt.data("luks", "luks2")
    @selection.full
    def test_while_the_key_manager_is_down(self, provider):
        """What the host has is enough, also of a connection without mark."""
        volume, _info = self.powered_off(provider)
        self.break_keys()
        again, _instance = self.boot(self.info(volume), guests.READER)
        self.check(again.finish(), volume)

    def test_neither_key_manager_nor_secret(self):
        volume = self.make()
        info = self.info(volume)
        self.break_keys()
        error = self.assertRaises(
            exception.PassphraseUnavailable, self.driver._connect_volume,
            self.context, info, None)
        self.assertIn(volume.id, str(error))
        self.assertIn(volume.key_id, str(error))
        self.assert_nothing_left(info)

    def test_secret_has_gone(self):
        """As after a restart of libvirtd: no raw image for the guest."""
        volume = self.make("luks2")
        info = self.info(volume)
        self.driver._connect_volume(self.context, info, None)
        self.remove_secrets(volume.id)
        error = self.assertRaises(exception.MissingSecret, self.disk, info)
        self.assertIn(volume.id, str(error))

    def test_no_mark_and_no_secret(self):
        volume = self.make()
        error = self.assertRaises(exception.NotMarked, self.disk,
                                  self.info(volume))
        self.assertIn(volume.id, str(error))

    @ddt.data(*selection.cases(
        ("engine", "other"), full=(("format", "luks3"), ("secrets", []))))
    @ddt.unpack
    def test_mark_of_a_newer_release(self, member, value):
        info = self.info(self.make())
        self.driver._connect_volume(self.context, info, None)
        info["data"][attachment.KEY][member] = value
        self.assertRaises(exception.UnknownMark, self.disk, info)

    @ddt.data(*selection.cases("engine", full=("format", "size", "secrets")))
    def test_mark_without_a_member(self, member):
        info = self.info(self.make())
        self.driver._connect_volume(self.context, info, None)
        del info["data"][attachment.KEY][member]
        self.assertRaises(exception.UnknownMark, self.disk, info)
