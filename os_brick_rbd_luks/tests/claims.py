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

"""Headers of every kind, to compare what we say of them with what programs
do.

Each case is the start of an image and what is known of it beforehand: whether
its key material is what its header says. A header whose cipher or hash was
only renamed opens for nobody, and a program that knows the name asks for
another passphrase; one that does not refuses the header.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import random
from typing import Any, Callable, Dict, List, Optional

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import claim
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import jsontext
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as headers
from os_brick_rbd_luks.tests import units

PASSPHRASE = b"a passphrase"

#: What a guest has written.
PATTERN = 0x5a

#: Bytes behind the data offset.
PAYLOAD = units.MIB

UUID = "c0ffee00-1111-4222-8333-444455556666"

LUKS1_OFFSET = 4 * units.MIB
LUKS2_OFFSET = 16 * units.MIB

#: Iterations of a keyslot or digest that are more than we compute, while these
#: headers are looked at.
DEAR = 4000
LIMIT = 3000

Make = Callable[[], bytes]


class Did(enum.Enum):
    """What a program did with an image."""

    OPENED = "opened"
    #: it asks for another passphrase: all else is fine with it
    PASSPHRASE = "passphrase"
    REFUSED = "refused"
    #: it opened it, and reads something else than was written
    WRONG = "wrong data"


@dataclasses.dataclass(frozen=True)
class Case:
    """One header."""

    name: str
    make: Make
    #: where the payload begins, and the image ends one PAYLOAD later
    data_offset: int = LUKS2_OFFSET
    #: whether the passphrase opens it, for those that know all it names
    opens: bool = True
    #: bytes of the image if not as said
    size: Optional[int] = None
    #: nothing would open it: programs may well ask for another passphrase
    never: bool = False
    #: who passes over what its header says more reads something else in life
    #: than here, where its data is laid out as usual
    odd: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def __name__(self) -> str:
        """For the name of a test, by ddt."""
        return self.name

    @property
    def image_size(self) -> int:
        """Bytes of the image."""
        return (self.data_offset + PAYLOAD if self.size is None
                else self.size)


# LUKS1.


@functools.cache
def _luks1(spec: str = "aes-xts-plain64", key_bytes: int = 64,
           hash_name: str = "sha256", data_offset: int = LUKS1_OFFSET,
           slots: int = 1, clone: bool = False,
           digest_iterations: int = 1000, dear: int = -1) -> bytes:
    """A header whose passphrase opens it, with its keyslot areas."""
    source = random.Random(1)
    key = source.randbytes(key_bytes)
    built = luks1.Luks1Header.build(
        key, cipher_spec=spec, hash_name="sha256", data_offset=data_offset,
        uuid=UUID, clone=clone, random=source.randbytes)
    salt = built.phdr.mk_digest_salt
    header = luks1.Luks1Header(dataclasses.replace(
        built.phdr, hash_spec=hash_name.encode().ljust(32, b"\0"),
        mk_digest_iter=digest_iterations,
        mk_digest=digests.make(hash_name, key, salt, digest_iterations)))
    start = bytearray(header.pack().ljust(header.keyslots_end, b"\0"))
    for number in range(slots):
        change = header.add(
            key, PASSPHRASE if number == slots - 1 else b"other %d" % number,
            iterations=DEAR if number == dear else kdfs.MIN_ITERATIONS,
            random=source.randbytes)
        for stage in change.plan.stages:
            for write in stage:
                start[write.offset:write.offset + len(write.data)] = (
                    write.data)
        header = change.header
    return bytes(start)


def _patched(start: bytes, *patches: Any) -> bytes:
    """*start* with other bytes: pairs of offset and bytes."""
    data = bytearray(start)
    for offset, value in patches:
        data[offset:offset + len(value)] = value
    return bytes(data)


def _first(name: str, *patches: Any, opens: bool = True,
           size: Optional[int] = None, never: bool = False,
           **options: Any) -> Case:
    """A LUKS1 case: a header that opens, and other bytes."""
    def make() -> bytes:
        return _patched(_luks1(**options), *patches)
    return Case(f"luks1 {name}", make,
                options.get("data_offset", LUKS1_OFFSET), opens, size,
                never)


def _text(field: str, value: str) -> Any:
    return ondisk.OFFSETS[field], value.encode().ljust(32, b"\0")


def _word(field: str, value: int) -> Any:
    return ondisk.OFFSETS[field], value.to_bytes(4, "big")


def _slot(number: int, field: str, value: int) -> Any:
    return ondisk.key_block_offset(number, field), value.to_bytes(4, "big")


def _renamed(spec: str, key_bytes: int = 64) -> Case:
    """One that says that it has another cipher."""
    name, _dash, mode = spec.partition("-")
    return _first(
        f"{spec} with {key_bytes} bytes of key", _text("cipher_name", name),
        _text("cipher_mode", mode), _word("key_bytes", key_bytes),
        opens=False)


_FIRST = [
    _first("as we make it"),
    *[_first(f"{spec} with {size} bytes of key", spec=spec, key_bytes=size)
      for spec, size in (
          ("aes-xts-plain64", 32), ("aes-cbc-essiv:sha256", 16),
          ("aes-cbc-essiv:sha256", 32), ("aes-cbc-plain64", 16),
          ("aes-cbc-plain64", 32))],
    *[_first(f"hash {name}", hash_name=name)
      for name in ("sha1", "sha224", "sha384", "sha512")],
    *[_first(f"hash {name}", _text("hash_spec", name), opens=False)
      for name in ("md5", "ripemd160", "whirlpool", "sha3-256",
                   "sha3-512", "blake2b-512", "blake2s-256", "sm3",
                   "stribog256", "nosuch", "sha256-", "sha-256")],
    _first("hash SHA256", _text("hash_spec", "SHA256")),
    _first("hash sha256 and bytes behind it",
           (ondisk.OFFSETS["hash_spec"], b"sha256\0more")),
    *[_renamed(spec) for spec in (
        "serpent-xts-plain64", "twofish-xts-plain64",
        "camellia-xts-plain64", "cast6-xts-plain64", "aria-xts-plain64",
        "sm4-xts-plain64", "aes-xts-plain", "aes-xts-plain64be",
        "aes-xts-essiv:sha256", "aes-xts-essiv:sha512", "aes-xts-benbi",
        "aes-xts-null", "aes-xts-random", "aes-xts-eboiv", "aes-xts",
        "aes-lrw-benbi", "nosuch-xts-plain64", "AES-xts-plain64",
        "aes-XTS-plain64", "aes-xts-PLAIN64", "aes-xts-plain64:sha256",
        "aes-adiantum-plain64", "capi:xts(aes)-plain64",
        "xchacha12,aes-adiantum-plain64")],
    *[_renamed(spec, 32) for spec in (
        "serpent-cbc-essiv:sha256", "serpent-xts-plain64",
        "twofish-cbc-plain64", "aes-cbc-plain",
        "aes-cbc-essiv:sha1", "aes-cbc-essiv:sha512",
        "aes-cbc-essiv:whirlpool", "aes-cbc-essiv", "aes-ecb-plain64",
        "aes-ecb", "aes-ctr-plain64", "aes-cbc-null", "aes-cbc-benbi",
        "aes-cbc-lmk:sha256", "cipher_null-ecb", "cipher_null-ecb-null",
        "null-ecb-null")],
    *[_renamed(spec, 16) for spec in (
        "cast5-cbc-plain64", "cast5-cbc-plain", "des3_ede-cbc-plain64",
        "blowfish-cbc-plain64", "cipher_null-ecb", "aes-xts-plain64")],
    _renamed("aes-xts-plain64", 48), _renamed("aes-cbc-plain64", 24),
    _renamed("aes-cbc-plain64", 64), _renamed("aes-cbc-plain64", 20),
    _renamed("aes-xts-plain64", 1), _renamed("aes-xts-plain64", 0),
    *[_first(f"{text}: state of keyslot {number}",
             _slot(number, "active", value), never=number == 0)
      for text, number, value in (
          ("bad", 4, 0x01020304), ("bad", 7, 0),
          ("enabled and empty", 4, ondisk.KEY_ENABLED),
          ("bad", 0, 0x01020304), ("disabled", 0, ondisk.KEY_DISABLED))],
    _first("bad state of the first of two", _slot(0, "active", 1), slots=2),
    _first("two keyslots", slots=2), _first("eight keyslots", slots=8),
    *[_first(f"{value} iterations of keyslot {number}",
             _slot(number, "iterations", value), opens=False)
      for number, value in ((0, 0), (0, 1), (0, 999))],
    _first("a dear keyslot", dear=0),
    _first("no iterations of the first of two",
           _slot(0, "iterations", 0), slots=2),
    _first("iterations of an unused one", _slot(3, "iterations", 5)),
    _first("a dear keyslot before ours", dear=0, slots=2),
    *[_first(f"{value} stripes of keyslot {number}",
             _slot(number, "stripes", value), opens=number != 0)
      for number, value in ((0, 0), (0, 1), (3, 0), (3, 4001), (3, 3999))],
    _first("areas that overlap", _slot(3, "key_material_offset", 16)),
    _first("area in the header", _slot(3, "key_material_offset", 1)),
    _first("area right behind the header, not aligned",
           _slot(0, "key_material_offset", 2), opens=False),
    _first("area in the payload", _slot(3, "key_material_offset", 8192)),
    _first("area beyond the image",
           _slot(3, "key_material_offset", 2 ** 31)),
    _first("quick digest", digest_iterations=1),
    _first("no iterations of the digest", _word("mk_digest_iter", 0),
           opens=False),
    _first("dear digest", digest_iterations=DEAR),
    _first("another digest", (ondisk.OFFSETS["mk_digest"], bytes(20)),
           opens=False),
    *[_first(f"payload at {sectors} sectors", data_offset=sectors * 512)
      for sectors in (4040, 4048, 8193, 12288, 16384)],
    _first("payload at 0", _word("payload_offset", 0)),
    _first("payload in the header", _word("payload_offset", 8)),
    _first("payload in the keyslots", _word("payload_offset", 600)),
    _first("no payload", size=LUKS1_OFFSET),
    _first("cut before the payload", size=3 * units.MIB),
    _first("a size of no whole sectors", size=LUKS1_OFFSET + PAYLOAD + 100),
    _first("mark of a clone", clone=True),
    _first("version 0", (6, b"\0\0")), _first("version 3", (6, b"\0\3")),
    _first("another magic", (0, b"LUKX")),
    _first("the magic of a second copy", (0, b"SKUL")),
    _first("no UUID", (168, bytes(40))),
    _first("a UUID in UTF-8", (168, "Bürö".encode() + bytes(4))),
    _first("a UUID without an end", (168, b"x" * 40)),
    _first("a cipher's name without an end", (8, b"x" * 32), opens=False),
    _first("a mode without an end", (40, b"x" * 32), opens=False),
    _first("a hash's name without an end", (72, b"x" * 32), opens=False),
    _first("no cipher's name", (8, bytes(32)), opens=False),
    _first("bytes behind the header", (592, b"\xff" * 100)),
]


# LUKS2.

Change = Callable[[Dict[str, Any]], None]


@functools.cache
def _volume(spec: str = "aes-xts-plain64", key_bytes: int = 64,
            hash_name: str = "sha256", sector_size: int = 4096,
            data_offset: int = LUKS2_OFFSET, clone: bool = False,
            hdr_size: int = 16384, slots: int = 1, dear: int = -1,
            **options: Any) -> headers.Volume:
    volume = headers.bare(spec, key_bytes, hash_name, data_offset,
                          sector_size=sector_size, clone=clone,
                          hdr_size=hdr_size, **options)
    for number in range(slots):
        volume = headers.add(
            volume,
            PASSPHRASE if number == slots - 1 else b"other %d" % number,
            iterations=DEAR if number == dear else kdfs.MIN_ITERATIONS)
    return volume


def _luks2(volume: headers.Volume, both: bytes) -> bytes:
    start = bytearray(both)
    for number, area in volume.areas.items():
        offset = volume.header.keyslot(number).offset
        start.extend(bytes(max(0, offset + len(area) - len(start))))
        start[offset:offset + len(area)] = area
    return bytes(start)


def _second(name: str, change: Optional[Change] = None, *patches: Any,
            opens: bool = True, size: Optional[int] = None,
            never: bool = False, odd: bool = False,
            fields: Optional[Dict[str, Any]] = None, **options: Any) -> Case:
    """A LUKS2 case: other metadata with right checksums, then other bytes.

    :param fields: of both binary headers
    """
    def make() -> bytes:
        volume = _volume(**options)
        tree = headers.tree(volume)
        if change is not None:
            change(tree)
        both = headers.craft(volume.header, jsontext.encode(tree),
                             **fields or {})
        return _patched(_luks2(volume, both), *patches)
    return Case(f"luks2 {name}", make,
                options.get("data_offset", LUKS2_OFFSET), opens, size,
                never, odd)


def _segment(**values: Any) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        tree["segments"]["0"].update(values)
    return change


def _digest(**values: Any) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        tree["digests"]["0"].update(values)
    return change


def _keyslot(number: int, **values: Any) -> Change:
    """Members of a keyslot, those of its objects by name."""
    def change(tree: Dict[str, Any]) -> None:
        slot = tree["keyslots"][str(number)]
        for name, value in values.items():
            if isinstance(value, dict) and isinstance(slot.get(name), dict):
                slot[name].update(value)
            else:
                slot[name] = value
    return change


def _config(**values: Any) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        tree["config"].update(values)
    return change


def _top(**values: Any) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        tree.update(values)
    return change


def _unbound(number: int) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        digest = dict(tree["digests"]["0"], keyslots=[str(number)],
                      segments=[])
        tree["digests"]["0"]["keyslots"].remove(str(number))
        tree["digests"]["1"] = digest
    return change


def _two_segments(first: Dict[str, Any], second: Dict[str, Any]) -> Change:
    def change(tree: Dict[str, Any]) -> None:
        tree["segments"]["0"].update(first)
        tree["segments"]["1"] = second
        if second["type"] == "crypt":
            tree["digests"]["0"]["segments"].append("1")
    return change


def _linear(tree: Dict[str, Any]) -> None:
    tree["segments"]["0"] = {"type": "linear", "size": "dynamic",
                             "offset": str(LUKS2_OFFSET)}
    tree["digests"]["0"]["segments"] = []


def _without_keyslots(tree: Dict[str, Any]) -> None:
    tree["keyslots"] = {}
    tree["digests"]["0"]["keyslots"] = []


def _stale(which: str) -> Case:
    """One copy is older than the other."""
    def make() -> bytes:
        volume = _volume()
        text = jsontext.encode(headers.tree(volume))
        seqid = volume.header.seqid
        copies = [headers.copy_of(
            volume.header, name, text,
            seqid=seqid + (0 if name == which else 1))
            for name in (header_copies.PRIMARY, header_copies.SECONDARY)]
        return _luks2(volume, b"".join(copies))
    return Case(f"luks2 {which} copy stale", make)


def _only_first_marked() -> bytes:
    """The mark of a clone in the first copy, the second as usual."""
    marked, usual = _volume(clone=True), _volume()
    first = _luks2(marked, headers.craft(marked.header))
    second = headers.craft(usual.header)
    return _patched(first, (16384, second[16384:]))


def _copy_gone(*places: int) -> Any:
    return tuple((place, bytes(512)) for place in places)


_SECOND = [
    _second("as we make it"),
    *[_second(f"sectors of {size}", _segment(sector_size=size))
      for size in (512, 1024, 2048, 8192, 0, 513)],
    _second("aes-128", key_bytes=32),
    *[_second(f"payload {spec}", _segment(encryption=spec)) for spec in (
        "aes-cbc-essiv:sha256", "aes-cbc-plain64", "aes-xts-plain",
        "aes-xts-plain64be", "aes-xts-random", "aes-xts-essiv:sha256",
        "serpent-xts-plain64", "cipher_null-ecb", "cipher_null",
        "cipher_null-xts-plain64", "null", "capi:xts(aes)-plain64",
        "xchacha12,aes-adiantum-plain64", "AES-xts-plain64",
        "aes-xts-plain64:sha256", "nosuch-xts-plain64", "aes", "")],
    *[_second(f"digest's hash {name}", hash_name=name)
      for name in ("sha512",)],
    *[_second(f"digest's hash {name}", _digest(hash=name), opens=False)
      for name in ("sha1", "sha384", "whirlpool", "sha3-256",
                   "blake2b-512", "ripemd160", "nosuch", "SHA512")],
    _second("digest's hash SHA256", _digest(hash="SHA256")),
    _second("digest of another type", _digest(type="later"), opens=False),
    _second("dear digest", digest_iterations=DEAR),
    *[_second(f"keyslot's hash {name}",
              _keyslot(0, kdf={"hash": name}), opens=False)
      for name in ("whirlpool", "nosuch")],
    *[_second(f"stripes' hash {name}",
              _keyslot(0, af={"hash": name}), opens=False)
      for name in ("whirlpool", "nosuch")],
    _second("stripes", _keyslot(0, af={"stripes": 4001}), opens=False),
    *[_second(f"keyslot of {spec}", _keyslot(0, area={
        "encryption": spec, "key_size": size}), opens=False)
      for spec, size in (("aes-cbc-plain64", 32), ("aes-cbc-plain64", 64),
                         ("aes-cbc-essiv:sha256", 32),
                         ("serpent-xts-plain64", 64),
                         ("cipher_null-ecb", 32),
                         ("nosuch-xts-plain64", 64))],
    _second("keyslot of priority 0", _keyslot(0, priority=0), opens=False),
    _second("keyslot of priority 2", _keyslot(0, priority=2)),
    _second("keyslot of priority 3", _keyslot(0, priority=3)),
    _second("keyslot of another type", _keyslot(0, type="later"),
            opens=False),
    _second("first of two of another type", _keyslot(0, type="later"),
            slots=2),
    _second("first of two with another KDF",
            _keyslot(0, kdf={"type": "later", "salt": "AAAA"}), slots=2),
    _second("first of two for another key", _unbound(0), slots=2),
    _second("the only keyslot for another key", _unbound(0), opens=False),
    _second("a dear keyslot", dear=0),
    _second("a dear keyslot before ours", dear=0, slots=2),
    _second("no iterations", _keyslot(0, kdf={"iterations": 0}),
            opens=False),
    _second("first of two damaged", None, (32768, b"\xff" * 4096), slots=2),
    _second("no keyslot", _without_keyslots, never=True),
    _second("payload of a fixed size", _segment(size=str(units.MIB // 2))),
    _second("payload of a fixed size, beyond the image",
            _segment(size=str(8 * units.MIB))),
    _second("payload of the largest size",
            _segment(size=str(2 ** 64 - 4096))),
    _second("payload of size 0", _segment(size="0")),
    _second("payload of odd size", _segment(size="1000")),
    _second("IVs from 8", _segment(iv_tweak="8")),
    _second("integrity", _segment(integrity={
        "type": "hmac(sha256)", "journal_encryption": "none",
        "journal_integrity": "none"}), odd=True),
    _second("a segment's flag", _segment(flags=["later"])),
    _second("a segment that is not encrypted behind", _two_segments(
        {"size": str(units.MIB // 2)},
        {"type": "linear", "size": "dynamic",
         "offset": str(LUKS2_OFFSET + units.MIB // 2)})),
    _second("a segment with another cipher behind", _two_segments(
        {"size": str(units.MIB // 2)},
        {"type": "crypt", "size": "dynamic",
         "offset": str(LUKS2_OFFSET + units.MIB // 2), "iv_tweak": "1024",
         "encryption": "aes-cbc-plain64", "sector_size": 4096})),
    _second("a backup segment", _two_segments(
        {}, {"type": "linear", "size": "dynamic",
             "offset": str(LUKS2_OFFSET), "flags": ["backup-final"]})),
    _second("a payload that is not encrypted", _linear),
    _second("a payload of another type", _segment(type="later"), odd=True),
    _second("no segments", _top(segments={})),
    *[_second(f"requirement {name}",
              _config(requirements={"mandatory": [name]}), odd=True)
      for name in ("online-reencrypt", "online-reencrypt-v2", "offline-"
                   "reencrypt", "later")],
    _second("no requirement", _config(requirements={"mandatory": []})),
    _second("a flag", _config(flags=["allow-discards"])),
    _second("an unknown flag", _config(flags=["later"])),
    _second("a token of the keyring", _top(tokens={"0": {
        "type": "luks2-keyring", "keyslots": ["0"],
        "key_description": "key"}})),
    _second("an unknown token", _top(tokens={"0": {
        "type": "later", "keyslots": ["0"], "x": [1]}})),
    _second("a token of a keyslot that is not there", _top(tokens={"0": {
        "type": "later", "keyslots": ["5"]}})),
    _second("an unknown member", _top(later={"x": 1})),
    *[_second(f"copies of {size}", hdr_size=size)
      for size in (32768, 65536, 1 << 20, 4 << 20)],
    *[_second(f"payload at {offset}", data_offset=offset)
      for offset in (units.MIB, 17 * units.MIB, 20 * units.MIB)],
    _second("payload at 0", _segment(offset="0")),
    _second("payload in the keyslots", _segment(offset=str(65536))),
    _second("payload at an odd sector",
            _segment(offset=str(LUKS2_OFFSET + 512))),
    _second("no payload", size=LUKS2_OFFSET),
    _second("cut before the payload", size=15 * units.MIB),
    _second("a size of no whole sectors",
            size=LUKS2_OFFSET + PAYLOAD + 512),
    _second("first copy's checksum", None, (5000, b"x")),
    _second("second copy's checksum", None, (16384 + 5000, b"x")),
    _second("both copies' checksums", None, (5000, b"x"),
            (16384 + 5000, b"x")),
    _second("first copy gone", None, *_copy_gone(0)),
    _second("first magic gone", None, (0, bytes(6))),
    _second("second magic gone", None, (16384, bytes(6))),
    _second("both magics gone", None, (0, bytes(6)), (16384, bytes(6))),
    _second("version 3 of both", fields={"version": 3}),
    _second("version 3 of the first, by damage", None, (6, b"\0\3")),
    _second("version 1 of the first, by damage", None, (6, b"\0\1")),
    _second("size of the first copy, by damage", None,
            (8, (12345).to_bytes(8, "big"))),
    _second("label in UTF-8",
            fields={"label": "Daten für Büro".encode().ljust(48, b"\0")}),
    _second("label without an end", fields={"label": b"x" * 48}),
    _second("checksum sha512",
            fields={"csum_alg": b"sha512".ljust(32, b"\0")}),
    _second("checksum nosuch", None, (72, b"nosuch\0")),
    _second("keyslots' size", _config(keyslots_size="4096")),
    _second("keyslots' size odd", _config(keyslots_size="1000")),
    _second("size of the JSON area", _config(json_size="16384")),
    _stale(header_copies.PRIMARY), _stale(header_copies.SECONDARY),
    _second("mark of a clone", clone=True),
    Case("luks2 mark of a clone in the first copy only", _only_first_marked),
]

_NEITHER = [
    Case("zeros", lambda: bytes(4096), 4 * units.MIB, opens=False),
    Case("text", lambda: b"text " * 1000, 4 * units.MIB, opens=False),
]

CASES: List[Case] = [*_FIRST, *_SECOND, *_NEITHER]


def put(image: base.Image, start: bytes) -> bool:
    """Write the start of an image and, where we can, :data:`PATTERN` as data.

    :returns: whether there is data
    """
    image.write(0, start)
    try:
        header = header_io.read_header(image)
        opened = unlocking.unlock_header(image, header, PASSPHRASE)
        size = header_io.decrypted_size(header, image.size()) or 0
        segment = getattr(header, "segment", None)
        plain = bytes([PATTERN]) * min(size, PAYLOAD)
        data = cipher.SectorCipher(
            header.cipher_spec, opened.volume_key, header.sector_size
            ).encrypt(plain, segment.iv_tweak if segment else 0)
    except exception.RBDLuksError:
        return False
    if segment and len(header.metadata.segments) > 1:
        # Whoever takes the second one for the first finds other bytes.
        data = data[:len(data) // 2]
    if data:
        image.write(header.data_offset, data)
    return bool(data)


def check(test: Any, case: Case, program: str, found: claim.Claim, did: Did
          ) -> None:
    """Compare a claim with what the program did."""
    if case.odd and did is Did.OPENED:
        did = Did.WRONG
    expected = {True: [Did.OPENED], None: list(Did),
                False: [Did.REFUSED, Did.WRONG]}[found.usable]
    if found.usable and not case.opens:
        expected.append(Did.PASSPHRASE)
    if found.usable is False and case.never:
        expected.append(Did.PASSPHRASE)
    test.assertIn(did, expected, f"{program}, {case}: {found}")
