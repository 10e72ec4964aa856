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

"""A live migration by Nova's own steps, between two hosts in memory."""

from __future__ import annotations

from lxml import etree
from nova.virt.libvirt import migration

from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests import nova_migration
from os_brick_rbd_luks.tests.unit.nova import base


class MigratedTestCase(base.MigrationTestCase):

    def start(self, *arguments):
        super().start(*arguments)
        nova_migration.make_movable(self.instance)

    def prepare(self):
        """The destination's part, and what it sends to the source."""
        # What Nova's database has is without any mark.
        self.there_info = self.info(self.old)
        with self.there():
            return nova_migration.prepare(
                self.other_driver, self.context, self.instance,
                nova_migration.block_devices(self.there_info))

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
