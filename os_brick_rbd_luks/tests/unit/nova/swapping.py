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

"""A server, and the volume that it is to move to."""

from __future__ import annotations

import fixtures
from nova.virt.libvirt import driver

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import base


class SwapTestCase(base.NovaTestCase):

    def swap(self, resize_to=0):
        """Move the server to the other volume, as Nova does."""
        self.driver.swap_volume(
            self.context, self.old_info, self.new_info, self.instance,
            "/dev/vda", resize_to)

    def prepare(self, old, new, size=base.SIZE):
        """A server, and the volume that it is to move to."""
        self.start(old)
        self.new = self.make(new, size)
        self.new_info = self.info(self.new)
        self.new_size = self.raw_size(self.new)

    def assert_on_old(self):
        self.assert_unchanged()
        self.assert_nothing_left(self.new_info)
        self.assertEqual({}, self.domain.jobs)
        self.assertEqual(self.new_size, self.raw_size(self.new))
        if self.old.provider:
            self.assertTrue(attachment.read(self.old_info))
        self.assertTrue(self.ceph.nothing_is_open())

    def assert_on_new(self, size=base.SIZE):
        name = f"volumes/{self.new.id}"
        self.assertEqual(name, self.domain.source("vda"))
        self.assertEqual({}, self.domain.jobs)
        self.assertEqual(size, self.domain.disks["vda"].size)
        self.assertEqual(size, self.decrypted_size(self.new))
        self.assert_nothing_left(self.old_info)
        self.assertEqual(
            {self.new.id: self.new.passphrase} if self.new.provider else {},
            self.host.volumes())
        self.assertTrue(self.ceph.nothing_is_open())

    def assert_defined_on_new(self):
        self.assertEqual(f"volumes/{self.new.id}",
                         self.domain.source("vda", defined=True))


class StartTestCase(SwapTestCase):
    """Its nova-compute can be started again, and Nova has records."""

    def setUp(self):
        super().setUp()
        # What else upstream's looks at is no matter of ours.
        self.useFixture(fixtures.MockPatchObject(
            driver.LibvirtDriver, "init_host", lambda *_arguments: None))
        self.database = self.useFixture(records.Database())

    def start(self, *arguments):
        super().start(*arguments)
        self.database.servers.append(self.instance)
        self.database.attached(self.instance, self.old_info, self.old.id)
