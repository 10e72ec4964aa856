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

"""The XML of a disk's encryption, there and back through Nova's classes."""

from __future__ import annotations

import ddt
from lxml import etree
from nova.virt.libvirt import config
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import encryption
from os_brick_rbd_luks.nova import loading

OWN, BELOW = "0a81f5b2-8403-7b23-c8d6-21ccc2f80d6f", "1b81f5b2"

XML = f"""\
<encryption format="luks-any" engine="librbd">
  <secret type="passphrase" uuid="{OWN}"/>
  <secret type="passphrase" usage="volume:parent-1"/>
</encryption>
"""


def native(header="luks2", layers=0):
    return attachment.native(header, 16 << 20, 80 << 20, "v", layers=layers)


@ddt.ddt
class EncryptionTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        loading.register()
        self.addCleanup(loading.unregister)

    def disk(self):
        disk = config.LibvirtConfigGuestDisk()
        disk.source_type, disk.source_protocol = "network", "rbd"
        disk.source_name, disk.target_dev = "volumes/v", "vda"
        disk.target_bus = "virtio"
        return disk

    def again(self, disk):
        parsed = config.LibvirtConfigGuestDisk()
        parsed.parse_dom(etree.fromstring(disk.to_xml()))
        return parsed

    @ddt.data("luks1", "luks2")
    def test_one_secret(self, header):
        disk = self.disk()
        encryption.put(disk, encryption.of(native(header), [OWN]))
        element = disk.format_dom().find("encryption")
        self.assertEqual({"luks1": None, "luks2": "librbd"}[header],
                         element.get("engine"))
        self.assertEqual([OWN], [secret.get("uuid") for secret in
                                 element.findall("secret")])
        self.assertEqual(disk.to_xml(), self.again(disk).to_xml())

    def test_a_secret_for_each_layer(self):
        disk = self.disk()
        encryption.put(disk, encryption.of(native(layers=1), [OWN, BELOW]))
        element = disk.format_dom().find("encryption")
        self.assertEqual("luks-any", element.get("format"))
        self.assertEqual([OWN, BELOW], [secret.get("uuid") for secret in
                                        element.findall("secret")])
        self.assertEqual(disk.to_xml(), self.again(disk).to_xml())

    def test_as_libvirt_writes_it(self):
        disk = self.disk()
        value = config.LibvirtConfigGuestDiskEncryption()
        value.parse_dom(etree.fromstring(XML))
        encryption.put(disk, value)
        self.assertEqual(
            etree.canonicalize(XML, strip_text=True),
            etree.canonicalize(etree.tostring(
                self.again(disk).format_dom().find("encryption"),
                encoding="unicode"), strip_text=True))

    def test_same_as_upstream_s_for_luks1(self):
        ours, theirs = self.disk(), self.disk()
        encryption.put(ours, encryption.of(native("luks1"), [OWN]))
        loading.unregister()
        value = config.LibvirtConfigGuestDiskEncryption()
        self.assertIsNot(encryption.Encryption, type(value))
        value.format = "luks"
        value.secret = config.LibvirtConfigGuestDiskEncryptionSecret()
        value.secret.type, value.secret.uuid = "passphrase", OWN
        encryption.put(theirs, value)
        self.assertEqual(theirs.to_xml(), ours.to_xml())

    @ddt.data(("luks1", "qemu"), ("luks2", "librbd"))
    @ddt.unpack
    def test_block_copy_reads_the_source_only(self, header, engine):
        """libvirt 11.3 takes no engine for no encryption."""
        disk = self.disk()
        encryption.put(disk, encryption.of(native(header), [OWN]))
        found = etree.fromstring(blockcopy.destination(disk))
        self.assertIsNone(found.find("encryption"))
        self.assertEqual(engine,
                         found.find("source/encryption").get("engine"))
