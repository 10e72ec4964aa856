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

"""resize."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class ResizeTest(base.CommandTestCase):

    def resize(self, size, *flags, target="volumes/v"):
        return self.json("resize", target, "--size", size, *flags)

    def test_grow(self):
        self.make_pool_volume()
        facts = self.resize("3M")
        self.assertEqual((3 * units.MIB, 7 * units.MIB),
                         (facts["decrypted_size"], facts["image_size"]))
        self.assertEqual({name: self.json("info", "volumes/v")[name]
                          for name in facts}, facts)

    def test_table(self):
        self.make_pool_volume()
        output, _errors = self.run_command("resize", "volumes/v", "--size",
                                           "2M")
        self.assertIn("decrypted_size | 2 MiB (2097152 bytes)",
                      " ".join(output.split()))

    def test_shrink(self):
        self.make_pool_volume()
        error = self.error(5, "resize", "volumes/v", "--size", "512K")
        self.assertIn(f"from {units.MIB} to {units.MIB // 2} bytes", error)
        self.assertIn("--force", error)
        facts = self.resize("512K", "--force")
        self.assertEqual(units.MIB // 2, facts["decrypted_size"])

    def test_in_use(self):
        content = self.make_pool_volume()
        content.watchers.append("client.7 at 10.0.0.1")
        self.assertEqual(16 * units.MIB, self.resize("16M")["decrypted_size"])
        self.assertIn("client.7", self.error(
            5, "resize", "volumes/v", "--size", "1M", "--force"))

    def test_same(self):
        content = self.make_pool_volume()
        content.log.clear()
        self.resize("1M")
        self.assertNotIn("resize", [event.kind for event in content.log])

    def test_file(self):
        self.make_volume()
        facts = self.resize("2M", target=self.target)
        self.assertEqual(2 * units.MIB, facts["decrypted_size"])
        self.assertEqual(facts["image_size"], os.stat(self.path).st_size)

    @ddt.data("0", "-512", "1000")
    def test_bad_size(self, size):
        self.make_pool_volume()
        self.assertIn("positive multiple of 512", self.error(
            1, "resize", "volumes/v", f"--size={size}", "--force"))

    def test_no_size(self):
        self.assertIn("--size", self.usage_error("resize", "volumes/v"))

    def test_missing(self):
        self.assertIn("volumes/v does not exist", self.error(
            4, "resize", "volumes/v", "--size", "1M"))

    def test_no_volume(self):
        with self.pool.create("v", units.MIB):
            pass
        self.assertIn("no LUKS header", self.error(
            4, "resize", "volumes/v", "--size", "1M"))

    def test_luks2(self):
        creating.create(self.pool, "v", units.MIB, base.OLD,
                        base.QUICK.__class__(type="luks2"))
        self.error(1, "resize", "volumes/v",
                   "--size", str(2 * units.MIB + 512))
        self.assertEqual(2 * units.MIB, self.resize("2M")["decrypted_size"])
