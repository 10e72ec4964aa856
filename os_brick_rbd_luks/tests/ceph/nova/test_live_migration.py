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

"""Servers that migrate between two hosts while they write."""

from __future__ import annotations

import contextlib

import ddt
import libvirt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.ceph.attach import base as attach
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests.ceph.nova import hosts
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import waiting


@ddt.ddt
class LiveMigrationTest(hosts.MigrationTestCase):

    @ddt.data(*selection.cases(
        "luks2", full=("luks", attach.LUKS2_PROVIDER)))
    def test_there(self, provider):
        self.start(provider)
        before = self.secret()
        devices, received = self.prepare()
        with self.there():
            # By the same uuid, which follows from the volume's id.
            self.assertEqual(before, self.secret())
        self.assertEqual(["moved"], self.migrate(received))
        self.leave()
        self.assert_moved()
        xml = self.booted.domain.XMLDesc()
        self.assertEqual(self.old.header == "luks2", "engine='librbd'" in xml)
        self.assert_complete(self.old)
        info = devices["block_device_mapping"][0]["connection_info"]
        with self.there():
            self.other_driver._disconnect_volume(self.context, info, None)
            self.assert_nothing_left(info)

    @selection.full
    def test_extended_there(self):
        """What the source sent serves for all that comes after it."""
        self.start("luks2")
        devices, received = self.prepare()
        self.assertEqual(["moved"], self.migrate(received))
        self.leave()
        info = devices["block_device_mapping"][0]["connection_info"]
        self.extend(self.old, 2 * base.SIZE)
        with self.there():
            self.other_driver.extend_volume(self.context, info,
                                            self.instance, self.old.size)
        self.wait_for_size(2 * base.SIZE)
        self.assert_moved()

    @ddt.data("luks", "luks2")
    @selection.full
    def test_cancelled(self, provider):
        self.start(provider)
        devices, received = self.prepare()
        self.set_option("live_migration_bandwidth", 1, "libvirt")
        running = base.Background(self.migrate, received)
        domain = self.libvirt().lookupByUUIDString(self.booted.uuid)
        waiting.until(lambda: domain.jobInfo()[0], "a migration")
        self.driver.live_migration_abort(self.instance)
        # Nova raises what libvirt said from release 34 on.
        with contextlib.suppress(libvirt.libvirtError):
            running.finish()
        self.assertEqual(["stayed"], self.ended)
        with self.there():
            self.other_driver.rollback_live_migration_at_destination(
                self.context, self.instance, [], devices,
                destroy_disks=False, migrate_data=received)
            self.assertNotIn(self.booted.uuid, self.domains())
            self.assert_nothing_left(
                devices["block_device_mapping"][0]["connection_info"])
        self.secret()
        self.written(10)
        self.assert_complete(self.old)

    @selection.full
    def test_key_manager_is_down_there(self):
        """The source, whose libvirt has the key, is not touched."""
        self.start("luks2")
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.prepare)
        with self.there():
            self.assertEqual([], self.secrets(self.old.id))
        self.written(5)
        self.assert_complete(self.old)


@ddt.ddt
@selection.full
class UnmodifiedTest(hosts.MigrationTestCase):
    """Both hosts run an unmodified nova-compute."""

    loaded = False

    @ddt.data("luks", attach.PROVIDER)
    def test_there(self, provider):
        self.start(provider)
        _devices, received = self.prepare()
        self.assertEqual(["moved"], self.migrate(received))
        self.leave()
        self.assert_moved()
        self.assert_complete(self.old)
