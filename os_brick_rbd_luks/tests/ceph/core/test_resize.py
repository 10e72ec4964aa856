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

"""Resized volumes, as QEMU, librbd and those who have them open see them."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import describe
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph.core import clones
from os_brick_rbd_luks.tests import units

SIZE = clones.SIZE
LUKS1, LUKS2 = clones.LUKS1, clones.LUKS2


@ddt.ddt
class ResizeTest(clones.CloneTestCase):

    def create(self, options=LUKS1):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, options)
        self.write(name, [base.KEY], (0, b"Q" * units.MIB),
                   header=options.type)
        return name

    def resize(self, name, size, **options):
        with self.pool.open(name) as image:
            resizing.resize(image, size, **options)

    def assert_guest(self, name, size, kind="luks1", key=base.KEY):
        """Size and data, by every program that opens it."""
        if kind == "luks1":
            self.assertEqual(size, self.guest_size(name, key))
            self.qemu_io(name, key, "read -P 0x51 0 1M",
                         f"write -P 0x5a {size - 512} 512",
                         f"read -P 0x5a {size - 512} 512")
        else:
            self.assertEqual(size, self.guest_bytes(name, [key], kind))
            self.assertEqual(b"Q" * 8, self.read(name, [key], 0, 8, kind))

    @ddt.data(LUKS1, LUKS2)
    def test_grow_and_shrink(self, options):
        name = self.create(options)
        for size in (SIZE + 4096, 1024 * units.MIB, 32 * units.MIB,
                     32 * units.MIB - 4096):
            self.resize(name, size, force=True)
            self.assert_guest(name, size, options.type)
            self.assertTrue(self.opens_in_librbd(name, base.KEY,
                                                 options.type))

    def test_upstream_s_layout(self):
        name = self.name()
        self.qemu_create(name, 64 * units.MIB)
        self.qemu_io(name, base.KEY, "write -P 0x51 0 1M")
        for size in (100 * units.MIB, 48 * units.MIB):
            self.resize(name, size, force=True)
            with self.pool.open(name, read_only=True) as image:
                facts = describe.describe_image(image)
            self.assertEqual((4040 * 512, size), (
                facts["data_offset"], facts["decrypted_size"]))
            self.assert_guest(name, size)

    @ddt.data(*((options, decrypts) for options in (LUKS1, LUKS2)
                for decrypts in (True, False)))
    @ddt.unpack
    def test_grow_in_use(self, options, decrypts):
        """The client that uses it does the work, and counts its way."""
        name = self.create(options)
        with self.open_pool().open(name) as user:
            if decrypts:
                user.load_encryption(options.type, base.KEY)
            # So it has librbd's exclusive lock.
            user._image.write(b"used", user.size() - 512)
            self.assertTrue(user._image.is_exclusive_lock_owner())
            for size in (4 * SIZE, 5 * SIZE):
                self.resize(name, size)
                with self.pool.open(name, read_only=True) as image:
                    facts = describe.describe_image(image)
                self.assertEqual(size, facts["decrypted_size"])
                self.assertEqual(size + (
                    0 if decrypts else facts["data_offset"]), user.size())
            self.assertTrue(user._image.is_exclusive_lock_owner())
            self.assertRaises(exception.ImageLocked, self.resize, name, SIZE,
                              force=True)
            self.assertRaises(exception.OperationRefused, self.resize, name,
                              5 * SIZE + units.MIB)
        self.assert_guest(name, 5 * SIZE, options.type)

    def test_shrink_unasked(self):
        name = self.create()
        error = self.assertRaises(exception.WouldShrink, self.resize, name,
                                  SIZE - 512)
        self.assertIn(str(SIZE), str(error))
        self.assert_guest(name, SIZE)

    def test_clone_with_holes(self):
        """What was never written stays zeros, wherever it is cut."""
        source, name = self.create(LUKS2), self.name()
        cloning.rekeyed(self.pool, self.snapshot(source), name, base.KEY,
                        base.NEW_KEY)
        hole = SIZE - 4 * units.MIB
        for size in (hole + 2 * units.MIB, hole + units.MIB + 4096):
            self.assertRaises(exception.OperationRefused, self.resize, name,
                              size, force=True)
        self.resize(name, hole, force=True)
        with self.pool.open(name) as image:
            view = decryption.open_view(
                image, header_io.read_header(image), base.NEW_KEY)
            self.assertEqual(hole, view.size())
            self.assertEqual(b"Q" * units.MIB, view.read(0, units.MIB))
            for offset in range(4 * units.MIB, hole, 4 * units.MIB):
                self.assertFalse(view.read(offset, 4 * units.MIB).strip(
                    b"\0"), offset)

    def test_clone(self):
        source, name = self.create(), self.name()
        cloning.rekeyed(self.pool, self.snapshot(source), name, base.KEY,
                        base.NEW_KEY)
        for size in (2 * SIZE, SIZE // 2 + 512):
            self.resize(name, size, force=True)
            self.assert_guest(name, size, key=base.NEW_KEY)
        # The source has a snapshot.
        self.resize(source, SIZE // 2, force=True)
        self.assert_guest(source, SIZE // 2)
        self.assert_guest(name, SIZE // 2 + 512, key=base.NEW_KEY)

    def test_file(self):
        path = self.temp + "/volume"
        store = rawfile.FileStore()
        creating.create(store, path, SIZE, base.KEY)
        with store.open(path) as image:
            resizing.resize(image, 2 * SIZE)
        done = base.run(
            "qemu-img", "info", "--object",
            "secret,id=key,file=/dev/stdin", "--image-opts",
            f"driver=luks,key-secret=key,file.filename={path}",
            stdin=base.KEY)
        self.assertIn(f"({2 * SIZE} bytes)", done.stdout.decode())

    def test_the_command(self):
        name = self.create()
        target = f"volumes/{name}"
        shown = self.rbd_luks("resize", target, "--size", "128M")
        self.assertEqual(128 * units.MIB, shown["decrypted_size"])
        errors = self.rbd_luks("resize", target, "--size", "64M", code=5)
        self.assertIn("--force", errors)
        self.rbd_luks("resize", target, "--size", "100", code=1)
        self.rbd_luks("resize", target, "--size", "32M", "--force")
        self.assert_guest(name, 32 * units.MIB)
