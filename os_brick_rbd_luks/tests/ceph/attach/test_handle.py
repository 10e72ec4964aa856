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

"""os-brick's own file-like handle, before and after an encryptor."""

from __future__ import annotations

import os

import ddt
import fixtures

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.connectors import rbd as connectors
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: Ways to make a volume that librbd cannot load, on some release or any.
_CBC = formatting.Options(cipher_spec="aes-cbc-essiv:sha256", key_bytes=32)


@ddt.ddt
class HandleTest(base.AttachmentTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())
        # os-brick reads keyrings from /etc/ceph only, unless one came along.
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            self.keyring = stream.read()

    def connect(self, name):
        """The connection of a volume, with its handle in it."""
        info = self.connection_info(name, keyring=self.keyring)
        connector = connectors.RBDLuksConnector("false",
                                                execute=base.Refused())
        device = connector.connect_volume(info["data"])
        self.addCleanup(connector.disconnect_volume, info["data"], device)
        self.device = device
        info["data"]["device_path"] = device["path"]
        return info, device["path"]

    def check(self, name, size=base.SIZE):
        """Plain text after the attachment, cipher text before and after."""
        info, handle = self.connect(name)
        self.assertEqual(b"LUKS\xba\xbe", handle.read(6))
        self.attach(info)
        handle.seek(0, os.SEEK_END)
        self.assertEqual(size, handle.tell())
        for offset, data in ((0, b"first"), (1 << 20, b"x" * (5 << 20)),
                             (12345, b"odd" * 1001), (size - 4, b"last")):
            handle.seek(offset)
            handle.write(data)
            handle.seek(offset)
            self.assertEqual(data, handle.read(len(data)))
        self.assertEqual(b"", handle.read(1))
        handle.flush()
        self.assertEqual(size, self.encryptor(info).extend_volume(
            "context", **self.metadata()))
        # Again, by another object as Cinder does: nothing changes.
        self.attach(info)
        handle.seek(0)
        self.assertEqual(b"first", handle.read(5))
        for _time in range(2):
            self.encryptor(info).detach_volume(**self.metadata())
            handle.seek(0)
            self.assertEqual(b"LUKS\xba\xbe", handle.read(6))
        self.assertEqual(size, self.encryptor(info).extend_volume(
            "context", **self.metadata()))
        handle.close()
        # What QEMU, and so a guest, reads.
        self.qemu_io(name, self.passphrase, "read -P 0x78 2M 1M")
        done = self.qemu_io(name, self.passphrase, "read -v 0 5")
        self.assertIn(b"first", done.stdout)
        self.assertNotIn(self.passphrase.decode(), self.log.output)

    def test_librbd(self):
        self.check(self.volume())
        self.assertNotIn("decrypted by Python", self.log.output)

    def test_luks2(self):
        name = self.volume(header="luks2")
        info, handle = self.connect(name)
        self.assertEqual(b"LUKS\xba\xbe\0\2", handle.read(8))
        self.attach(info)
        handle.seek(0)
        handle.write(b"first")
        handle.seek(0, os.SEEK_END)
        self.assertEqual(base.SIZE, handle.tell())
        self.encryptor(info).detach_volume(**self.metadata())
        handle.close()
        with self.pool.open(name) as image:
            image.load_encryption("luks2", self.passphrase)
            self.assertEqual(b"first", image.read(0, 5))

    @selection.full
    def test_luks2_with_journaling(self):
        """Sectors of 4 KiB, decrypted by Python."""
        name = self.volume(header="luks2")
        self.rbd("feature", "enable", f"volumes/{name}", "journaling")
        info, handle = self.connect(name)
        self.attach(info)
        handle.seek(5000)
        handle.write(b"odd" * 3000)
        handle.flush()
        self.encryptor(info).detach_volume(**self.metadata())
        handle.close()
        self.rbd("feature", "disable", f"volumes/{name}", "journaling")
        with self.pool.open(name) as image:
            image.load_encryption("luks2", self.passphrase)
            self.assertEqual(b"odd" * 3000, image.read(5000, 9000))

    def test_upstream_s_layout(self):
        name = self.name()
        self.qemu_create(name, 64 * units.MIB, key=self.passphrase)
        self.check(name)
        slow = releases.installed().release >= 18
        self.assertEqual(slow, "decrypted by Python" in self.log.output)

    @selection.full
    def test_clone_of_a_larger_clone(self):
        """Neither of which librbd of Ceph 16 can read."""
        name = self.volume()
        for size in (2 * base.SIZE, 2 * base.SIZE):
            with self.pool.open(name) as image:
                image.create_snapshot("s")
            parent, name = self.pool.parent(name, "s"), self.name()
            with self.pool.clone(parent, name) as image:
                image.resize(size + (4 << 20))
        self.check(name, 2 * base.SIZE)
        slow = releases.installed().release < 18
        self.assertEqual(slow, "decrypted by Python" in self.log.output)

    def test_cbc(self):
        name = self.name()
        with self.pool.create(name, base.SIZE + (4 << 20)) as image:
            formatting.format_image(image, self.passphrase, _CBC)
        self.check(name)
        self.assertIn("decrypted by Python", self.log.output)

    @selection.full
    def test_journaling(self):
        name = self.volume()
        self.rbd("feature", "enable", f"volumes/{name}", "journaling")
        self.check(name)
        self.assertIn("decrypted by Python", self.log.output)

    def test_wrong_key_leaves_cipher_text(self):
        name = self.volume()
        info, handle = self.connect(name)
        self.key_id = self.keep(os.urandom(32))
        self.assertRaises(exception.WrongPassphrase, self.attach, info)
        self.assertEqual(b"LUKS\xba\xbe", handle.read(6))

    @selection.full
    def test_wrong_key_of_a_costly_header(self):
        """librbd itself says so: trying first would cost as much again."""
        name = self.name()
        with self.pool.create(name, base.SIZE) as image:
            formatting.format_image(image, self.passphrase,
                                    formatting.Options(iterations=50_000))
        info, handle = self.connect(name)
        self.key_id = self.keep(os.urandom(32))
        self.assertRaises(exception.WrongPassphrase, self.attach, info)
        self.assertEqual(b"LUKS\xba\xbe", handle.read(6))

    def test_blank_image_is_formatted(self):
        name = self.name()
        self.pool.create(name, base.SIZE).__exit__()
        info, handle = self.connect(name)
        self.assertNotIn(attachment.KEY, self.device)
        self.attach(info)
        handle.write(b"data")
        handle.seek(0)
        self.assertEqual(b"data", handle.read(4))
        self.assertEqual(base.SIZE - (4 << 20), self.encryptor(
            info).extend_volume("context", **self.metadata()))

    def test_connector_marks_and_knows_the_decrypted_size(self):
        name = self.volume()
        info, _handle = self.connect(name)
        self.assertEqual(base.SIZE, self.device[attachment.KEY]["size"])
        connector = connectors.RBDLuksConnector("false",
                                                execute=base.Refused())
        self.assertEqual(base.SIZE, connector.extend_volume(info["data"]))
        plain = {**info["data"], "encrypted": False}
        self.assertEqual(base.SIZE + (4 << 20),
                         connector.extend_volume(plain))

    def test_unencrypted_volume_has_no_mark(self):
        name = self.name()
        self.pool.create(name, base.SIZE).__exit__()
        info = self.connection_info(name, keyring=self.keyring,
                                    encrypted=False)
        connector = connectors.RBDLuksConnector("false",
                                                execute=base.Refused())
        device = connector.connect_volume(info["data"])
        self.addCleanup(connector.disconnect_volume, info["data"], device)
        self.assertEqual(["path"], list(device))
