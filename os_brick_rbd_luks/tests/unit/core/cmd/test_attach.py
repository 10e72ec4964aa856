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

"""attach-xml."""

from __future__ import annotations

from xml.etree import ElementTree

import ddt

from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.tests.unit.core.cmd import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class AttachXMLTest(base.CommandTestCase):

    def xml(self, *argv, name="v", pool="volumes"):
        output, errors = self.run_command("attach-xml", f"{pool}/{name}",
                                          *argv)
        self.assertEqual("", errors)
        return ElementTree.fromstring(output)

    def test_disk(self):
        self.make_pool_volume()
        output, _errors = self.run_command("attach-xml", "volumes/v")
        self.assertEqual("""\
<disk type="network" device="disk">
  <driver name="qemu" type="raw" cache="none" discard="ignore" />
  <source protocol="rbd" name="volumes/v">
    <host name="10.0.0.1" port="6789" />
    <host name="fd00::1" port="6790" />
    <encryption format="luks">
      <secret type="passphrase" usage="v" />
    </encryption>
  </source>
  <target dev="vda" bus="virtio" />
</disk>
""", output)

    @ddt.data(("volume-6d5b", (), "6d5b"), ("6d5b", (), "6d5b"),
              ("volume-", (), ""), ("my-volume-1", (), "my-volume-1"),
              ("volume-6d5b", ("--usage", "other"), "other"))
    @ddt.unpack
    def test_usage(self, name, argv, expected):
        self.make_pool_volume(name)
        secret = self.xml(*argv, name=name).find("source/encryption/secret")
        self.assertEqual(expected, secret.get("usage"))

    def test_auth(self):
        self.make_pool_volume()
        disk = self.xml("--id", "cinder", "--ceph-secret", "1-2-3",
                        "--device", "vdc")
        self.assertEqual("cinder", disk.find("source/auth").get("username"))
        self.assertEqual("1-2-3", disk.find(
            "source/auth/secret").get("uuid"))
        self.assertEqual("vdc", disk.find("target").get("dev"))

    def test_ceph_options(self):
        self.make_pool_volume()
        self.xml("--conf", "/etc/my.conf", "--id", "cinder", "--cluster",
                 "site")
        self.assertEqual(("/etc/my.conf", "cinder", "site"),
                         self.cluster.connected)

    def test_namespace(self):
        self.make_pool_volume(pool="volumes/space")
        self.assertEqual("volumes/space/v", self.xml(
            pool="volumes/space").find("source").get("name"))

    def test_file(self):
        self.make_volume()
        error = self.error(1, "attach-xml", self.target)
        self.assertIn(self.target, error)
        self.assertIn("only RBD images", error)

    def test_no_image(self):
        self.assertIn("volumes/v does not exist",
                      self.error(4, "attach-xml", "volumes/v"))

    def test_not_luks(self):
        with self.pool.create("v", 5 * units.MIB):
            pass
        self.assertIn("no LUKS header",
                      self.error(4, "attach-xml", "volumes/v"))

    def test_image_is_only_read(self):
        content = self.make_pool_volume()
        content.log.clear()
        self.xml()
        self.assertEqual(([], 0), (content.log, content.handles))

    def test_size_does_not_matter(self):
        """It is not in the XML, so it may change afterwards."""
        creating.create(self.pool, "v", 2 * units.MIB, base.OLD, base.QUICK)
        first, _errors = self.run_command("attach-xml", "volumes/v")
        self.pool.contents["v"].resize(20 * units.MIB)
        second, _errors = self.run_command("attach-xml", "volumes/v")
        self.assertEqual(first, second)

    def test_usage_error(self):
        self.assertIn("IMAGE", self.usage_error("attach-xml"))
        self.usage_error("attach-xml", "volumes/v", "--nonsense")
