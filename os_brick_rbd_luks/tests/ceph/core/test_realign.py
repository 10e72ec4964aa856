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

"""Volumes of Cinder's own driver, whose payload is moved as it is."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

CBC = ("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,"
       "ivgen-hash-alg=sha256,iter-time=10")


@ddt.ddt
class RealignTest(copies.CopyTestCase):

    def upstream_s(self, data, options="cipher-alg=aes-256,iter-time=10"):
        """A volume with QEMU's layout, two passphrases and data."""
        name = self.name()
        self.qemu_create(name, len(data), options)
        self.rbd_luks("key", "add", f"volumes/{name}", "--passphrase-file",
                      self.key, "--new-passphrase-file", self.new_key,
                      "--iterations", "1000")
        self.import_(self.image_file(data), "--existing",
                     target=f"volumes/{name}")
        return name

    def realign(self, source, name, *options, code=0):
        return self.rbd_luks("realign", f"volumes/{source}",
                             f"volumes/{name}", *options, code=code)

    @ddt.data(*selection.cases(5 * units.MIB + 512, full=(20 * units.MIB,)))
    def test_both_passphrases_and_all_data(self, size):
        data = copies.content(size)
        source = self.upstream_s(data)
        if copies.RELEASE >= 18:
            self.assertRaises(exception.ImageError, self.read, source)
        shown = self.realign(source, self.image)
        self.assertEqual((4 * units.MIB, size), (shown["data_offset"],
                                           shown["decrypted_size"]))
        for key in (base.KEY, base.NEW_KEY):
            self.assertEqual(size, self.guest_size(self.image, key))
            self.assert_same_in_qemu(data, self.image, key=key)
            # Of whichever Ceph is here.
            self.assert_same_in_librbd(data, self.image, key=key)
        self.assert_same_in_qemu(data, source)
        self.assert_opens_in_cryptsetup()

    def assert_opens_in_cryptsetup(self):
        path = self.path("whole")
        self.rbd("export", self.target, path)
        for key in (self.key, self.new_key):
            base.run("cryptsetup", "open", "--test-passphrase", "--type",
                     "luks1", "--key-file", key, path)

    def test_a_cipher_that_only_qemu_knows(self):
        data = copies.content(9 * units.MIB)
        source = self.upstream_s(data, CBC)
        self.realign(source, self.image)
        for key in (base.KEY, base.NEW_KEY):
            self.assert_same_in_qemu(data, self.image, key=key)

    @selection.full
    def test_what_was_never_written_stays_so(self):
        source = self.name()
        self.qemu_create(source, units.GIB)
        self.qemu_io(source, base.KEY, "write -P 0x61 700M 64k")
        self.realign(source, self.image)
        self.qemu_io(self.image, base.KEY, "read -P 0x61 700M 64k")
        with self.pool.open(self.image) as image:
            self.assertLess(sum(length for _at, length in image.extents()),
                            24 * units.MIB)

    def test_snapshot_of_a_volume_in_use(self):
        data = copies.content(6 * units.MIB)
        source = self.upstream_s(data)
        with self.open_pool().open(source) as image:
            image.create_snapshot("s")
            self.assertIn("in use", self.realign(source, self.image, code=5))
            image.write(5 * units.MIB, b"later")
            self.realign(f"{source}@s", self.image)
        self.assert_same_in_qemu(data, self.image)

    def test_refusals(self):
        aligned = self.volume(copies.content(units.MIB))
        self.assertIn("aligned already", self.realign(aligned, self.image,
                                                      code=5))
        plain = self.plain_image(b"x" * units.MIB)
        self.realign(plain, self.image, code=4)
        self.assert_nothing_made()
        source = self.name()
        self.qemu_create(source, 4 * units.MIB)
        self.assertIn("exists already", self.realign(source, plain, code=5))
        self.assert_same(b"x" * units.MIB, self.read(plain, kind=None))
