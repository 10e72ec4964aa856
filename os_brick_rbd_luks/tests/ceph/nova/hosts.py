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

"""Two compute hosts, each a libvirtd of its own with its own secrets."""

from __future__ import annotations

import contextlib
import os
import threading
from unittest import mock

import fixtures
import libvirt
from nova.objects import migration
from nova import utils as nova_utils
from nova.virt.libvirt import driver as upstream

from os_brick_rbd_luks.tests.ceph import host
from os_brick_rbd_luks.tests.ceph.nova import writer
from os_brick_rbd_luks.tests import nova_migration
from os_brick_rbd_luks.tests import waiting


class MigrationTestCase(writer.WriterTestCase):

    def setUp(self):
        super().setUp()
        other = self.useFixture(host.Host())
        self.other_uri = other.uri
        # Nova puts the name of the other host into it.
        name = os.path.basename(os.path.dirname(other.folder))
        self.assertEqual(1, self.other_uri.count(name))
        self.set_option("live_migration_uri",
                        self.other_uri.replace(name, "%s"), "libvirt")
        # Else QEMU listens for it on all addresses.
        self.set_option("live_migration_tunnelled", True, "libvirt")
        self.other_name = name
        self.driver._parse_migration_flags()
        with self.there():
            self.other_driver = self.make_driver(events=False)
            # It tells Nova's database, when it has connected.
            self.other_driver._set_host_enabled = lambda *_arguments: None
            # Operators define it by the same uuid on all hosts.
            self.ceph_secret(self.ceph_uuid)
        if not hasattr(upstream, "thread_pool_factory"):
            # Releases before 34 migrate in a green thread, which nothing
            # would ever run here.
            self.useFixture(fixtures.MockPatchObject(
                nova_utils, "spawn", Thread))

    @contextlib.contextmanager
    def there(self):
        """What is done in this context is done on the other host."""
        try:
            with mock.patch.object(self, "uri", self.other_uri):
                self.set_host()
                yield
        finally:
            self.set_host()

    def set_host(self):
        self.set_option("connection_uri", self.uri, "libvirt")
        self.set_option("libvirt_uri", self.uri)

    def start_on(self, volume):
        super().start_on(volume)
        nova_migration.make_movable(self.instance)

    def block_devices(self):
        """What Nova knows of the server's volumes, without any mark."""
        return nova_migration.block_devices(self.info(self.old))

    def prepare(self):
        """The destination's part, and what it sends to the source."""
        devices = self.block_devices()
        with self.there():
            received = nova_migration.prepare(
                self.other_driver, self.context, self.instance, devices)
        received.migration = Migration(status="running")
        return devices, received

    def migrate(self, received):
        """The source's part; what becomes of it is in ``ended``."""
        self.ended = []
        self.driver.live_migration(
            self.context, self.instance, self.other_name,
            lambda *_arguments: self.ended.append("moved"),
            lambda *_arguments, **_options: self.ended.append("stayed"),
            migrate_data=received)
        return self.ended

    def leave(self):
        """The source lets go of what it had for the server."""
        self.driver.post_live_migration(
            self.context, self.instance,
            {"block_device_mapping": [{"connection_info": self.old_info}]})

    def domains(self):
        """Servers that are defined or run on the present host."""
        return [domain.UUIDString()
                for domain in self.libvirt().listAllDomains()]

    def secret(self):
        """The uuid of the volume's secret on the present host."""
        found, = self.secrets(self.old.id)
        return found.UUIDString()

    def assert_moved(self):
        """The server is on the other host only, with its secret."""
        # Nova knows that it has moved a moment before libvirt lets it go.
        waiting.until(self.domains, "the end here",
                      lambda domains: self.booted.uuid not in domains)
        self.assertEqual([], self.secrets(self.old.id))
        with self.there():
            self.assertIn(self.booted.uuid, self.domains())
            self.find_again(self.booted)
            self.assertIn(self.secret(), self.booted.domain.XMLDesc())
            self.assertIn(self.secret(), self.booted.domain.XMLDesc(
                libvirt.VIR_DOMAIN_XML_INACTIVE))
        self.written(10)


class Migration(migration.Migration):
    """A record that is in no database."""

    def save(self):
        self.obj_reset_changes()


class Thread(threading.Thread):
    """As eventlet's, but a real one."""

    def __init__(self, function, *arguments, **options):
        super().__init__(target=function, args=arguments, kwargs=options,
                         daemon=True)
        self.start()

    def link(self, function, *arguments):
        """Call it when the thread has ended."""
        def wait():
            self.join()
            function(self, *arguments)
        threading.Thread(target=wait, daemon=True).start()
