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

"""Which programs open a volume: the table of reasons."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import engines
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

ALL = engines.Host(qemu=None, librbd=capabilities.Librbd(18), cryptsetup=None)
PACIFIC = engines.Host(qemu=None, librbd=capabilities.Librbd(16),
                       cryptsetup=None)
NONE = engines.Host(qemu="no QEMU", librbd=capabilities.Librbd(None),
                    cryptsetup="no cryptsetup")
RBD = engines.Store(is_rbd=True, journaling=False,
                    stripe_period=4 * units.MIB)
FILE = engines.Store(is_rbd=False, journaling=False,
                     stripe_period=4 * units.MIB)
JOURNALED = engines.Store(is_rbd=True, journaling=True,
                          stripe_period=4 * units.MIB)
WIDE = engines.Store(is_rbd=True, journaling=False,
                     stripe_period=16 * units.MIB)

INTERLEAVED = engines.Store(is_rbd=True, journaling=False,
                            stripe_period=4 * units.MIB, interleaves=True)

XTS = ("aes-xts-plain64", 64)
XTS_128 = ("aes-xts-plain64", 32)
CBC = ("aes-cbc-essiv:sha256", 32)
CBC_PLAIN = ("aes-cbc-plain64", 16)


def header(cipher, data_offset=4 * units.MIB):
    spec, key_bytes = cipher
    built = luks1.Luks1Header.build(
        bytes(key_bytes), cipher_spec=spec, hash_name="sha256",
        data_offset=data_offset, uuid="uuid")
    return built.add(bytes(key_bytes), b"passphrase").header


@ddt.ddt
class EnginesTest(base.OperationsTestCase):

    #: cipher, data offset, store, host, words of librbd's reason
    @ddt.data(
        (XTS, 4 * units.MIB, RBD, ALL, None),
        (XTS, 4 * units.MIB, RBD, PACIFIC, None),
        (XTS_128, 4 * units.MIB, RBD, ALL, None),
        (XTS, 8 * units.MIB, RBD, ALL, None),
        (XTS, 4 * units.MIB, RBD, NONE, "Ceph 16 or newer"),
        (XTS, 4 * units.MIB, FILE, ALL, "not an RBD image"),
        (CBC, 4 * units.MIB, RBD, ALL, "aes-cbc-essiv:sha256"),
        (CBC_PLAIN, 4 * units.MIB, RBD, PACIFIC, "aes-cbc-plain64"),
        (XTS, 4 * units.MIB, JOURNALED, ALL, "journaling"),
        (XTS, 4 * units.MIB, JOURNALED, PACIFIC, "journaling"),
        (XTS, 4 * units.MIB, INTERLEAVED, ALL, "stripe unit"),
        (XTS, 4 * units.MIB, INTERLEAVED, PACIFIC, "stripe unit"),
        (XTS, 4 * units.MIB, WIDE, ALL, "not aligned"),
        (XTS, 4 * units.MIB, WIDE, PACIFIC, None),
        (XTS, 4040 * 512, RBD, ALL, "not aligned"),
        (XTS, 4040 * 512, RBD, PACIFIC, None),
        (XTS, 16 * units.MIB, WIDE, ALL, None))
    @ddt.unpack
    def test_librbd(self, cipher, data_offset, store, host, reason):
        found = engines.engines(header(cipher, data_offset), store,
                                host)["librbd"]
        self.assertIs(reason is None, found.usable)
        self.assertIn(reason or "", found.reason or "")

    @ddt.data(XTS, XTS_128, CBC, CBC_PLAIN)
    def test_qemu_and_cryptsetup_open_all_that_we_write(self, cipher):
        for store in (RBD, FILE, JOURNALED, WIDE):
            found = engines.engines(header(cipher), store, ALL)
            self.assertEqual({"qemu", "librbd", "cryptsetup"}, set(found))
            self.assertEqual(claim.YES, found["qemu"])
            self.assertEqual(claim.YES, found["cryptsetup"])

    def test_what_the_host_has_not(self):
        found = engines.engines(header(XTS), RBD, NONE)
        self.assertEqual(claim.no("no QEMU"), found["qemu"])
        self.assertEqual(claim.no("no cryptsetup"), found["cryptsetup"])

    def test_cipher_of_others(self):
        image = self.make_volume()
        self.patch_header(image, 8, b"serpent")
        other = luks1.Luks1Header.parse(image.read(0, 592))
        found = engines.engines(other, RBD, ALL)
        for name, usable in (("qemu", None), ("librbd", False),
                             ("cryptsetup", None)):
            self.assertIs(usable, found[name].usable, name)
            self.assertIn("serpent-cbc-plain64", found[name].reason)

    @ddt.data((72, b"whirlpool\0", "whirlpool"), (72, b"sha3-256\0", "sha3"),
              (72, b"blake2b-512\0", "blake2b"),
              (208 + 4 * 48, b"\1\2\3\4", "damaged keyslot: 4"))
    @ddt.unpack
    def test_header_that_qemu_refuses(self, offset, data, reason):
        image = self.make_volume()
        self.patch_header(image, offset, data)
        other = luks1.Luks1Header.parse(image.read(0, 592))
        found = engines.engines(other, RBD, ALL)
        self.assertIs(False, found["qemu"].usable)
        self.assertIn(reason, found["qemu"].reason)

    @ddt.data("sha1", "sha224", "sha384", "sha512")
    def test_hashes_that_qemu_has(self, name):
        image = self.make_volume()
        self.patch_header(image, 72, name.encode() + b"\0")
        other = luks1.Luks1Header.parse(image.read(0, 592))
        self.assertEqual(claim.YES, engines.engines(other, RBD, ALL)["qemu"])


    @ddt.data("ripemd160", "md5", "sm3")
    def test_hashes_that_some_qemu_has(self, name):
        image = self.make_volume()
        self.patch_header(image, 72, name.encode() + b"\0")
        other = luks1.Luks1Header.parse(image.read(0, 592))
        found = engines.engines(other, RBD, ALL)["qemu"]
        self.assertIsNone(found.usable)
        self.assertIn(name, found.reason)


@ddt.ddt
class Luks2Test(base.OperationsTestCase):

    def header(self, clone=False, **segment):
        volume = headers.sample(
            headers.OLD, spec="aes-xts-plain64", size=64, clone=clone,
            data_offset=16 * units.MIB)
        tree = headers.tree(volume)
        tree["segments"]["0"].update(segment)
        return luks2.Luks2Header.parse(headers.craft(volume.header, tree))

    def refusals(self, of, host=ALL, store=RBD):
        return {name: found.reason for name, found in engines.engines(
            of, store, host).items() if found.reason}

    def test_librbd_and_cryptsetup(self):
        for host in (ALL, PACIFIC):
            self.assertEqual(
                {"qemu": "QEMU's luks driver knows only LUKS1"},
                self.refusals(self.header(), host))

    @ddt.data((JOURNALED, "journaling"), (FILE, "not an RBD image"),
              (dataclasses.replace(RBD, stripe_period=12 * units.MIB),
               "not aligned"))
    @ddt.unpack
    def test_store(self, store, reason):
        self.assertIn(reason, self.refusals(self.header(), store=store)[
            "librbd"])

    @ddt.data(({"iv_tweak": "8"}, "IVs"), ({"size": "4096"}, "fixed size"),
              ({"encryption": "aes-cbc-plain64"}, "no cipher"),
              ({"integrity": {"type": "hmac(sha256)"}}, "integrity"))
    @ddt.unpack
    def test_what_librbd_does_not_know(self, segment, reason):
        self.assertIn(reason, self.refusals(self.header(**segment))[
            "librbd"])

    def test_several_segments_and_requirements(self):
        volume = headers.sample(
            headers.OLD, spec="aes-xts-plain64", size=64,
            data_offset=16 * units.MIB)
        tree = headers.tree(volume)
        tree["segments"]["0"]["size"] = "4096"
        tree["segments"]["1"] = {"type": "linear", "size": "dynamic",
                                 "offset": str(17 * units.MIB)}
        of = luks2.Luks2Header.parse(headers.craft(volume.header, tree))
        self.assertIn("several segments", self.refusals(of)["librbd"])
        tree["config"]["requirements"] = {"mandatory": ["later"]}
        of = luks2.Luks2Header.parse(headers.craft(volume.header, tree))
        self.assertIn("later", self.refusals(of)["librbd"])

    def test_clone(self):
        over = dataclasses.replace(RBD, has_parent=True)
        of = self.header(clone=True)
        self.assertEqual({"qemu", "cryptsetup"},
                         set(self.refusals(of, store=over)))
        self.assertIn("Ceph 18", self.refusals(of, PACIFIC, over)["librbd"])
        first = luks1.Luks1Header.build(
            bytes(64), cipher_spec="aes-xts-plain64", hash_name="sha256",
            data_offset=4 * units.MIB, uuid="uuid", clone=True)
        first = first.add(bytes(64), b"passphrase").header
        self.assertEqual({"qemu", "cryptsetup"},
                         set(self.refusals(first, store=over)))

    def test_clone_without_its_parent(self):
        self.assertIn("no parent any more", self.refusals(
            self.header(clone=True))["librbd"])

    def test_deep_clone(self):
        deep = dataclasses.replace(RBD, deep_clone=True)
        self.assertEqual({"qemu"}, set(self.refusals(self.header(),
                                                     store=deep)))
        self.assertIn("clones of clones", self.refusals(
            self.header(), PACIFIC, deep)["librbd"])


class StoreTest(base.OperationsTestCase):

    def test_pool(self):
        image = self.make_image(
            stripe_period=8 * units.MIB,
            features=frozenset({"layering", "journaling"}))
        self.assertEqual(engines.Store(True, True, 8 * units.MIB,
                                       size=image.size()),
                         engines.Store.of(image))

    def test_interleaved(self):
        image = self.make_image(interleaves=True)
        self.assertTrue(engines.Store.of(image).interleaves)

    def test_file(self):
        image = rawfile.RawFile("/a/path", -1, False)
        self.assertEqual(FILE, engines.Store.of(image))
