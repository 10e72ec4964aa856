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

"""Hostile and damaged headers: one change to a valid one each.

Both copies have it, with right checksums: whoever can write the image can
make those.
"""

from __future__ import annotations

import copy
import json

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base
from os_brick_rbd_luks.tests import units

CORRUPT = exception.UnexpectedMetadata
LIMIT = exception.HeaderLimitExceeded
UNSUPPORTED = exception.UnsupportedHeader

GONE = object()

#: Any field: the first rule that notices may be another one's.
ANY = object()

# The sample has 16-byte keys: areas of 65536 bytes from 32768 on, two of
# them in use; the keyslots area ends where the payload begins, at 1 MiB.
SLOT = "keyslots.0"
FIRST = 32768
SECOND = FIRST + 65536
END = base.DATA_OFFSET


def case(name, path, value, error, said=None):
    """The member at *path* set to *value*; *said* is the error's field."""
    return name, path, value, error, said or path


def wrong_types(path, *values):
    for value in values:
        yield case(f"{path} is {value!r}"[:40], path, value, CORRUPT)


#: What is no integer of 32 bits, and what no string of a 64-bit one.
NO_UINT32 = (-1, 2 ** 32, 2 ** 64, 1.5, True, "1", None, [], {})
NO_UINT64 = (0, 4096, "", "-1", "+1", " 1", "1 ", "01", "0x10", "1e3", "1.0",
             "٣", str(2 ** 64), "9" * 30, "1\0", None, [], True)


def types():
    for path in ("keyslots.0.key_size", "keyslots.0.af.stripes",
                 "keyslots.0.area.key_size", "keyslots.0.kdf.iterations",
                 "keyslots.0.priority", "segments.0.sector_size",
                 "digests.0.iterations"):
        yield from wrong_types(path, *NO_UINT32)
    for path in ("keyslots.0.area.offset", "keyslots.0.area.size",
                 "segments.0.offset", "segments.0.iv_tweak",
                 "config.json_size", "config.keyslots_size"):
        yield from wrong_types(path, *NO_UINT64)
    for path in ("keyslots.0.type", "keyslots.0.af.hash",
                 "keyslots.0.area.encryption", "keyslots.0.kdf.type",
                 "segments.0.type", "segments.0.encryption",
                 "digests.0.type", "digests.0.hash"):
        yield from wrong_types(path, "", 1, None, [], "a\nb", "\x1b[2J",
                               "é", "\0")
    yield from wrong_types("tokens.0.type", "", 1, None, [])
    for path in ("keyslots.0.kdf.salt", "digests.0.salt",
                 "digests.0.digest"):
        yield from wrong_types(path, "", "A", "=", "AAA", "A A=", "****", 1,
                               None)
    for path in ("keyslots", "tokens", "segments", "digests", "config",
                 "keyslots.0", "keyslots.0.area", "keyslots.0.kdf",
                 "keyslots.0.af", "tokens.0", "segments.0", "digests.0"):
        yield from wrong_types(path, [], "{}", 1, None)
        if path != "tokens":
            yield case(f"{path} is empty", path, {}, CORRUPT, ANY)
    for path in ("keyslots", "segments", "digests", "tokens", "config",
                 "keyslots.0.type", "keyslots.0.key_size",
                 "keyslots.0.area", "keyslots.0.area.type",
                 "keyslots.0.area.offset", "keyslots.0.area.size",
                 "keyslots.0.area.encryption", "keyslots.0.area.key_size",
                 "keyslots.0.af", "keyslots.0.af.type",
                 "keyslots.0.af.stripes", "keyslots.0.af.hash",
                 "keyslots.0.kdf", "keyslots.0.kdf.type",
                 "keyslots.0.kdf.hash", "keyslots.0.kdf.iterations",
                 "keyslots.0.kdf.salt", "segments.0.type",
                 "segments.0.offset", "segments.0.size",
                 "segments.0.iv_tweak", "segments.0.encryption",
                 "segments.0.sector_size", "digests.0.type",
                 "digests.0.keyslots", "digests.0.segments",
                 "digests.0.hash", "digests.0.iterations", "digests.0.salt",
                 "digests.0.digest", "tokens.0.type", "tokens.0.keyslots",
                 "config.json_size", "config.keyslots_size"):
        yield case(f"{path} is missing", path, GONE, CORRUPT)
    for path in ("digests.0.keyslots", "digests.0.segments",
                 "tokens.0.keyslots", "config.flags"):
        yield from wrong_types(path, "0", [0], [None], [["0"]], {}, 1)


def argon2(**changes):
    salt = "AAAAAAAAAAAAAAAAAAAAAA=="
    return {"type": "argon2id", "time": 4, "memory": 65536, "cpus": 2,
            "salt": salt, **changes}


TABLE = (
    # sizes
    case("JSON size of another header", "config.json_size", "28672",
         CORRUPT),
    case("JSON size 0", "config.json_size", "0", CORRUPT),
    case("JSON size without the binary header", "config.json_size", "16384",
         CORRUPT),
    case("keyslots area no multiple of a block", "config.keyslots_size",
         "65537", CORRUPT),
    case("keyslots area beyond the limit", "config.keyslots_size",
         str(128 * units.MIB + 4096), LIMIT),
    case("huge keyslots area", "config.keyslots_size",
         str(2 ** 64 - 4096), LIMIT),
    case("keyslots area reaches into the payload", "config.keyslots_size",
         str(END - FIRST + 4096), CORRUPT),
    case("no keyslots area", "config.keyslots_size", "0", CORRUPT,
         "keyslots.0.area.size"),
    # areas
    case("area on the primary copy", "keyslots.0.area.offset", "0", CORRUPT),
    case("area on the secondary copy", "keyslots.0.area.offset", "16384",
         CORRUPT),
    case("area on the last block of the secondary copy",
         "keyslots.0.area.offset", str(FIRST - 512), CORRUPT),
    case("area not on a sector", "keyslots.0.area.offset", str(FIRST + 1),
         CORRUPT),
    case("area in the payload", "keyslots.0.area.offset", str(END), CORRUPT,
         "keyslots.0.area.size"),
    case("area ends in the payload", "keyslots.0.area.offset",
         str(END - 65536 + 512), CORRUPT, "keyslots.0.area.size"),
    case("area at the end of all numbers", "keyslots.0.area.offset",
         str(2 ** 64 - 512), CORRUPT, "keyslots.0.area.size"),
    case("area equal to another", "keyslots.1.area.offset", str(FIRST),
         CORRUPT),
    case("area begins in the one before", "keyslots.1.area.offset",
         str(SECOND - 512), CORRUPT),
    case("area ends in the next one", "keyslots.0.area.offset",
         str(FIRST + 4096), CORRUPT, "keyslots.1.area.offset"),
    case("area around another", "keyslots.0.area.size", str(END - FIRST),
         CORRUPT, "keyslots.1.area.offset"),
    case("area beyond the keyslots area", "keyslots.1.area.size",
         str(END - SECOND + 4096), CORRUPT),
    case("huge area", "keyslots.1.area.size", str(2 ** 64 - 1), CORRUPT),
    case("area of nothing", "keyslots.0.area.size", "0", CORRUPT),
    case("area too small for its key", "keyslots.0.area.size", "63999",
         CORRUPT),
    case("key too large for its area", "keyslots.0.key_size", 17, CORRUPT,
         "keyslots.0.area.size"),
    case("area of a type for re-encrypting", "keyslots.0.area.type",
         "journal", CORRUPT),
    # keyslots
    case("no key", "keyslots.0.key_size", 0, CORRUPT),
    case("no area key", "keyslots.0.area.key_size", 0, CORRUPT),
    case("no stripes", "keyslots.0.af.stripes", 0, CORRUPT),
    case("one stripe", "keyslots.0.af.stripes", 1, CORRUPT),
    case("too many stripes", "keyslots.0.af.stripes", 4001, CORRUPT),
    case("unknown split", "keyslots.0.af.type", "luks2", CORRUPT),
    case("priority that nobody defined", "keyslots.0.priority", 3, CORRUPT),
    case("keyslot without digest", "digests.0.keyslots", ["0"], CORRUPT,
         "keyslots.1"),
    case("number beyond the limit", "keyslots.32", {}, LIMIT,
         "number in keyslots"),
    case("huge number", "keyslots.4294967296", {}, LIMIT,
         "number in keyslots"),
    case("signed number", "keyslots.-1", {}, CORRUPT),
    case("number with a zero before", "keyslots.00", {}, CORRUPT),
    case("name that is no number", "keyslots.one", {}, CORRUPT),
    case("name with escapes", "keyslots.\x1b[2J", {}, CORRUPT,
         "keyslots.?[2J"),
    case("name in other digits", "keyslots.٣", {}, CORRUPT,
         "keyslots.\\u0663"),
    case("empty name", "keyslots.", {}, CORRUPT),
    # KDFs
    case("no iterations", "keyslots.0.kdf.iterations", 0, CORRUPT),
    case("Argon2 without memory", "keyslots.0.kdf", argon2(memory=0),
         CORRUPT, "keyslots.0.kdf.memory"),
    case("Argon2 without passes", "keyslots.0.kdf", argon2(time=0), CORRUPT,
         "keyslots.0.kdf.time"),
    case("Argon2 without threads", "keyslots.0.kdf", argon2(cpus=0),
         CORRUPT, "keyslots.0.kdf.cpus"),
    case("Argon2 with a short salt", "keyslots.0.kdf",
         argon2(salt="AAAAAAA="), CORRUPT, "keyslots.0.kdf.salt"),
    case("Argon2 with iterations as text", "keyslots.0.kdf",
         argon2(time="4"), CORRUPT, "keyslots.0.kdf.time"),
    # digests
    case("digest of nothing", "digests.0.digest", "", CORRUPT),
    case("digest that is short", "digests.0.digest", "AAAA", CORRUPT),
    case("digest longer than a hash", "digests.0.digest", "A" * 88, CORRUPT),
    case("no digest iterations", "digests.0.iterations", 0, CORRUPT),
    case("digest of a keyslot that is not there", "digests.0.keyslots",
         ["0", "1", "2"], CORRUPT),
    case("digest of a keyslot twice", "digests.0.keyslots",
         ["0", "1", "1"], CORRUPT),
    case("digest of a segment that is not there", "digests.0.segments",
         ["0", "1"], CORRUPT),
    case("digest of no segment", "digests.0.segments", [], CORRUPT,
         "segments.0"),
    case("two digests of a keyslot", "digests.1",
         {"type": "other", "keyslots": ["0"], "segments": []}, CORRUPT,
         "digests.1.keyslots"),
    case("two digests of a segment", "digests.1",
         {"type": "other", "keyslots": [], "segments": ["0"]}, CORRUPT,
         "digests.1.segments"),
    # tokens
    case("token of a keyslot that is not there", "tokens.0.keyslots",
         ["7"], CORRUPT),
    case("token of no number", "tokens.0.keyslots", ["0x0"], CORRUPT),
    case("token beyond the limit", "tokens.32", {}, LIMIT,
         "number in tokens"),
    # segments
    case("detached", "segments.0.offset", "0", UNSUPPORTED,
         "a detached header (segment offset 0)"),
    case("payload on the keyslots", "segments.0.offset", str(SECOND),
         CORRUPT, "config.keyslots_size"),
    case("payload not on a sector", "segments.0.offset", str(END + 1),
         CORRUPT),
    case("payload of nothing", "segments.0.size", "0", CORRUPT),
    case("payload of half a sector", "segments.0.size", "4608", CORRUPT),
    case("payload beyond all numbers", "segments.0.size", str(2 ** 64),
         CORRUPT),
    case("payload of an odd size", "segments.0.size", "Dynamic", CORRUPT),
    *[case(f"sectors of {size}", "segments.0.sector_size", size, CORRUPT)
      for size in (0, 1, 511, 513, 1536, 8192, 2 ** 31)],
    case("no segment 0", "segments", {"1": {
        "type": "crypt", "offset": str(END), "size": "dynamic",
        "iv_tweak": "0", "encryption": "aes-xts-plain64",
        "sector_size": 512}}, CORRUPT, "digests.0.segments"),
    case("gap in the segments", "segments.2", {
        "type": "linear", "offset": str(2 * END), "size": "512"}, CORRUPT,
        "segments"),
    case("segments that overlap", "segments.1", {
        "type": "linear", "offset": str(2 * END), "size": "512"}, CORRUPT,
        "segments.1.offset"),
    case("segment in front that overlaps", "segments.1", {
        "type": "linear", "offset": str(END), "size": "512"}, CORRUPT,
        "segments.1.offset"),
    case("segment without digest", "segments.1", {
        "type": "crypt", "offset": str(2 * END), "size": "512",
        "iv_tweak": "0", "encryption": "aes-xts-plain64",
        "sector_size": 512}, CORRUPT, "segments.1"),
    case("backup in front of another segment", "segments", {
        str(number): {"type": "linear", "size": "512",
                      "offset": str(END + number * 512), "flags": flags}
        for number, flags in enumerate(([], ["backup-final"], []))},
        CORRUPT, "segments"),
    case("only a backup segment", "segments.0.flags", ["backup-final"],
         CORRUPT, "segments.0"),
    case("integrity that is no object", "segments.0.integrity", "aead",
         CORRUPT),
    # requirements
    case("requirements that are no array", "config.requirements", "a",
         CORRUPT),
    case("mandatory ones that are no array", "config.requirements",
         {"mandatory": "a"}, CORRUPT, "config.requirements.mandatory"),
    case("mandatory ones that are no texts", "config.requirements",
         {"mandatory": [1]}, CORRUPT, "config.requirements.mandatory"),
    *types(),
)

#: Accepted, although a careless check might refuse it.
HARMLESS = (
    case("unknown member", "config.later", {"a": [1, 1.5, None]}, None),
    case("unknown top-level member", "later", [], None),
    case("unknown flag", "config.flags", ["no-such-flag", "é\n"], None),
    case("priority 0", "keyslots.0.priority", 0, None),
    case("priority 2", "keyslots.0.priority", 2, None),
    case("hash in capitals", "digests.0.hash", "SHA256", None),
    case("unknown token with its own members", "tokens.1",
         {"type": "x", "keyslots": [], "deep": {"a": {"b": []}}}, None),
    case("last area up to the payload", "keyslots.1.area.offset",
         str(END - 65536), None),
    case("areas in any order", "keyslots.0.area.offset",
         str(SECOND + 65536), None),
    case("unknown segment flag", "segments.0.flags", ["later"], None),
    case("payload of a fixed size", "segments.0.size", "4096", None),
    case("payload of the largest size", "segments.0.size",
         str(2 ** 64 - 4096), None),
    case("payload further out", "segments.0.offset", str(2 ** 40), None),
    case("as many iterations as allowed", "keyslots.0.kdf.iterations",
         limits.MAX_ITERATIONS, None),
    case("as much Argon2 as allowed", "keyslots.0.kdf",
         argon2(memory=limits.MAX_ARGON2_MEMORY_KIB, time=16, cpus=16),
         None),
    case("unknown KDF", "keyslots.0.kdf",
         {"type": "scrypt", "salt": "AAAA"}, None),
    case("unknown digest", "digests.1",
         {"type": "later", "keyslots": [], "segments": []}, None),
    case("digest of LUKS1's length", "digests.0.digest", "A" * 27 + "=",
         None),
)


#: Accepted, but keyslot 0 is of no use; *said* is what it is said to have.
DEAR = (
    case("area key beyond the limit", "keyslots.0.area.key_size",
         2 ** 32 - 1, UNSUPPORTED, "cipher"),
    case("iterations beyond the limit", "keyslots.0.kdf.iterations",
         limits.MAX_ITERATIONS + 1, LIMIT, "iterations"),
    case("Argon2 with too much memory", "keyslots.0.kdf",
         argon2(memory=limits.MAX_ARGON2_MEMORY_KIB + 1), LIMIT, "memory"),
    case("Argon2 with all memory", "keyslots.0.kdf",
         argon2(memory=2 ** 32 - 1), LIMIT, "memory"),
    case("Argon2 with less memory than threads need", "keyslots.0.kdf",
         argon2(memory=15), UNSUPPORTED, "15 KiB"),
    case("Argon2 with too many passes", "keyslots.0.kdf",
         argon2(time=2 ** 32 - 1), LIMIT, "passes"),
    case("Argon2 with too much work", "keyslots.0.kdf",
         argon2(time=17, memory=2 ** 21), LIMIT, "passes"),
    case("Argon2 with too many threads", "keyslots.0.kdf",
         argon2(cpus=17), LIMIT, "threads"),
    case("digest iterations beyond the limit", "digests.0.iterations",
         limits.MAX_ITERATIONS + 1, LIMIT, "digest"),
)


def changed(path, value):
    """The metadata with one member changed."""
    of = base.sample(base.OLD, base.OTHER)
    tree = base.tree(of)
    tree["tokens"]["0"] = {"type": "luks2-keyring", "keyslots": ["0"],
                           "key_description": "d"}
    *parents, name = path.split(".")
    node = tree
    for parent in parents:
        node = node[parent]
    if value is GONE:
        del node[name]
    else:
        node[name] = copy.deepcopy(value)
    return base.craft(of.header, json.dumps(tree).encode())


@ddt.ddt
class HostileHeaderTest(testtools.TestCase):

    @ddt.data(*TABLE)
    @ddt.unpack
    def test_refused(self, name, path, value, expected, said):
        error = self.assertRaises(expected, luks2.Luks2Header.parse,
                                  changed(path, value))
        self.assertIs(expected, type(error), name)
        if expected is UNSUPPORTED:
            self.assertEqual(said, error.what, name)
        elif said is not ANY:
            self.assertEqual(said, error.field, name)
        if expected is CORRUPT:
            self.assertEqual(4096, error.offset, name)
        self.assertTrue(str(error).isprintable(), name)

    @ddt.data(*HARMLESS)
    @ddt.unpack
    def test_accepted(self, name, path, value, _error, _said):
        packed = changed(path, value)
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual(packed, parsed.pack(), name)
        self.assertIsNone(parsed.ailment)

    @ddt.data(*DEAR)
    @ddt.unpack
    def test_dear_keyslots_spoil_no_header(self, name, path, value, expected,
                                           said):
        packed = changed(path, value)
        parsed = luks2.Luks2Header.parse(packed)
        self.assertEqual(packed, parsed.pack(), name)
        self.assertIsNone(parsed.ailment)
        slot = parsed.keyslot(0)
        self.assertIsNone(slot.damage)
        self.assertIn(said, slot.foreign)
        error = self.assertRaises((expected, LIMIT), parsed.open_keyslot, 0,
                                  bytes(slot.length), base.OLD)
        self.assertTrue(str(error).isprintable(), name)
        self.assertEqual(path.startswith("keyslots"),
                         parsed.keyslot(1).usable)

    def test_table_is_large(self):
        self.assertGreater(len(TABLE), 240)
        self.assertEqual(len(TABLE), len({entry[0] for entry in TABLE}))


@ddt.ddt
class UnusableHeaderTest(testtools.TestCase):
    """Valid headers whose keyslots we cannot open: described, not opened."""

    @ddt.data(
        ("keyslots.0.kdf", {"type": "scrypt", "salt": "AAAA"},
         "with KDF scrypt"),
        ("keyslots.0.kdf.hash", "whirlpool", "with hash whirlpool"),
        ("keyslots.0.af.hash", "ripemd160", "with hash ripemd160"),
        ("keyslots.0.af.hash", "__doc__", "with hash __doc__"),
        ("keyslots.0.area.encryption", "serpent-xts-plain64",
         "with cipher serpent-xts-plain64"),
        ("keyslots.0.area.encryption", "cipher_null-ecb",
         "with cipher cipher_null-ecb"),
        ("keyslots.0.area.key_size", 24,
         "with cipher aes-xts-plain64 with a 192-bit volume key"),
        ("keyslots.0.type", "later", "of type later"))
    @ddt.unpack
    def test_keyslot_of_no_use(self, path, value, said):
        volume = base.sample(base.OLD, base.OTHER)
        parsed = luks2.Luks2Header.parse(changed(path, value))
        slot = parsed.keyslot(0)
        self.assertEqual((said, False), (slot.foreign, slot.usable))
        error = self.assertRaises(UNSUPPORTED, parsed.open_keyslot, 0,
                                  volume.areas[0], base.OLD)
        self.assertEqual(f"keyslot 0 {said}", error.what)
        self.assertEqual(volume.key, parsed.open_keyslot(
            1, volume.areas[1], base.OTHER))

    def test_unbound_key(self):
        """A keyslot for another use is not one for the payload."""
        volume = base.sample(base.OLD, base.OTHER)
        tree = base.tree(volume)
        tree["digests"]["0"]["keyslots"] = ["1"]
        tree["digests"]["1"] = {**tree["digests"]["0"], "keyslots": ["0"],
                                "segments": []}
        parsed = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual("for a key that is not the volume's",
                         parsed.keyslot(0).foreign)
        self.assertRaises(UNSUPPORTED, parsed.open_keyslot, 0,
                          volume.areas[0], base.OLD)

    def test_unknown_digest(self):
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        tree["digests"]["0"]["type"] = "later"
        parsed = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual("unknown", parsed.hash_name)
        for call in (
                lambda: parsed.open_keyslot(0, volume.areas[0], base.OLD),
                lambda: parsed.add(volume.key, base.NEW),
                lambda: parsed.verify_volume_key(volume.key)):
            error = self.assertRaises(UNSUPPORTED, call)
            self.assertEqual("digest later", error.what)

    @ddt.data("serpent-xts-plain64", "aes-xts-plain", "cipher_null-ecb",
              "capi:xts(aes)-plain64")
    def test_payload_with_another_cipher(self, spec):
        """Its keyslots are no different."""
        volume = base.sample(base.OLD, base.OTHER)
        parsed = luks2.Luks2Header.parse(changed("segments.0.encryption",
                                                 spec))
        self.assertEqual(spec, parsed.cipher_spec)
        self.assertEqual(volume.key, parsed.open_keyslot(
            0, volume.areas[0], base.OLD))

    @ddt.data("online-reencrypt", "online-reencrypt-v2",
              "online-reencrypt-v3", "offline-reencrypt", "opal",
              "inline-hw-tags", "what comes later", "\x1b[2J")
    def test_requirements(self, name):
        volume = base.sample(base.OLD)
        shown = name.replace("\x1b", "?")
        for requirements in ([name], {"mandatory": [name]}):
            tree = base.tree(volume)
            tree["config"]["requirements"] = requirements
            parsed = luks2.Luks2Header.parse(base.craft(volume.header,
                                                        tree))
            self.assertEqual((name,), parsed.metadata.requirements)
            for call in (
                    lambda parsed=parsed: parsed.open_keyslot(
                        0, volume.areas[0], base.OLD),
                    lambda parsed=parsed: parsed.add(volume.key, base.NEW),
                    lambda parsed=parsed: parsed.erase([0]),
                    lambda parsed=parsed: parsed.replace(0, volume.key,
                                                         base.NEW)):
                error = self.assertRaises(UNSUPPORTED, call)
                self.assertIn(f"the requirement {shown}", error.what)
                self.assertTrue(str(error).isprintable())

    def test_payload_that_is_not_encrypted(self):
        """As while it is being encrypted: it has no key yet."""
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        tree["segments"]["0"] = {"type": "linear", "offset": str(END),
                                 "size": "dynamic"}
        tree["digests"]["0"]["segments"] = []
        parsed = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual(("linear", "unknown", None),
                         (parsed.cipher_spec, parsed.hash_name,
                          parsed.key_bits))
        self.assertRaises(UNSUPPORTED, parsed.open_keyslot, 0,
                          volume.areas[0], base.OLD)

    def test_no_segment(self):
        volume = base.sample(base.OLD)
        tree = base.tree(volume)
        tree["segments"] = {}
        tree["digests"]["0"]["segments"] = []
        error = self.assertRaises(CORRUPT, luks2.Luks2Header.parse,
                                  base.craft(volume.header, tree))
        self.assertEqual("segments", error.field)

    def test_no_requirements(self):
        for requirements in ([], {}, {"mandatory": []}, {"optional": ["a"]}):
            volume = base.sample(base.OLD)
            tree = base.tree(volume)
            tree["config"]["requirements"] = requirements
            parsed = luks2.Luks2Header.parse(base.craft(volume.header,
                                                        tree))
            self.assertEqual(volume.key, parsed.open_keyslot(
                0, volume.areas[0], base.OLD))

    def test_a_re_encryption_is_described(self):
        """Its segments and digests have rules of their own."""
        volume = base.sample(base.OLD, base.OTHER)
        tree = base.tree(volume)
        tree["config"]["requirements"] = {"mandatory": [
            "online-reencrypt-v2"]}
        segment = tree["segments"]["0"]
        tree["segments"] = {
            "0": {**segment, "size": "4096", "flags": ["in-reencryption"]},
            "1": {**segment, "offset": str(END + 4096)},
            "2": {**segment, "flags": ["backup-previous"]},
            "3": {**segment, "flags": ["backup-final"]}}
        tree["keyslots"]["2"] = {
            "type": "reencrypt", "key_size": 1, "mode": "reencrypt",
            "direction": "forward", "area": {
                "type": "checksum", "offset": str(SECOND + 65536),
                "size": "4096", "hash": "sha256", "sector_size": 512}}
        digest = tree["digests"]["0"]
        digest["segments"] = ["0", "1", "2"]
        tree["digests"]["1"] = {**digest, "segments": ["0", "3"],
                                "keyslots": ["1"]}
        tree["digests"]["2"] = {**digest, "segments": [], "keyslots": ["2"]}
        digest["keyslots"] = ["0"]
        parsed = luks2.Luks2Header.parse(base.craft(volume.header, tree))
        self.assertEqual("of type reencrypt", parsed.keyslot(2).foreign)
        self.assertRaises(UNSUPPORTED, parsed.erase, [0])
