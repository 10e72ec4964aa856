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

"""LUKS2 headers of ours in librbd on real images, and librbd's in ours."""

from __future__ import annotations

import ddt
import rbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

SIZE = 64 * units.MIB
LUKS2 = rbd.RBD_ENCRYPTION_FORMAT_LUKS2


def pattern(seed, length=65536):
    return bytes((seed + index) % 251 for index in range(length))


class Luks2TestCase(base.FunctionalTestCase):

    def opens(self, name, key):
        return self.opens_in_librbd(name, key, "luks2")

    def read_by_librbd(self, name, key, offset, length):
        with self.pool.open(name) as image:
            image._image.encryption_load(LUKS2, key.decode())
            return image._image.read(offset, length)

    def write_by_librbd(self, name, key, offset, data):
        with self.pool.open(name) as image:
            image._image.encryption_load(LUKS2, key.decode())
            image._image.write(data, offset)

    def decrypted(self, name, key, offset, length):
        """What our own cipher makes of the stored bytes."""
        with self.pool.open(name) as image:
            opened = unlocking.unlock(image, key)
            stored = image.read(opened.header.data_offset + offset, length)
        engine = cipher.SectorCipher(
            opened.header.cipher_spec, opened.volume_key,
            opened.header.segment.sector_size)
        return engine.decrypt(stored, offset // cipher.SECTOR)


@ddt.ddt
class OursTest(Luks2TestCase):
    """What this package makes."""

    def create(self, layout=None, **options):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY,
                        formatting.Options(type="luks2", **options),
                        **(layout or {}))
        return name

    @ddt.data(*selection.cases((64, 4096), (32, 512),
                               full=((64, 512), (32, 4096))))
    @ddt.unpack
    def test_librbd_reads_and_writes(self, size, sector):
        name = self.create(key_bytes=size, sector_size=sector)
        with self.pool.open(name) as image:
            self.assertEqual(SIZE + 16 * units.MIB, image.size())
            image._image.encryption_load(LUKS2, base.KEY.decode())
            self.assertEqual(SIZE, image._image.size())
            image._image.write(pattern(1), 0)
            image._image.write(pattern(2), 12 * units.MIB)
            image._image.write(pattern(3), SIZE - 65536)
            # What was never written reads as zeros.
            self.assertEqual(bytes(65536), image._image.read(units.MIB, 65536))
        for seed, offset in ((1, 0), (2, 12 * units.MIB), (3, SIZE - 65536)):
            self.assertEqual(pattern(seed),
                             self.decrypted(name, base.KEY, offset, 65536))

    @ddt.data(*selection.cases(
        {"order": 12},
        {"order": 22, "stripe_unit": 1 << 22, "stripe_count": 3},
        full=({"order": 20}, {"order": 25}, {"order": 16})))
    def test_any_striping(self, layout):
        name = self.create(layout)
        with self.pool.open(name) as image:
            header = unlocking.unlock(image, base.KEY).header
            self.assertEqual(0, header.data_offset % image.stripe_period())
            self.assertGreaterEqual(header.data_offset, 16 * units.MIB)
            self.assertEqual(SIZE + header.data_offset, image.size())
        self.assertTrue(self.opens(name, base.KEY))

    @ddt.data(1 << 20, 1 << 16)
    def test_striping_that_librbd_garbles(self, unit):
        error = self.assertRaises(
            exception.InvalidParameter, self.create,
            {"order": 22, "stripe_unit": unit, "stripe_count": 3})
        self.assertIn("choose luks1", str(error))

    def test_rekey_keeps_the_data(self):
        name = self.create()
        self.write_by_librbd(name, base.KEY, units.MIB, pattern(4))
        with self.pool.open(name) as image:
            keyslots.add(image, base.KEY, b"other", iterations=2000)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            keyslots.remove(image, b"other")
        self.assertFalse(self.opens(name, base.KEY))
        self.assertFalse(self.opens(name, b"other"))
        self.assertEqual(pattern(4), self.read_by_librbd(
            name, base.NEW_KEY, units.MIB, 65536))

    def test_argon2(self):
        name = self.create(argon2=kdfs.Argon2Cost(4, 65536, 2))
        self.assertTrue(self.opens(name, base.KEY))
        self.assertFalse(self.opens(name, base.NEW_KEY))

    def test_rekey_while_a_guest_runs(self):
        """Somebody who has it open goes on reading and writing."""
        name = self.create()
        with self.pool.open(name) as guest, self.pool.open(name) as image:
            guest._image.encryption_load(LUKS2, base.KEY.decode())
            guest._image.write(pattern(5), 0)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            guest._image.write(pattern(6), 65536)
            self.assertEqual(pattern(5), guest._image.read(0, 65536))
        self.assertEqual(pattern(6), self.read_by_librbd(
            name, base.NEW_KEY, 65536, 65536))

    @ddt.data(20, 16404)
    def test_librbd_with_a_damaged_copy(self, place):
        name = self.create()
        with self.pool.open(name) as image:
            image.write(place, b"\xff")
            self.assertTrue(header_io.read_header(image).ailment.damage)
        self.assertTrue(self.opens(name, base.KEY))
        with self.pool.open(name) as image:
            repair.repair(image)
            self.assertIsNone(header_io.read_header(image).ailment)
        self.assertTrue(self.opens(name, base.KEY))

    def test_qemu_through_librbd(self):
        """As a guest's disk with the librbd engine."""
        name = self.create()
        options = (f"driver=rbd,pool=volumes,image={name},user=cinder,"
                   f"conf={self.conf},encrypt.format=luks2,"
                   f"encrypt.key-secret=key")
        done = base.run(
            "qemu-io", "--object", "secret,id=key,file=/dev/stdin",
            "--image-opts", "-c", "write -P 0x5a 1M 1M", "-c",
            "read -P 0x5a 1M 1M", "-c", "read -P 0 4M 1M", options,
            stdin=base.KEY)
        self.assertNotIn(b"failed", done.stdout + done.stderr)
        self.assertEqual(b"\x5a" * 4096, self.decrypted(
            name, base.KEY, units.MIB, 4096))

    def test_qemu_s_own_driver_refuses(self):
        """As engines says."""
        name = self.create()
        done = self.qemu_io(name, base.KEY, "read 0 512", check=False)
        self.assertIn(b"version 2 is not supported", done.stderr)


@ddt.ddt
class TheirsTest(Luks2TestCase):
    """What librbd makes: a keyslot of Argon2 by its own benchmark."""

    def make(self, algorithm=rbd.RBD_ENCRYPTION_ALGORITHM_AES256):
        name = self.name()
        with self.pool.create(name, SIZE + 16 * units.MIB) as image:
            image._image.encryption_format(LUKS2, base.KEY.decode(),
                                           algorithm)
            image._image.write(pattern(1), units.MIB)
        return name

    @ddt.data(*selection.cases(
        (rbd.RBD_ENCRYPTION_ALGORITHM_AES256, 512),
        full=((rbd.RBD_ENCRYPTION_ALGORITHM_AES128, 256),)))
    @ddt.unpack
    def test_opened_and_changed(self, algorithm, bits):
        name = self.make(algorithm)
        with self.pool.open(name) as image:
            header = header_io.read_header(image)
            self.assertEqual((bits, 4096, 16 * units.MIB, ["argon2id"]), (
                header.key_bits, header.segment.sector_size,
                header.data_offset,
                [slot.kdf.name for slot in header.keyslots]))
            self.assertEqual(header.pack(), image.read(0, 32768))
            self.assertEqual(SIZE, image.size() - header.data_offset)
        self.assertEqual(pattern(1), self.decrypted(name, base.KEY, units.MIB,
                                                    65536))
        with self.pool.open(name) as image:
            saved = header_backup.backup(image)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            self.assertRaises(exception.WrongPassphrase, unlocking.unlock,
                              image, base.KEY)
        self.assertFalse(self.opens(name, base.KEY))
        self.assertEqual(pattern(1), self.read_by_librbd(
            name, base.NEW_KEY, units.MIB, 65536))
        with self.pool.open(name) as image:
            header_backup.restore(image, saved, force=True)
        self.assertEqual(pattern(1), self.read_by_librbd(
            name, base.KEY, units.MIB, 65536))

    def test_our_layout_is_theirs(self):
        """All but keys, salts and costs."""
        ours = self.name()
        creating.create(self.pool, ours, SIZE, base.KEY,
                        formatting.Options(type="luks2"))
        trees = []
        for name in (ours, self.make()):
            with self.pool.open(name) as image:
                tree = header_io.read_header(image).metadata.tree
            del tree["keyslots"]["0"]["kdf"]
            for member in ("salt", "digest", "iterations"):
                del tree["digests"]["0"][member]
            trees.append(tree)
        self.assertEqual(*trees)
