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

"""Attachments of clones with a header of their own, and a real guest."""

from __future__ import annotations

import hashlib
import os

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.connectors import rbd as connectors
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests import selection

SIZE = base.SIZE
LUKS2 = formatting.Options(type="luks2")

_SCRIPT = """
echo size $(blockdev --getsize64 /dev/vda)
echo head $(dd if=/dev/vda bs=1M count=8 2>/dev/null | sha256sum)
echo hole $(dd if=/dev/vda bs=1M skip=24 count=4 2>/dev/null | sha256sum)
echo last $(dd if=/dev/vda bs=1M skip=63 count=1 2>/dev/null | sha256sum)
dd if=/dev/zero bs=1M count=1 2>/dev/null | tr '\\0' G |
    dd of=/dev/vda bs=1M seek=2 conv=fsync 2>/dev/null
echo again $(dd if=/dev/vda bs=1M skip=2 count=1 2>/dev/null | sha256sum)
"""


@selection.needs("layers")
class LayeredAttachmentTest(base.AttachmentTestCase):

    def clone_name(self):
        name = f"{self.name()}-own-header"
        self.addCleanup(self._forget, name)
        return name

    def _forget(self, name):
        if name in self.pool.images():
            cloning.remove(self.pool, name)

    def snapshot(self, name):
        with self.pool.open(name) as image:
            image.create_snapshot("s")
        return self.pool.parent(name, "s")

    def golden(self, header=None):
        """A golden image, plain or encrypted, with data; its snapshot."""
        if header:
            name = self.volume(header=header)
        else:
            name = self.name()
            self.pool.create(name, SIZE).__exit__()
        with self.pool.open(name) as image:
            if header:
                image.load_encryption(header, self.passphrase)
            image.write(0, b"H" * (8 << 20))
            image.write(SIZE - (1 << 20), b"Z" * (1 << 20))
        return name, self.snapshot(name)

    def run_guest(self, info):
        return self.guest(self.disk(info), _SCRIPT).finish()

    def check_guest(self, said):
        self.assertEqual(str(SIZE), said["size"])
        for name, data in (("head", b"H" * (8 << 20)),
                           ("hole", bytes(4 << 20)),
                           ("last", b"Z" * (1 << 20)),
                           ("again", b"G" * (1 << 20))):
            self.assertIn(hashlib.sha256(data).hexdigest(), said[name], name)

    @selection.full
    def test_guest_of_a_plain_golden_image(self):
        source, parent = self.golden()
        name = self.clone_name()
        cloning.own_header(self.pool, parent, name, self.passphrase, LUKS2)
        info = self.connection_info(name)
        self.attach(info, provider=base.LUKS2_PROVIDER)
        self.check_guest(self.run_guest(info))
        self.encryptor(info).detach_volume(**self.metadata())
        self.assertEqual([], self.secrets(name))
        with self.pool.open(source) as image:
            self.assertEqual(b"H" * (1 << 20), image.read(2 << 20, 1 << 20))

    def other_key(self):
        """A key for a clone; the source's id."""
        source_id = self.key_id
        self.key = os.urandom(32)
        self.key_id = self.keep(self.key)
        return source_id

    def test_guest_of_an_encrypted_golden_image(self):
        """One libvirt secret for each layer, both gone afterwards."""
        source, parent = self.golden("luks2")
        name, below = self.clone_name(), self.passphrase
        self.other_key()
        cloning.own_header(self.pool, parent, name, self.passphrase, LUKS2,
                           old_passphrase=below)
        info = self.connection_info(name)
        self.attach(info, provider=base.LUKS2_PROVIDER)
        facts = attachment.read(info)
        self.assertEqual(
            ("luks-any", [name, f"{name}:parent-1"]),
            (facts.format, [secret.id for secret in facts.secrets]))
        self.check_guest(self.run_guest(info))
        self.encryptor(info).detach_volume(**self.metadata())
        for secret in facts.secrets:
            self.assertEqual([], self.secrets(secret.id))

    @selection.full
    def test_guest_of_a_rekeyed_clone(self):
        source, parent = self.golden("luks2")
        name, below = self.clone_name(), self.passphrase
        self.other_key()
        cloning.rekeyed(self.pool, parent, name, below, self.passphrase)
        info = self.connection_info(name)
        self.attach(info, provider=base.LUKS2_PROVIDER)
        self.check_guest(self.run_guest(info))
        self.encryptor(info).detach_volume(**self.metadata())

    def test_handle(self):
        source, parent = self.golden("luks2")
        name, below = self.clone_name(), self.passphrase
        self.other_key()
        cloning.own_header(self.pool, parent, name, self.passphrase, LUKS2,
                           old_passphrase=below)
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            info = self.connection_info(name, keyring=stream.read())
        connector = connectors.RBDLuksConnector("false",
                                                execute=base.Refused())
        device = connector.connect_volume(info["data"])
        self.addCleanup(connector.disconnect_volume, info["data"], device)
        info["data"]["device_path"] = device["path"]
        self.attach(info, provider=base.LUKS2_PROVIDER)
        self.assertEqual(b"H" * 4096, device["path"].read(4096))
        self.encryptor(info).detach_volume(**self.metadata())
        device["path"].seek(0)
        self.assertEqual(b"RBDL", device["path"].read(4))

    @selection.full
    def test_only_its_own_key_is_asked_for(self):
        """Of the source's passphrase, no key manager knows anything."""
        source, parent = self.golden("luks2")
        name, below = self.clone_name(), self.passphrase
        self.forget(self.other_key())
        cloning.own_header(self.pool, parent, name, self.passphrase, LUKS2,
                           old_passphrase=below)
        info = self.connection_info(name)
        self.attach(info, provider=base.LUKS2_PROVIDER)
        self.check_guest(self.run_guest(info))
        self.encryptor(info).detach_volume(**self.metadata())
