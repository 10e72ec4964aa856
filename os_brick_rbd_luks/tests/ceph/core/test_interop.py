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

"""Headers of ours in QEMU and librbd on real images, and theirs in ours."""

from __future__ import annotations

import itertools

import ddt
import rbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import qemu
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = 64 * units.MIB


def pattern(seed):
    return bytes((seed + index) % 251 for index in range(65536))


@ddt.ddt
class OursTest(base.FunctionalTestCase):
    """What this package makes."""

    def create(self, **options):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY,
                        formatting.Options(**options))
        return name

    @ddt.data(*[(spec, size) for spec, sizes in cipher.SUPPORTED.items()
                for size in sizes])
    @ddt.unpack
    def test_qemu_reads_what_it_wrote(self, spec, size):
        name = self.create(cipher_spec=spec, key_bytes=size)
        self.assertEqual(SIZE, self.guest_size(name, base.KEY))
        self.qemu_io(name, base.KEY, "write -P 0x5a 0 1M",
                     f"write -P 0xa5 {SIZE - 4096} 4k")
        done = self.qemu_io(name, base.KEY, "read -P 0x5a 0 1M",
                            f"read -P 0xa5 {SIZE - 4096} 4k")
        self.assertNotIn(b"failed", done.stdout + done.stderr)
        with self.pool.open(name) as image:
            opened = unlocking.unlock(image, base.KEY)
            stored = image.read(opened.header.data_offset, 4096)
        self.assertNotIn(b"\x5a" * 16, stored)
        engine = cipher.SectorCipher(spec, opened.volume_key)
        self.assertEqual(b"\x5a" * 4096, engine.decrypt(stored))

    @ddt.data(32, 64)
    def test_librbd_and_qemu_share_a_volume(self, size):
        name = self.create(key_bytes=size)
        with self.pool.open(name) as image:
            image._image.encryption_load(rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                                         base.KEY.decode())
            self.assertEqual(SIZE, image._image.size())
            image._image.write(b"\x77" * 65536, 4096)
        done = self.qemu_io(name, base.KEY, "read -P 0x77 4096 65536")
        self.assertNotIn(b"failed", done.stdout + done.stderr)

    @ddt.data({"order": 20}, {"order": 25}, {"order": 16},
              {"order": 22, "stripe_unit": 1 << 20, "stripe_count": 3})
    def test_payload_aligned_to_any_striping(self, layout):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK, **layout)
        with self.pool.open(name) as image:
            header = unlocking.unlock(image, base.KEY).header
            self.assertEqual(0, header.data_offset % image.stripe_period())
            self.assertEqual(SIZE + header.data_offset, image.size())
        self.assertTrue(self.opens_in_librbd(name, base.KEY))
        self.assertEqual(SIZE, self.guest_size(name, base.KEY))

    def test_rekeyed_volume_opens_with_the_new_key_only(self):
        name = self.create()
        self.qemu_io(name, base.KEY, "write -P 0x11 1M 1M")
        with self.pool.open(name) as image:
            keyslots.replace(image, base.KEY, base.NEW_KEY)
        for opens in (self.opens_in_qemu, self.opens_in_librbd):
            self.assertTrue(opens(name, base.NEW_KEY), opens)
            self.assertFalse(opens(name, base.KEY), opens)
        done = self.qemu_io(name, base.NEW_KEY, "read -P 0x11 1M 1M")
        self.assertNotIn(b"failed", done.stdout + done.stderr)


@ddt.ddt
class TheirsTest(base.FunctionalTestCase):
    """What librbd and QEMU make."""

    def make_with_librbd(self, algorithm):
        name = self.name()
        with self.pool.create(name, SIZE + (4 << 20)) as image:
            image._image.encryption_format(
                rbd.RBD_ENCRYPTION_FORMAT_LUKS1, base.KEY.decode(), algorithm)
            image._image.write(pattern(1), 0)
        return name

    def make_with_qemu(self, options):
        """In upstream Cinder's layout: the payload is not aligned."""
        name = self.name()
        qemu.patiently(lambda: base.run(
            "qemu-img", "create", "-f", "luks", "--object",
            "secret,id=key,file=/dev/stdin", "-o",
            f"key-secret=key,iter-time=10,{options}",
            f"rbd:{self.pool.name}/{name}:conf={self.conf}", "64M",
            stdin=base.KEY, check=False), lambda: self.remove_if_there(name))
        return name

    def remove_if_there(self, name):
        if name in self.pool.images():
            self.pool.remove(name)

    def check_rekey(self, name, opens):
        with self.pool.open(name) as image:
            self.assertRaises(exception.WrongPassphrase, unlocking.unlock,
                              image, base.NEW_KEY)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            unlocking.unlock(image, base.NEW_KEY)
        self.assertTrue(opens(name, base.NEW_KEY))
        self.assertFalse(opens(name, base.KEY))

    @ddt.data(*selection.cases(
        rbd.RBD_ENCRYPTION_ALGORITHM_AES256,
        full=(rbd.RBD_ENCRYPTION_ALGORITHM_AES128,)))
    def test_librbd(self, algorithm):
        name = self.make_with_librbd(algorithm)
        self.check_rekey(name, self.opens_in_librbd)
        with self.pool.open(name) as image:
            image._image.encryption_load(rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                                         base.NEW_KEY.decode())
            self.assertEqual(pattern(1), image._image.read(0, 65536))

    # Each takes QEMU's own benchmark of its KDF; tests/interop has all of them
    # on plain files in the quick tier.
    @ddt.data(*selection.cases(
        "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64",
        full=("cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64",
              "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,"
              "ivgen-hash-alg=sha256",
              "cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64,"
              "hash-alg=sha512")))
    def test_qemu(self, options):
        name = self.make_with_qemu(options)
        self.qemu_io(name, base.KEY, "write -P 0x3c 0 1M")
        self.check_rekey(name, self.opens_in_qemu)
        done = self.qemu_io(name, base.NEW_KEY, "read -P 0x3c 0 1M")
        self.assertNotIn(b"failed", done.stdout + done.stderr)

    @ddt.data(*itertools.product(
        # Ceph releases, by what librbd brings, that open this layout.
        (("cipher-mode=xts,ivgen-alg=plain64", {16}, "not aligned"),
         ("cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256", set(),
          "no cipher")),
        ("aes-128", "aes-256")))
    @ddt.unpack
    def test_librbd_opens_what_we_say_it_does(self, layout, algorithm):
        options, opening, reason = layout
        name = self.make_with_qemu(f"cipher-alg={algorithm},{options}")
        self.qemu_io(name, base.KEY, "write -P 0x3c 1M 64k")
        told = self.rbd_luks("info", f"volumes/{name}")["engines"]["librbd"]
        expected = releases.installed().release in opening
        self.assertEqual(expected, told["usable"], told)
        with self.pool.open(name) as image:
            if expected:
                image._image.encryption_load(rbd.RBD_ENCRYPTION_FORMAT_LUKS1,
                                             base.KEY.decode())
                self.assertEqual(SIZE, image._image.size())
                self.assertEqual(b"\x3c" * 65536,
                                 image._image.read(1 << 20, 65536))
            else:
                self.assertIn(reason, told["reason"])
                error = self.assertRaises(
                    rbd.Error, image._image.encryption_load,
                    rbd.RBD_ENCRYPTION_FORMAT_LUKS1, base.KEY.decode())
                # That would mean a wrong passphrase.
                self.assertNotIsInstance(error, rbd.PermissionError)
