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

"""Volumes whose payload was moved, in the tools that made them."""

from __future__ import annotations

import json
import os

import ddt

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import whole
from os_brick_rbd_luks.tests.interop import base
from os_brick_rbd_luks.tests import units

#: What upstream's driver has QEMU make.
UPSTREAM = 4040 * 512


class Moving(base.InteropTestCase):

    def move(self, data_offset):
        """Copy the volume to a file with its payload there.

        ``self.path`` is that file from now on.

        :returns: its header
        """
        with self.store.open(self.path, read_only=True) as image:
            header = header_io.read_header(image)
            start = image.read(0, header.keyslots_end)
            payload = image.read(header.data_offset, image.size())
        moved = header.relocate(data_offset)
        whole_start = whole.join(moved, whole.areas(header, start))
        self.assertLessEqual(len(whole_start), data_offset)
        self.path = self.file("moved", whole_start.ljust(
            data_offset, b"\0") + payload)
        self.assertEqual(moved, header_io.read_header(self.open()))
        return moved


@ddt.ddt
class QemuTest(base.Qemu, Moving):

    @ddt.data(
        "cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64",
        "cipher-alg=aes-128,cipher-mode=xts,ivgen-alg=plain64",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=essiv,"
        "ivgen-hash-alg=sha256",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain64",
        # Ours to move, though not to open.
        "cipher-alg=serpent-256,cipher-mode=xts,ivgen-alg=plain64",
        "cipher-alg=aes-256,cipher-mode=cbc,ivgen-alg=plain")
    def test_reads_what_it_wrote(self, options):
        self.format(options)
        self.fill(base.OLD, 0x5a, 0, base.SIZE // 2)
        self.fill(base.OLD, 0xa5, base.SIZE // 2, base.SIZE // 2)
        old = header_io.read_header(self.open()).data_offset
        self.move(4 * units.MIB)
        self.assertNotEqual(4 * units.MIB, old)
        self.assert_reads(base.OLD, 0x5a, 0, base.SIZE // 2)
        self.assert_reads(base.OLD, 0xa5, base.SIZE // 2, base.SIZE // 2)
        self.assertEqual(b"1 MiB", self.qemu_io(
            base.OLD, "length").stdout.strip())
        self.assertFalse(self.opens(base.NEW))

    def test_upstream(self):
        """Its layout, and all that qemu-img tells of the moved volume."""
        self.format("cipher-alg=aes-256,cipher-mode=xts,ivgen-alg=plain64")
        keyslots.add(self.open(), base.OLD, base.NEW, keyslot=7)
        before = self.info()
        self.assertEqual(UPSTREAM, before["payload-offset"])
        self.move(4 * units.MIB)
        self.assertEqual({**before, "payload-offset": 4 * units.MIB},
                         self.info())
        self.fill(base.NEW, 0x11)
        self.assert_reads(base.OLD, 0x11)

    def info(self):
        return json.loads(self.run_tool(
            "qemu-img", "info", "--output=json", self.path).stdout)[
                "format-specific"]["data"]


@ddt.ddt
class Luks1Test(base.Cryptsetup, Moving):

    @ddt.data((4040, "aes-xts-plain64", 512), (4096, "aes-xts-plain64", 256),
              (2048, "aes-cbc-essiv:sha256", 128))
    @ddt.unpack
    def test_opens_what_it_made(self, sectors, spec, bits):
        self.format("--cipher", spec, "--key-size", str(bits),
                    "--align-payload", str(sectors))
        self.add_key(base.OLD, base.NEW, "--key-slot", "7")
        before = self.dump()
        self.assertEqual(0, int(before["Payload offset"]) % sectors)
        moved = self.move(8 * units.MIB)
        self.assert_dump_agrees(moved)
        self.assertEqual({**before, "Payload offset": "16384"}, self.dump())
        self.assertEqual(
            [True, True, False],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])

    def test_right_behind_the_keyslots(self):
        self.format("--cipher", "aes-xts-plain64", "--key-size", "512")
        header = header_io.read_header(self.open())
        self.assert_dump_agrees(self.move(header.keyslots_end))
        self.assertTrue(self.opens(base.OLD))


@ddt.ddt
class Luks2Test(base.Luks2, Moving):

    @ddt.data(
        ("usual", ()),
        ("small keyslots area", ("--luks2-keyslots-size", "1m", "--offset",
                                 "4040")),
        ("large header", ("--luks2-metadata-size", "256k",
                          "--luks2-keyslots-size", "4m", "--offset", "9224")),
        ("small sectors", ("--sector-size", "512", "--offset", "40008")),
        ("large sectors", ("--sector-size", "4096", "--offset", "40008")))
    @ddt.unpack
    def test_opens_what_it_made(self, _name, options):
        self.format(*options, size=24 * units.MIB)
        self.add_key(base.OLD, base.NEW, "--key-slot", "9", kdf="argon2id")
        self.cryptsetup("token", "import", "--json-file", self.file(
            "token", b'{"type":"theirs","keyslots":["9"],"uri":"x"}'),
            self.path)
        self.cryptsetup("config", self.path, "--label", "name", "--key-slot",
                        "9", "--priority", "prefer")
        before, key = self.tree(), self.volume_key()
        moved = self.move(32 * units.MIB)
        self.assert_dump_agrees(moved)
        before["segments"]["0"]["offset"] = str(32 * units.MIB)
        self.assertEqual(before, self.tree())
        self.assertEqual(
            [True, True, False],
            [self.opens(key) for key in (base.OLD, base.NEW, base.OTHER)])
        self.assertEqual(key, self.volume_key())
        # It found nothing to mend.
        self.assertEqual(moved.pack(), self.content(len(moved.pack())))
        self.assertEqual(key, unlocking.unlock(self.open(),
                                               base.OLD).volume_key)

    def volume_key(self):
        text = self.cryptsetup(
            "luksDump", "--dump-volume-key", "--key-file",
            self.secret(base.OLD), self.path).stdout.decode()
        return bytes.fromhex("".join(text.split("MK dump:")[1].split()))

    def test_both_copies_are_good(self):
        """Either one opens it alone."""
        self.format("--offset", "40008", size=24 * units.MIB)
        moved = self.move(32 * units.MIB)
        for place in (5000, 5000 + moved.primary.hdr_size):
            self.path = self.file("damaged", self.content())
            with open(self.path, "r+b") as stream:
                stream.seek(place)
                stream.write(b"\xff")
            self.assertTrue(self.opens(base.OLD))
            self.path = os.path.join(self.folder, "moved")


class PayloadTest(base.Cryptsetup, base.Qemu, Moving):
    """A volume that cryptsetup made, in QEMU."""

    TOOLS = ("cryptsetup", "qemu-img", "qemu-io")

    def test_reads_what_we_wrote(self):
        base.Cryptsetup.format(
            self, "--cipher", "aes-xts-plain64", "--key-size", "512",
            "--align-payload", "4040", size=UPSTREAM + base.SIZE)
        image = self.open()
        opened = unlocking.unlock(image, base.OLD)
        engine = cipher.SectorCipher(opened.header.cipher_spec,
                                     opened.volume_key)
        image.write(UPSTREAM, engine.encrypt(b"\x33" * base.SIZE))
        self.move(4 * units.MIB)
        self.assert_reads(base.OLD, 0x33)
