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

"""Hostile and damaged headers: one change to a valid one each."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks1 import check as luks1_check
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base

CORRUPT = exception.CorruptHeader
LIMIT = exception.HeaderLimitExceeded
UNSUPPORTED = exception.UnsupportedHeader

TEXTS = {"cipher_name": 32, "cipher_mode": 32, "hash_spec": 32}
HUGE = 0xffffffff

# The sample has 16-byte keys: areas of 125 sectors every 128 from sector 8,
# the last one ends at 1029; the payload begins at sector 8192.


def word(number, length=4):
    return number.to_bytes(length, "big")


def case(name, field, data, error, said=None, keyslot=None):
    """*field* overwritten by *data*; *said* is the error's field or what."""
    if keyslot is None:
        offset = ondisk.OFFSETS[field]
        said = said or field
    else:
        offset = ondisk.key_block_offset(keyslot, field)
        said = said or f"key_block[{keyslot}].{field}"
    return name, offset, data, error, said


def texts():
    for field, length in TEXTS.items():
        for name, data in (
                ("empty", bytes(length)), ("without an end", b"a" * length),
                ("not ASCII", "é".encode().ljust(length, b"\0")),
                ("with a high byte", b"ae\xff"), ("with a space", b" aes\0"),
                ("with a newline", b"ae\nx\0"), ("with escapes", b"\x1b[2J"),
                ("with DEL", b"ae\x7f\0")):
            yield case(f"{field} {name}", field, data, CORRUPT)


def keyslots():
    for number in (0, 3, 7):
        for stripes in (0, 1, 3999, 4001, HUGE):
            yield case(f"stripes {stripes} in {number}", "stripes",
                       word(stripes), CORRUPT, keyslot=number)
        for offset in (0, 1):
            yield case(f"area {number} on the header",
                       "key_material_offset", word(offset), CORRUPT,
                       keyslot=number)
        for offset in (8192 - 124, 8192, 1 << 31, HUGE - 124, HUGE):
            yield case(f"area {number} at {offset}, in the payload",
                       "key_material_offset", word(offset), CORRUPT,
                       keyslot=number)


TABLE = (
    case("no magic", "magic", bytes(6), exception.NotLuks, ""),
    case("other magic", "magic", b"LUKS\xba\xbf", exception.NotLuks, ""),
    case("secondary LUKS2 magic", "magic", b"SKUL", exception.NotLuks, ""),
    *[case(f"version {version}", "version", word(version, 2), UNSUPPORTED,
           f"LUKS version {version}") for version in (0, 2, 3, 0xffff)],
    *texts(),
    case("no key", "key_bytes", word(0), CORRUPT),
    case("key beyond the limit", "key_bytes",
         word(limits.MAX_KEY_BYTES + 1), LIMIT),
    case("huge key", "key_bytes", word(HUGE), LIMIT),
    # Keyslot 0 grows into keyslot 1.
    case("key too long for the areas", "key_bytes", word(64), CORRUPT,
         "key_block[1].key_material_offset"),
    case("no digest iterations", "mk_digest_iter", word(0), CORRUPT),
    case("detached", "payload_offset", word(0), UNSUPPORTED,
         "a detached header (payload_offset 0)"),
    case("payload on the header", "payload_offset", word(1), CORRUPT,
         "key_block[0].key_material_offset"),
    case("payload on the first area", "payload_offset", word(8), CORRUPT,
         "key_block[0].key_material_offset"),
    case("payload on the last area", "payload_offset", word(1028), CORRUPT,
         "key_block[7].key_material_offset"),
    *keyslots(),
    case("area equal to another", "key_material_offset", word(8), CORRUPT,
         keyslot=1),
    case("unused area equal to one in use", "key_material_offset",
         word(8), CORRUPT, keyslot=7),
    case("area ends in the next one", "key_material_offset", word(12),
         CORRUPT, "key_block[1].key_material_offset", keyslot=0),
    case("area begins in the one before", "key_material_offset", word(132),
         CORRUPT, keyslot=1),
    case("area begins in the one before's last sector",
         "key_material_offset", word(8 + 124), CORRUPT, keyslot=5),
)

#: Accepted, although a careless check might refuse it.
HARMLESS = (
    case("padding behind a text", "cipher_name", b"aes\0rest", None),
    case("hash in capitals", "hash_spec", b"SHA256\0", None),
    case("payload right behind the last area", "payload_offset", word(1029),
         None),
    case("unused keyslot with huge iterations", "iterations", word(HUGE),
         None, keyslot=5),
    case("area right behind the one before", "key_material_offset",
         word(8 + 125), None, keyslot=1),
    case("area up to the payload", "key_material_offset", word(8192 - 125),
         None, keyslot=3),
    case("as many iterations as allowed", "iterations",
         word(limits.MAX_ITERATIONS), None, keyslot=0),
    case("as many digest iterations as allowed", "mk_digest_iter",
         word(limits.MAX_ITERATIONS), None),
)


#: Accepted, but keyslots 0 and 1 are of no use, or one of them.
DEAR = (
    case("digest iterations beyond the limit", "mk_digest_iter",
         word(limits.MAX_ITERATIONS + 1), LIMIT, [0, 1]),
    case("huge digest iterations", "mk_digest_iter", word(HUGE), LIMIT,
         [0, 1]),
    case("iterations beyond the limit", "iterations",
         word(limits.MAX_ITERATIONS + 1), LIMIT, [0], keyslot=0),
    case("huge iterations", "iterations", word(HUGE), LIMIT, [1], keyslot=1),
)


def changed(offset, data):
    volume = base.sample(base.OLD, base.OTHER)
    packed = bytearray(volume.header.pack())
    packed[offset:offset + len(data)] = data
    return bytes(packed)


@ddt.ddt
class HostileHeaderTest(testtools.TestCase):

    @ddt.data(*TABLE)
    @ddt.unpack
    def test_refused(self, name, offset, data, expected, said):
        error = self.assertRaises(expected, luks1.Luks1Header.parse,
                                  changed(offset, data))
        self.assertIs(expected, type(error), name)
        if expected is UNSUPPORTED:
            self.assertEqual(said, error.what, name)
        elif expected is not exception.NotLuks:
            self.assertEqual(said, error.field, name)
        if expected is CORRUPT and said in (*ondisk.OFFSETS,):
            self.assertEqual(offset, error.offset, name)
        self.assertTrue(str(error).isprintable(), name)

    @ddt.data(*[entry for entry in TABLE if entry[3] is CORRUPT
                and entry[4].startswith("key_block")])
    @ddt.unpack
    def test_offset_of_the_keyslot_field(self, name, _at, data, _class, said):
        """The error points at the field that it names."""
        error = self.assertRaises(CORRUPT, luks1.Luks1Header.parse,
                                  changed(_at, data))
        number, field = said[len("key_block["):].split("].")
        self.assertEqual(ondisk.key_block_offset(int(number), field),
                         error.offset, name)

    @ddt.data(*[entry for entry in TABLE if entry[3] is LIMIT])
    @ddt.unpack
    def test_limits_say_how_much(self, _name, offset, data, expected, _said):
        error = self.assertRaises(expected, luks1.Luks1Header.parse,
                                  changed(offset, data))
        self.assertEqual(int.from_bytes(data, "big"), error.value)
        self.assertEqual(limits.MAX_KEY_BYTES, error.limit)

    @ddt.data(*DEAR)
    @ddt.unpack
    def test_dear_keyslots_spoil_no_header(self, name, offset, data, expected,
                                           useless):
        packed = changed(offset, data)
        header = luks1.Luks1Header.parse(packed)
        self.assertEqual(packed, header.pack(), name)
        self.assertEqual(useless, [slot.number for slot in header.keyslots
                                   if not slot.usable])
        for slot in header.keyslots:
            self.assertIsNone(slot.damage)
            if slot.number in useless:
                error = self.assertRaises(
                    expected, header.open_keyslot, slot.number,
                    bytes(slot.length), base.OLD)
                self.assertEqual(int.from_bytes(data, "big"), error.value)
                self.assertEqual(limits.MAX_ITERATIONS, error.limit)

    @ddt.data(*HARMLESS)
    @ddt.unpack
    def test_accepted(self, name, offset, data, _error, _said):
        packed = changed(offset, data)
        self.assertEqual(packed, luks1.Luks1Header.parse(packed).pack(),
                         name)

    @ddt.data(0, 6, 8, 591)
    def test_truncated(self, length):
        packed = changed(0, b"")
        self.assertRaises(exception.NotLuks, luks1.Luks1Header.parse,
                          packed[:length])

    def test_bytes_behind_the_header_do_not_matter(self):
        packed = changed(0, b"")
        self.assertEqual(luks1.Luks1Header.parse(packed),
                         luks1.Luks1Header.parse(packed + b"\xff" * 4096))


@ddt.ddt
class DamageTest(testtools.TestCase):

    @ddt.data((ondisk.KEY_ENABLED, 1, None), (ondisk.KEY_DISABLED, 0, None),
              (ondisk.KEY_DISABLED, HUGE, None),
              (ondisk.KEY_ENABLED, 0, "it has no iterations"),
              (0, 1, "its state word is 0x00000000"),
              (0xdead, 0, None), (0xdeae, 0, "its state word is 0x0000deae"))
    @ddt.unpack
    def test_damage(self, active, iterations, expected):
        block = ondisk.KeyBlock(active, iterations, bytes(32), 8, 4000)
        self.assertEqual(expected, luks1_check.damage(block))


@ddt.ddt
class UnusableHeaderTest(testtools.TestCase):
    """Valid headers whose volume we cannot open: described, not unlocked."""

    @ddt.data(
        ("cipher_name", b"serpent\0", "cipher serpent-cbc-plain64", "aes-"),
        ("cipher_mode", b"ecb\0", "cipher aes-ecb", "aes-"),
        ("cipher_mode", b"xts-plain\0", "cipher aes-xts-plain", "aes-"),
        ("cipher_mode", b"xts-plain64\0",
         "cipher aes-xts-plain64 with a 128-bit volume key",
         "256 bits, 512 bits"),
        ("hash_spec", b"whirlpool\0", "hash whirlpool",
         "sha1, sha224, sha256, sha384, sha512"),
        ("hash_spec", b"__doc__\0", "hash __doc__",
         "sha1, sha224, sha256, sha384, sha512"),
        ("key_bytes", word(15),
         "cipher aes-cbc-plain64 with a 120-bit volume key",
         "128 bits, 256 bits"),
        ("key_bytes", word(1),
         "cipher aes-cbc-plain64 with a 8-bit volume key",
         "128 bits, 256 bits"))
    @ddt.unpack
    def test_open_says_what_is_not_supported(self, field, data, what,
                                             supported):
        volume = base.sample(base.OLD, base.OTHER)
        parsed = luks1.Luks1Header.parse(changed(ondisk.OFFSETS[field],
                                                 data))
        self.assertEqual([0, 1], [slot.number for slot in parsed.keyslots])
        self.assertEqual(parsed.phdr.key_bytes * 8, parsed.key_bits)
        error = self.assertRaises(UNSUPPORTED, parsed.open_keyslot, 0,
                                  volume.areas[0], base.OLD)
        self.assertEqual(what, error.what)
        self.assertIn(supported, error.supported)

    def test_capitals_open(self):
        volume = base.sample(base.OLD, base.OTHER)
        parsed = luks1.Luks1Header.parse(changed(
            ondisk.OFFSETS["hash_spec"], b"SHA256\0"))
        self.assertEqual(volume.key, parsed.open_keyslot(
            0, volume.areas[0], base.OLD))
