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

"""Volumes that are copied into others with another volume key."""

from __future__ import annotations

import os

import ddt

from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


@ddt.ddt
class ReencryptTest(copies.CopyTestCase):

    def start_of(self, name, offset):
        """Cipher text of the payload."""
        with self.pool.open(name, read_only=True) as image:
            return image.read(offset, units.MIB)

    def test_to_and_fro(self):
        """LUKS1 to LUKS2, back, to plain text and to LUKS2 again."""
        data = copies.content(21 * units.MIB + 512 * 8)
        present, kind = self.volume(data), "luks1"
        key, new = self.key, self.new_key
        for other in ("luks2", "luks1", None, "luks2"):
            name = self.name()
            self.key, self.new_key = key, new
            shown = self.reencrypt(f"volumes/{present}", name, *(
                ("--type", other) if other else ("--plain",)))
            self.assertEqual((other or "none", len(data)),
                             (shown["type"], shown["decrypted_size"]))
            secret = base.KEY if new == self.path("key") else base.NEW_KEY
            self.assert_same_in_librbd(data, name, kind=other, key=secret)
            self.assert_same_in_librbd(data, name, kind=other, key=secret,
                                       piece=65536)
            if other == "luks1":
                self.assertEqual(len(data), self.guest_size(name, secret))
                self.assert_same_in_qemu(data, name, key=secret)
            present, kind = name, other
            # A plain one has no passphrase, so the other one stays.
            key, new = new, key
        self.assertEqual("luks2", kind)

    def test_another_volume_key(self):
        data = copies.content(5 * units.MIB)
        source, name = self.volume(data), self.name()
        before = self.start_of(source, 4 * units.MIB)
        self.reencrypt(f"volumes/{source}", name)
        after = self.start_of(name, 4 * units.MIB)
        same = [offset for offset in range(0, units.MIB, 512)
                if before[offset:offset + 512] == after[offset:offset + 512]]
        self.assertEqual([], same)
        self.assertFalse(self.opens_in_qemu(name, base.KEY))
        self.assertEqual(before, self.start_of(source, 4 * units.MIB))
        self.assert_same_in_qemu(data, source)

    @ddt.data(*selection.cases("luks2", full=("luks1",)))
    def test_holes(self, kind):
        """What was never written in one is zeros in the other."""
        name, data = self.name(), bytearray(32 * units.MIB)
        data[9 * units.MIB:9 * units.MIB + 4096] = b"d" * 4096
        source = self.volume(bytes(data), "--type", "luks2")
        self.reencrypt(f"volumes/{source}", name, "--type", kind)
        self.assert_same_in_librbd(data, name, kind=kind, key=base.NEW_KEY,
                                   piece=4096)
        if kind == "luks1":
            self.assert_same_in_qemu(data, name, key=base.NEW_KEY)

    @selection.full
    @ddt.data("cipher-alg=aes-256,iter-time=10",
              "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,"
              "ivgen-hash-alg=sha256,iter-time=10")
    def test_upstream_s_layout(self, options):
        source = self.name()
        self.qemu_create(source, 20 * units.MIB, options)
        data = copies.content(20 * units.MIB)
        self.import_(self.image_file(data), "--existing",
                     target=f"volumes/{source}")
        for kind in ("luks1", "luks2"):
            name = self.name()
            shown = self.reencrypt(f"volumes/{source}", name, "--type", kind)
            self.assertEqual(20 * units.MIB, shown["decrypted_size"])
            self.assert_same_in_librbd(data, name, kind=kind,
                                       key=base.NEW_KEY)
        self.assert_same_in_qemu(data, source)

    def test_plain_snapshot_of_a_volume_in_use(self):
        data = copies.content(9 * units.MIB)
        source = self.plain_image(data)
        with self.open_pool().open(source) as image:
            image.create_snapshot("s")
            image.write(5 * units.MIB, b"later")
            self.assertIn("in use", self.reencrypt(
                f"volumes/{source}", self.image, code=5))
            self.assert_nothing_made()
            self.reencrypt(f"volumes/{source}@s", self.image)
        self.assert_same_in_qemu(data, self.image, key=base.NEW_KEY)

    @selection.full
    def test_sizes(self):
        data = copies.content(9 * units.MIB)
        source = self.volume(data)
        self.assertIn("larger", self.reencrypt(
            f"volumes/{source}", self.image,
            "--size", str(9 * units.MIB - 512), code=5))
        self.assert_nothing_made()
        self.reencrypt(f"volumes/{source}", self.image, "--size", "16M")
        self.assertEqual(16 * units.MIB,
                         self.guest_size(self.image, base.NEW_KEY))
        self.assert_same_in_qemu(data, self.image, key=base.NEW_KEY)

    @selection.full
    def test_odd_size(self):
        """A plain image need not have whole sectors."""
        data = copies.content(4 * units.MIB + 4096 + 700)
        source = self.plain_image(data)
        for kind in ("luks1", "luks2"):
            name = self.name()
            self.reencrypt(f"volumes/{source}", name, "--type", kind)
            self.assert_same_in_librbd(data, name, kind=kind,
                                       key=base.NEW_KEY)

    def test_refusals(self):
        source = self.volume(copies.content(units.MIB))
        plain = self.plain_image(b"x" * units.MIB)
        self.assertIn("rbd cp", self.reencrypt(
            f"volumes/{plain}", self.image, "--plain", code=1))
        self.assertIn("exists", self.reencrypt(
            f"volumes/{source}", plain, "--force", code=5))
        self.key = self.new_key
        self.reencrypt(f"volumes/{source}", self.image, code=2)
        self.reencrypt("volumes/nowhere", self.image, code=4)
        self.assert_nothing_made()

    def test_clone_with_its_own_passphrase(self):
        """A copy needs its source no more."""
        if copies.RELEASE >= 18:
            # Its parent's passphrase is a key manager's, or none.
            return
        data = copies.content(9 * units.MIB)
        source, clone = self.volume(data), self.name()
        self.rbd_luks("clone", f"volumes/{source}", f"volumes/{clone}",
                      "--own-key", "--passphrase-file", self.key,
                      "--new-passphrase-file", self.new_key,
                      "--iterations", "1000")
        self.key, self.new_key = self.new_key, self.key
        self.reencrypt(f"volumes/{clone}", self.image)
        self.rbd_luks("remove", f"volumes/{clone}", "--force")
        with self.pool.open(self.image) as image:
            self.assertIsNone(image.parent())
        self.assert_same_in_qemu(data, self.image, key=base.KEY)


class OtherClusterTest(copies.OtherClusterTestCase):
    """From another cluster."""

    def test_all_ways(self):
        data = copies.content()
        raw = self.image_file(data)
        ours, self.conf = self.conf, self.other_conf
        encrypted, plain = "volumes/encrypted", "volumes/plain"
        self.import_(raw, target=encrypted)
        self.qemu_create("upstream", 8 * units.MIB,
                         pool=self.open_pool(user="admin"))
        self.qemu_io("upstream", base.KEY, "write -P 0x75 0 8M")
        self.rbd("import", raw, plain)
        self.conf = ours
        there = ("--source-conf", self.other_conf)
        self.reencrypt(encrypted, self.image, *there)
        self.assert_same_in_qemu(data, self.image, key=base.NEW_KEY)
        name = self.name()
        self.reencrypt(plain, name, *there, "--source-id", "admin")
        self.assert_same_in_qemu(data, name, key=base.NEW_KEY)
        name = self.name()
        self.rbd_luks("realign", "volumes/upstream", f"volumes/{name}",
                      *there)
        self.assert_same_in_librbd(b"\x75" * 8 * units.MIB, name)
        # Without the option it is an image of this cluster, which is none.
        self.reencrypt(encrypted, self.name(), code=4)
        self.assertTrue(os.path.exists(self.other_conf))
