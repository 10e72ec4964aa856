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

"""Live migration: what the destination sends, and what the source makes of it.

The destination's part is Nova's ``pre_live_migration``; what it sends goes
through Nova's object as RPC would carry it; the source's part is Nova's
``get_updated_guest_xml``, whose result a guest on the other host has to be
able to run with.
"""

from __future__ import annotations

import json

import ddt
from lxml import etree
from nova.objects import migrate_data
from nova.virt.libvirt import migration

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import base


class MigratedTestCase(base.MigrationTestCase):

    def start(self, *arguments):
        super().start(*arguments)
        self.instance.flavor.memory_mb = 192
        self.instance.system_metadata = {"image_container_format": "bare"}
        self.instance.vm_state = "active"
        self.instance.resources = None
        self.instance.numa_topology = None
        self.instance.migration_context = None

    def prepare(self):
        """The destination's part, and what it sends to the source."""
        # What Nova's database has is without any mark.
        self.there_info = self.info(self.old)
        devices = {"block_device_mapping": [records.BlockDevice(
            connection_info=self.there_info, volume_id=self.old.id,
            device_name="/dev/vda", mount_device="/dev/vda",
            disk_bus="virtio", device_type="disk", boot_index=0)]}
        with self.there():
            sent = self.other_driver.pre_live_migration(
                self.context, self.instance, devices, [], None,
                self.migrate_data())
        return migrate_data.LibvirtLiveMigrateData.obj_from_primitive(
            json.loads(json.dumps(sent.obj_to_primitive())))

    def updated(self, received):
        """The guest's XML that the source gives to the destination."""
        found = migration.get_updated_guest_xml(
            self.instance, self.driver._host.get_guest(self.instance),
            received, self.driver._get_volume_config)
        return found if isinstance(found, str) else found.decode()

    def encryption(self, received):
        """Of the disk in it; the guest runs with it on the other host."""
        xml = self.updated(received)
        moved = self.other_host.boot(xml)
        self.assertEqual(base.SIZE, moved.disks["vda"].size)
        return etree.fromstring(xml).find("devices/disk/encryption")

    def uuids(self, host, *usages):
        return [host.find(fake.VIR_SECRET_USAGE_TYPE_VOLUME, usage).uuid
                for usage in usages]


@ddt.ddt
class MigrationTest(MigratedTestCase):

    def setUp(self):
        super().setUp()
        # Operators define it by the same UUID on all hosts.
        self.other_host.secrets[self.ceph_uuid] = (
            self.host.secrets[self.ceph_uuid])

    @ddt.data("luks", "luks2")
    def test_there(self, provider):
        self.start(provider)
        received = self.prepare()
        element = self.encryption(received)
        self.assertEqual({"luks": None, "luks2": "librbd"}[provider],
                         element.get("engine"))
        secrets = [secret.get("uuid")
                   for secret in element.findall("secret")]
        self.assertEqual(self.uuids(self.other_host, self.old.id), secrets)
        self.assertNotEqual(self.uuids(self.host, self.old.id), secrets)
        # Neither host's own is changed by what the other says.
        self.assert_unchanged()
        self.disconnect(self.old_info)
        self.assert_nothing_left(self.old_info)
        with self.there():
            self.other_driver._disconnect_volume(
                self.context, self.there_info, None)
        self.assertEqual({}, self.other_host.volumes())

    def test_plain_volume(self):
        self.start("")
        self.assertIsNone(self.encryption(self.prepare()))
        self.assertEqual({}, self.other_host.volumes())

    def test_what_was_sent_serves_for_all_that_comes_after_it(self):
        """The manager of the destination goes on with it: an extension."""
        self.start("luks2")
        info = self.prepare().bdms[0].connection_info
        carried = self.uuids(self.other_host, self.old.id)
        self.assertEqual(carried, [item["uuid"] for item in info[
            "data"][attachment.KEY]["secrets"]])
        self.assertEqual(carried, self.found_there(info))
        with self.there():
            self.other_driver._get_volume_encryptor(
                info, self.cinder.get_volume_encryption_metadata(
                    None, self.old.id)).mark_volume()
        self.assertEqual(carried, self.found_there(info))

    def found_there(self, info):
        """Secrets that the other host's disk of a connection names."""
        with self.there():
            disk = swap.disk_config(self.other_driver, self.instance, info,
                                    "vda")
        return [secret.get("uuid") for secret in
                disk.format_dom().findall("encryption/secret")]

    def test_key_manager_is_down_there(self):
        """The source, whose libvirt has the key, is not touched."""
        self.start("luks2")
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.prepare)
        self.assertEqual({}, self.other_host.volumes())
        self.assert_unchanged()

    def test_secret_goes_before_it_is_told(self):
        """As when libvirtd of the destination restarts."""
        self.start("luks2")
        connect = self.other_driver._connect_volume

        def connected(*arguments, **options):
            connect(*arguments, **options)
            self.other_host.restart()

        self.other_driver._connect_volume = connected
        error = self.assertRaises(exception.MissingSecret, self.prepare)
        self.assertIn(self.old.id, str(error))
        self.assert_unchanged()
