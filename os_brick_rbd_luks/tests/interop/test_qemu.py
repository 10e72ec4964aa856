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

"""Volumes of ours in QEMU's luks driver, and QEMU's in ours."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.tests.interop import base
from os_brick_rbd_luks.tests import qemu


class QemuTestCase(base.Qemu):

    def assert_payload(self, opened, pattern, length=base.SIZE):
        """The file holds what our own cipher makes of the pattern."""
        start = opened.header.data_offset
        stored = self.content()[start:start + length]
        engine = cipher.SectorCipher(opened.header.cipher_spec,
                                     opened.volume_key)
        plain = bytes([pattern]) * length
        self.assertEqual(length, len(stored))
        self.assertNotIn(plain[:16], stored)
        self.assertTrue(plain == engine.decrypt(stored), "other bytes")
        self.assertTrue(engine.encrypt(plain) == stored, "other bytes")


@ddt.ddt
class OursTest(QemuTestCase):
    """What this package makes, QEMU uses."""

    @ddt.data(*base.every_format(("sha256",), ("sha512",)))
    @ddt.unpack
    def test_every_format(self, spec, size, name):
        self.create(cipher_spec=spec, key_bytes=size, hash_name=name)
        self.fill(base.OLD, 0x5a)
        self.assert_reads(base.OLD, 0x5a)
        opened = unlocking.unlock(self.open(), base.OLD)
        self.assert_payload(opened, 0x5a)
        self.assertFalse(self.opens(base.NEW))

    def test_guest_sees_what_was_asked_for(self):
        self.create()
        done = self.qemu_io(base.OLD, "length")
        self.assertEqual(b"1 MiB", done.stdout.strip())

    def test_sectors_of_ours_are_read_by_qemu(self):
        header = self.create()
        image = self.open()
        engine = cipher.SectorCipher(
            header.cipher_spec, unlocking.unlock(image, base.OLD).volume_key)
        image.write(header.data_offset + 1024,
                    engine.encrypt(b"\x33" * 4096, 2))
        self.assert_reads(base.OLD, 0x33, 1024, 4096)

    def test_keyslots(self):
        self.create()
        image = self.open()
        self.fill(base.OLD, 0x77)
        keyslots.add(image, base.OLD, base.OTHER, keyslot=7)
        keyslots.replace(image, base.OLD, base.NEW)
        self.assert_reads(base.NEW, 0x77)
        self.assert_reads(base.OTHER, 0x77)
        self.assertFalse(self.opens(base.OLD))

    def test_qemu_changes_them(self):
        self.create()
        qemu.patiently(lambda: self.run_tool(
            "qemu-img", "amend", "--object",
            f"secret,id=key,file={self.secret(base.OLD)}", "--object",
            f"secret,id=new,file={self.secret(base.NEW)}", "-o",
            "state=active,new-secret=new,iter-time=10", "--image-opts",
            f"driver=luks,key-secret=key,file.driver=file,"
            f"file.filename={self.path}", check=False))
        image = self.open()
        self.assertEqual(
            unlocking.unlock(image, base.OLD).volume_key,
            unlocking.unlock(image, base.NEW).volume_key)
        keyslots.remove(image, base.OLD)
        self.assertTrue(self.opens(base.NEW))


@ddt.ddt
class TheirsTest(QemuTestCase):
    """What QEMU makes, this package opens and changes."""

    @ddt.data(
        ("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64", 64),
        ("cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64", 32),
        ("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,"
         "ivgen-hash-alg=sha256", 32),
        ("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=essiv,"
         "ivgen-hash-alg=sha256", 16),
        ("cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain64", 32),
        ("cipher-alg=aes-128,cipher-mode=cbc,ivgen-alg=plain64", 16),
        ("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,"
         "hash-alg=sha1", 64),
        ("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,"
         "hash-alg=sha512", 64),
        ("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,"
         "hash-alg=sha224", 64),
        ("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64,"
         "hash-alg=sha384", 64))
    @ddt.unpack
    def test_rekeyed(self, options, size):
        self.format(options)
        self.fill(base.OLD, 0x3c)
        image = self.open()
        opened = unlocking.unlock(image, base.OLD)
        self.assertEqual(size * 8, opened.header.key_bits)
        self.assert_payload(opened, 0x3c)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.NEW)
        keyslots.replace(image, base.OLD, base.NEW)
        self.assert_reads(base.NEW, 0x3c)
        self.assertFalse(self.opens(base.OLD))
        keyslots.add(image, base.NEW, base.OTHER)
        self.assertTrue(self.opens(base.OTHER))
        keyslots.remove(image, base.OTHER)
        self.assertFalse(self.opens(base.OTHER))
        self.assert_payload(unlocking.unlock(image, base.NEW), 0x3c)

    def test_layout_of_upstream(self):
        """What upstream's Cinder driver makes: 4040 sectors of header."""
        self.format("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64")
        self.assertEqual(4040 * 512, header_io.read_header(
            self.open()).data_offset)

    @ddt.data("cipher-alg=serpent-256,cipher-mode=xts",
              "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain",
              "cipher-alg=aes-256,cipher-mode=ecb,ivgen-alg=plain")
    def test_unsupported_is_refused(self, options):
        self.format(options)
        before = self.content()
        error = self.assertRaises(
            exception.UnsupportedHeader, keyslots.replace, self.open(),
            base.OLD, base.NEW)
        self.assertIn("cipher", error.what)
        self.assertEqual(before, self.content())
