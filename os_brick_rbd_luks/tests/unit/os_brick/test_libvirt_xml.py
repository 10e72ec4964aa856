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

"""The XML that libvirt gets."""

from __future__ import annotations

from xml.etree import ElementTree

import ddt
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.libvirt import xml
from os_brick_rbd_luks.tests import units

QEMU = attachment.native("luks1", 4 * units.MIB, 5 * units.MIB, "volume-1")
LIBRBD = attachment.native("luks2", 16 * units.MIB, 17 * units.MIB, "volume-1")

#: What no text may do to the XML around it.
HOSTILE = "a'\"<&>b"


class SecretTest(testtools.TestCase):

    def parsed(self, *arguments):
        return ElementTree.fromstring(xml.secret(*arguments))

    def test_new(self):
        self.assertEqual("""\
<secret ephemeral="yes" private="yes">
  <usage type="volume">
    <volume>volume-1</volume>
  </usage>
</secret>""", xml.secret("volume-1"))

    def test_existing(self):
        root = self.parsed("volume-1", "1-2-3")
        self.assertEqual("1-2-3", root.findtext("uuid"))
        self.assertEqual("volume-1", root.findtext("usage/volume"))

    def test_described(self):
        root = ElementTree.fromstring(xml.secret(
            "volume-1", description=HOSTILE))
        self.assertEqual(HOSTILE, root.findtext("description"))

    def test_hostile(self):
        root = self.parsed(HOSTILE, HOSTILE)
        self.assertEqual([HOSTILE] * 2, [root.findtext("usage/volume"),
                                         root.findtext("uuid")])


@ddt.ddt
class DiskTest(testtools.TestCase):

    def disk(self, facts=QEMU, hosts=(("10.0.0.1", "6789"),), **options):
        return ElementTree.fromstring(xml.disk(
            "volumes/v", hosts, facts, **options))

    def test_all_of_it(self):
        self.assertEqual("""\
<disk type="network" device="disk">
  <driver name="qemu" type="raw" cache="none" discard="ignore" />
  <source protocol="rbd" name="volumes/v">
    <host name="10.0.0.1" port="6789" />
    <host name="fd00::1" port="6790" />
    <auth username="cinder">
      <secret type="ceph" uuid="1-2-3" />
    </auth>
    <encryption format="luks">
      <secret type="passphrase" usage="volume-1" />
    </encryption>
  </source>
  <target dev="vdb" bus="virtio" />
</disk>""", xml.disk(
            "volumes/v", [("10.0.0.1", "6789"), ("fd00::1", "6790")], QEMU,
            target="vdb", user="cinder", secret_uuid="1-2-3"))

    def test_default_engine_has_no_attribute(self):
        """Older releases of libvirt do not know it."""
        self.assertEqual({"format": "luks"},
                         self.disk().find("source/encryption").attrib)

    def test_librbd(self):
        self.assertEqual({"format": "luks2", "engine": "librbd"},
                         self.disk(LIBRBD).find("source/encryption").attrib)

    @ddt.data({}, {"user": "cinder"}, {"secret_uuid": "1-2-3"},
              {"user": "", "secret_uuid": "1-2-3"})
    def test_no_auth(self, options):
        self.assertIsNone(self.disk(**options).find("source/auth"))

    def test_every_layer_has_a_secret(self):
        facts = attachment.Native("luks-any", "librbd", 0, units.MIB,
                                  (attachment.Secret("child"),
                                   attachment.Secret("parent")))
        self.assertEqual(["child", "parent"], [
            secret.get("usage") for secret in self.disk(facts).findall(
                "source/encryption/secret")])

    def test_hostile(self):
        root = ElementTree.fromstring(xml.disk(
            HOSTILE, [(HOSTILE, "1")], QEMU, target=HOSTILE, user=HOSTILE,
            secret_uuid=HOSTILE))
        self.assertEqual(
            [HOSTILE] * 3, [root.find("source").get("name"),
                            root.find("source/host").get("name"),
                            root.find("target").get("dev")])
