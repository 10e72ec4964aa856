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

"""Who decrypts LUKS1: QEMU, or librbd as the operator wants it."""

from __future__ import annotations

import itertools

import ddt
import fixtures
from nova import conf

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests.unit.nova import swapping
from os_brick_rbd_luks.tests import units


class EngineTestCase(swapping.SwapTestCase):

    def setUp(self):
        super().setUp()
        opts.compute_options(conf.CONF)

    def choose(self, engine):
        self.set_option("luks1_engine", engine)

    def engine(self, info):
        """As the disk says it, and the mark."""
        element = self.config(info).format_dom().find("encryption")
        found = element.get("engine", "qemu")
        self.assertEqual(found, attachment.read(info).engine)
        self.assertEqual("luks", element.get("format"))
        return found


@ddt.ddt
class ChosenTest(EngineTestCase):

    @ddt.data("qemu", "librbd", "auto")
    def test_boot_and_power_cycle(self, option):
        self.choose(option)
        self.start("luks")
        self.assertEqual("qemu" if option == "qemu" else "librbd",
                         self.engine(self.old_info))
        self.domain.stop()
        self.disconnect(self.old_info, destroy_secrets=False)
        self.boot(self.connect(self.old))
        self.assertEqual(base.SIZE, self.domain.disks["vda"].size)
        self.disconnect(self.old_info)
        self.assert_nothing_left(self.old_info)

    def test_by_default(self):
        self.start("luks")
        self.assertEqual("qemu", self.engine(self.old_info))

    @ddt.data("librbd", "auto")
    def test_volume_that_librbd_does_not_load(self, option):
        """QEMU takes it: it has the cipher."""
        self.useFixture(fixtures.MockPatch(
            "os_brick_rbd_luks.headers.engines.librbd_reason",
            return_value="the payload is not aligned"))
        self.choose(option)
        self.start("luks")
        self.assertEqual("qemu", self.engine(self.old_info))

    @ddt.data((7_008_000, 10_000_000), (11_003_000, 6_000_000))
    @ddt.unpack
    def test_host_is_too_old(self, libvirt, qemu):
        self.host.version, self.host.qemu = libvirt, qemu
        self.choose("auto")
        self.start("luks")
        self.assertEqual("qemu", self.engine(self.old_info))
        self.choose("librbd")
        self.assertRaises(exception.UnsupportedHypervisor, self.connect,
                          self.make("luks"))

    @ddt.data((9_000_000, "qemu"), (11_003_000, "librbd"))
    @ddt.unpack
    def test_given_to_a_server_that_runs(self, version, engine):
        """libvirt 9.0 could not, so "auto" takes what works."""
        self.start("")
        self.host.version = version
        self.choose("auto")
        info = self.info(self.make("luks"))
        self.driver.attach_volume(self.context, info, self.instance,
                                  "/dev/vdb", disk_bus="virtio")
        self.assertEqual(engine, attachment.read(info).engine)
        # At the next start it is librbd's.
        self.driver._connect_volume(self.context, info, None)
        self.assertEqual("librbd", self.engine(info))

    def test_luks2_is_librbd_s_anyway(self):
        self.choose("qemu")
        self.start("luks2")
        self.assertEqual("librbd", attachment.read(self.old_info).engine)


@ddt.ddt
class RunningTest(EngineTestCase):
    """The option is another than when the server was started."""

    @ddt.data(*itertools.product(("qemu", "librbd"), repeat=2))
    @ddt.unpack
    def test_extended(self, before, now):
        self.choose(before)
        self.start("luks")
        self.choose(now)
        # Of the database, where a power cycle does not save it.
        attachment.unmark(self.old_info)
        content = self.pool.contents[self.old.id]
        content.resize(content.size + base.SIZE)
        self.driver.extend_volume(self.context, self.old_info, self.instance,
                                  2 * base.SIZE)
        self.assertEqual(2 * base.SIZE, self.domain.disks["vda"].size)
        self.assertEqual(2 * base.SIZE, self.decrypted_size(self.old))

    @ddt.data(*itertools.product(("qemu", "librbd"), ("qemu", "librbd")))
    @ddt.unpack
    def test_moved(self, before, now):
        """Of a volume that librbd decrypts, no holes are believed."""
        self.choose(before)
        self.prepare("luks", "luks")
        content = self.pool.contents[self.old.id]
        content.features = {"exclusive-lock", "object-map", "fast-diff"}
        self.choose(now)
        self.swap()
        self.assert_on_new()
        self.assertEqual(now, attachment.read(self.new_info).engine)
        self.assertEqual(before == "qemu", "fast-diff" in content.features)

    @ddt.data(*itertools.product(("qemu", "librbd"), repeat=2))
    @ddt.unpack
    def test_moved_to_a_larger_one(self, before, now):
        self.choose(before)
        self.prepare("luks", "luks", units.GIB)
        self.choose(now)
        self.swap(1)
        self.assert_on_new(units.GIB)


class NewerCephRunningTest(RunningTest):

    release = 18
