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

"""Keyslot areas: sealed, opened, and put together from their parts."""

from __future__ import annotations

import dataclasses
import hashlib
import os

import ddt
import testtools

from os_brick_rbd_luks.luks import af
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial

SPECS = [(spec, size) for spec, sizes in cipher.SUPPORTED.items()
         for size in sizes]


KDF = kdfs.Pbkdf2("sha256", 1000, bytes(range(32)))


def parameters(spec="aes-xts-plain64", size=32, **changes):
    return dataclasses.replace(keymaterial.Parameters(
        spec, size, "sha256", size, 40, KDF), **changes)


@ddt.ddt
class KeyMaterialTest(testtools.TestCase):

    @ddt.data((16, 4000, 64000), (32, 4000, 128000), (64, 4000, 256000),
              (24, 4000, 96256), (1, 4000, 4096), (1, 1, 512), (512, 1, 512),
              (513, 1, 1024))
    @ddt.unpack
    def test_area_is_whole_sectors(self, size, stripes, expected):
        self.assertEqual(expected, keymaterial.area_bytes(size, stripes))

    @ddt.data(*SPECS)
    @ddt.unpack
    def test_open_undoes_seal(self, spec, size):
        key = os.urandom(size)
        sealer = parameters(spec, size)
        area = sealer.seal(key, b"passphrase", os.urandom)
        self.assertEqual(keymaterial.area_bytes(size, 40), len(area))
        self.assertEqual(key, sealer.open(area, b"passphrase"))
        self.assertNotEqual(key, sealer.open(area, b"Passphrase"))

    def test_parts(self):
        """Sectors count from the area's own start, not the image's."""
        key = os.urandom(32)
        area = parameters().seal(key, b"passphrase", os.urandom)
        stretched = hashlib.pbkdf2_hmac("sha256", b"passphrase",
                                        bytes(range(32)), 1000, 32)
        plain = cipher.SectorCipher("aes-xts-plain64", stretched).decrypt(
            area, 0)
        self.assertEqual(key, af.merge(plain[:32 * 40], 32, 40, "sha256"))
        self.assertEqual(bytes(len(area) - 32 * 40), plain[32 * 40:])

    @ddt.data({"kdf": kdfs.Pbkdf2("sha256", 1000, bytes(32))},
              {"kdf": kdfs.Pbkdf2("sha256", 1001, bytes(range(32)))},
              {"kdf": kdfs.Pbkdf2("sha512", 1000, bytes(range(32)))},
              {"kdf": kdfs.Argon2("argon2id", kdfs.Argon2Cost(1, 64, 1),
                                  bytes(range(32)))},
              {"hash_name": "sha512"}, {"cipher_spec": "aes-cbc-plain64"},
              {"cipher_key_bytes": 64},
              {"cipher_spec": "aes-cbc-essiv:sha256"})
    def test_each_parameter_matters(self, change):
        key = os.urandom(32)
        area = parameters().seal(key, b"passphrase", os.urandom)
        self.assertNotEqual(key, parameters(**change).open(
            area, b"passphrase"))

    @ddt.data(16, 32, 64)
    def test_area_key_and_volume_key_may_differ_in_length(self, size):
        """As in LUKS2, whose areas have a cipher of their own."""
        key = os.urandom(size)
        sealer = parameters("aes-xts-plain64", 64, key_bytes=size)
        self.assertEqual(key, sealer.open(
            sealer.seal(key, b"passphrase", os.urandom), b"passphrase"))
