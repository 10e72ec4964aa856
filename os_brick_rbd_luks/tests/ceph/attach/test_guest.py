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

"""What a real guest reads and writes, and the host with it."""

from __future__ import annotations

import hashlib
import os
import subprocess

from castellan.common.objects import symmetric_key
from castellan.common import utils
from castellan import key_manager
from os_brick import encryptors
from oslo_config import cfg

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import selection


class GuestTest(base.AttachmentTestCase):
    """By os-brick's own entry functions, with a key of Barbican's."""

    def setUp(self):
        super().setUp()
        conf = cfg.ConfigOpts()
        conf([], default_config_files=[os.path.join(
            os.environ["RBD_LUKS_TEST_KEYS"], "key-manager.conf")])
        self.manager = key_manager.API(conf)
        self.context = utils.credential_factory(conf=conf)
        self.key_id = self.manager.store(
            self.context, symmetric_key.SymmetricKey("AES", 256, self.key))
        self.addCleanup(self.manager.delete, self.context, self.key_id)

    def attach(self, connection_info, **changes):
        metadata = self.metadata(**changes)
        encryptors.get_volume_encryptor(
            "false", connection_info, self.manager, base.Refused(),
            **metadata).attach_volume(self.context, **metadata)

    def mapped(self):
        """Devices that dm-crypt could have made on this host."""
        return set(os.listdir("/dev/mapper")) if os.path.isdir(
            "/dev/mapper") else set()

    def children(self):
        """Processes that this one has started and that still run."""
        done = subprocess.run(["ps", "-o", "comm=", "--ppid",
                               str(os.getpid())], capture_output=True,
                              text=True)
        return [name for name in done.stdout.split() if name != "ps"]

    def test_guest_and_host_see_the_same(self):
        name = self.volume()
        # What Cinder would have put there, by QEMU's luks driver.
        self.qemu_io(name, self.passphrase, "write -P 0x48 0 8M",
                     f"write -P 0x5a {base.SIZE - 512} 512")
        info = self.connection_info(name)
        before = self.mapped(), self.children()
        self.attach(info)
        guest = self.guest(self.disk(info), guests.READER)
        guest.wait("waiting")
        self.assertEqual(before, (self.mapped(), self.children()))
        self.assert_read(guest.finish())
        self.encryptor(info).detach_volume(**self.metadata())
        self.assertEqual([], self.secrets(name))
        self.assert_host_reads_what_the_guest_wrote(name)

    def assert_read(self, said):
        """A reader has seen all of the volume."""
        self.assertEqual(str(base.SIZE), said["size"])
        self.assertIn(hashlib.sha256(b"H" * (8 << 20)).hexdigest(),
                      said["read"])
        self.assertIn(hashlib.sha256(b"Z" * 512).hexdigest(), said["last"])

    def assert_host_reads_what_the_guest_wrote(self, name):
        self.qemu_io(name, self.passphrase, "read -P 0x47 16M 1M",
                     "read -P 0x48 0 8M")
        with self.pool.open(name) as image:
            image.load_encryption("luks1", self.passphrase)
            self.assertEqual(b"G" * (1 << 20), image.read(16 << 20, 1 << 20))
            self.assertEqual(base.SIZE, image.size())

    def test_luks2_by_librbd_inside_qemu(self):
        name = self.volume(header="luks2")
        with self.pool.open(name) as image:
            image.load_encryption("luks2", self.passphrase)
            image.write(0, b"H" * (8 << 20))
            image.write(base.SIZE - 512, b"Z" * 512)
        info = self.connection_info(name)
        self.attach(info, provider=base.LUKS2_PROVIDER)
        self.assertEqual(("luks2", "librbd"), (
            attachment.read(info).format, attachment.read(info).engine))
        self.assert_read(self.guest(self.disk(info),
                                    guests.READER).finish())
        self.encryptor(info).detach_volume(**self.metadata())
        self.assertEqual([], self.secrets(name))
        with self.pool.open(name) as image:
            image.load_encryption("luks2", self.passphrase)
            self.assertEqual(b"G" * (1 << 20), image.read(16 << 20, 1 << 20))
            # A hole that nobody wrote: zeros, for the guest as well.
            self.assertEqual(bytes(1 << 20), image.read(32 << 20, 1 << 20))

    @selection.full
    def test_guest_of_a_rekeyed_volume(self):
        """Upstream attaches one with the stale secret."""
        name = self.volume()
        info = self.connection_info(name)
        self.attach(info)
        old, self.key = self.passphrase, os.urandom(32)
        self.key_id = self.manager.store(
            self.context, symmetric_key.SymmetricKey("AES", 256, self.key))
        self.addCleanup(self.manager.delete, self.context, self.key_id)
        with self.pool.open(name) as image:
            keyslots.replace(image, old, self.passphrase)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        said = self.guest(self.disk(info), "echo size $(blockdev "
                          "--getsize64 /dev/vda)").finish()
        self.assertEqual(str(base.SIZE), said["size"])

    @selection.full
    def test_the_command_s_xml(self):
        """``rbd-luks attach-xml`` is good for a guest, too."""
        name = self.volume()
        info = self.connection_info(name)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        xml = functional.run(
            *self.command("attach-xml", f"volumes/{name}", "--usage", name,
                          "--ceph-secret", self.ceph_secret()),
            env=self.environment()).stdout.decode()
        self.assertNotIn(self.passphrase.decode(), xml)
        said = self.guest(xml, "echo size $(blockdev --getsize64 /dev/vda)"
                          ).finish()
        self.assertEqual(str(base.SIZE), said["size"])
