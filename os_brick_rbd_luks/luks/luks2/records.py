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

"""The JSON area to records, and changes to it.

Records have what we use; the tree keeps everything else, members and
objects that we do not know included, and it is what is written back.

Source: LUKS2 On-Disk Format Specification 1.1.4, "LUKS2 JSON Metadata
Format". Its "requirements" are an array there and an object with an array
``mandatory`` in every implementation; both are read.
"""

from __future__ import annotations

import base64
import copy
import dataclasses
from typing import Any, Dict, Iterable, Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import digests
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks.luks2 import jsontext

TOP = ("keyslots", "tokens", "segments", "digests", "config")


@dataclasses.dataclass(frozen=True)
class Area:
    """A place in the keyslots area; bytes."""

    offset: int
    size: int
    #: None for an area that holds no key
    encryption: Optional[str] = None
    key_size: int = 0


@dataclasses.dataclass(frozen=True)
class Keyslot:
    """One keyslot; *key_size* is bytes of the key it stores."""

    type: str
    key_size: int
    area: Area
    priority: int = 1
    #: of the anti-forensic split; None for a type that we do not know
    stripes: int = 0
    hash_name: Optional[str] = None
    kdf: Optional[kdfs.KDF] = None
    kdf_name: Optional[str] = None


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of the payload; bytes. *size* is None up to the end."""

    type: str
    offset: int
    size: Optional[int]
    flags: Tuple[str, ...]
    #: None for a type that is not encrypted, or that we do not know
    encryption: Optional[str] = None
    iv_tweak: int = 0
    sector_size: int = 512
    integrity: bool = False

    @property
    def backup(self) -> bool:
        """Whether it tells of another time, as while re-encrypting."""
        return any(flag.startswith("backup-") for flag in self.flags)


@dataclasses.dataclass(frozen=True)
class Digest:
    """How a key is known; what it is for."""

    type: str
    keyslots: Tuple[int, ...]
    segments: Tuple[int, ...]
    #: None for a type that we do not know
    hash_name: Optional[str] = None
    iterations: int = 0
    salt: bytes = b""
    digest: bytes = b""


@dataclasses.dataclass(frozen=True)
class Metadata:
    """All of the JSON area."""

    #: as it is on the image, without the zeros behind it
    text: bytes = dataclasses.field(repr=False)
    #: not to be changed
    tree: jsontext.Tree = dataclasses.field(repr=False, compare=False)
    keyslots: Dict[int, Keyslot]
    segments: Dict[int, Segment]
    digests: Dict[int, Digest]
    #: keyslots of each token
    tokens: Dict[int, Tuple[int, ...]]
    json_size: int
    keyslots_size: int
    flags: Tuple[str, ...]
    requirements: Tuple[str, ...]

    def area(self) -> bytes:
        """The whole JSON area."""
        return self.text.ljust(self.json_size, b"\0")


def parse(area: bytes, offset: int) -> Metadata:
    """Read the JSON area *area*, which lies at *offset*.

    :raises CorruptHeader: it is not as specified
    :raises HeaderLimitExceeded: it is too much of it
    """
    text, _terminator, rest = area.partition(b"\0")

    def corrupt(reason: str) -> exception.CorruptHeader:
        return exception.CorruptHeader(field="JSON area", offset=offset,
                                       reason=reason)

    if len(text) == len(area):
        raise corrupt("has no zero at its end")
    if rest.count(0) != len(rest):
        raise corrupt("has something behind its text")
    try:
        tree = jsontext.decode(text)
    except ValueError as error:
        raise corrupt(str(error)) from None
    return _records(text, jsontext.Node(tree, "", offset))


def _records(text: bytes, top: jsontext.Node) -> Metadata:
    config = top.node("config")
    keyslots = top.numbered("keyslots")
    segments = top.numbered("segments")
    return Metadata(
        text=text, tree=top.tree,
        keyslots={number: _keyslot(node)
                  for number, node in keyslots.items()},
        segments={number: _segment(node)
                  for number, node in segments.items()},
        digests={number: _digest(node, keyslots, segments)
                 for number, node in top.numbered("digests").items()},
        tokens={number: _token(node, keyslots)
                for number, node in top.numbered("tokens").items()},
        json_size=config.uint64("json_size"),
        keyslots_size=config.uint64("keyslots_size"),
        flags=config.texts("flags", optional=True),
        requirements=_requirements(config))


def _keyslot(node: jsontext.Node) -> Keyslot:
    area = node.node("area")
    kind = node.text("type")
    priority = node.optional_uint32("priority")
    known = kind == "luks2"
    if known and area.text("type") != "raw":
        raise area.corrupt("type", "is not raw")
    area.text("type")
    common: Dict[str, Any] = {
        "type": kind, "key_size": node.uint32("key_size", 1),
        "priority": 1 if priority is None else priority,
        "area": Area(area.uint64("offset"), area.uint64("size"),
                     area.text("encryption") if known else None,
                     area.uint32("key_size", 1) if known else 0)}
    if common["priority"] > 2:
        raise node.corrupt("priority", "is not 0, 1 or 2")
    if not known:
        return Keyslot(**common)
    af = node.node("af")
    if af.text("type") != "luks1":
        raise af.corrupt("type", "is not luks1")
    kdf = node.node("kdf")
    return Keyslot(
        **common, stripes=af.uint32("stripes"),
        hash_name=af.text("hash").lower(), kdf=_kdf(kdf),
        kdf_name=kdf.text("type"))


def _kdf(node: jsontext.Node) -> Optional[kdfs.KDF]:
    kind = node.text("type")
    if kind == "pbkdf2":
        return kdfs.Pbkdf2(node.text("hash").lower(),
                           node.uint32("iterations", 1), node.binary("salt"))
    if kind in ("argon2i", "argon2id"):
        return kdfs.Argon2(
            kind, kdfs.Argon2Cost(node.uint32("time", 1),
                                  node.uint32("memory", 1),
                                  node.uint32("cpus", 1)),
            node.binary("salt", kdfs.ARGON2_MIN_SALT))
    node.binary("salt", 0)
    return None


def _segment(node: jsontext.Node) -> Segment:
    kind = node.text("type")
    dynamic = node.tree.get("size") == "dynamic"
    common: Dict[str, Any] = {
        "type": kind, "offset": node.uint64("offset"),
        "size": None if dynamic else node.uint64("size"),
        "flags": node.texts("flags", optional=True)}
    if kind != "crypt":
        return Segment(**common)
    integrity = "integrity" in node.tree
    if integrity:
        node.node("integrity").text("type")
    return Segment(
        **common, encryption=node.text("encryption"),
        iv_tweak=node.uint64("iv_tweak"),
        sector_size=node.uint32("sector_size"), integrity=integrity)


def _digest(node: jsontext.Node, keyslots: Dict[int, Any],
            segments: Dict[int, Any]) -> Digest:
    kind = node.text("type")
    common: Dict[str, Any] = {
        "type": kind,
        "keyslots": node.numbers("keyslots", keyslots, "keyslot"),
        "segments": node.numbers("segments", segments, "segment")}
    if kind != "pbkdf2":
        return Digest(**common)
    return Digest(
        **common, hash_name=node.text("hash").lower(),
        iterations=node.uint32("iterations", 1), salt=node.binary("salt"),
        digest=node.binary("digest", digests.SIZE))


def _token(node: jsontext.Node, keyslots: Dict[int, Any]
           ) -> Tuple[int, ...]:
    node.string("type")
    return node.numbers("keyslots", keyslots, "keyslot")


def _requirements(config: jsontext.Node) -> Tuple[str, ...]:
    if isinstance(config.tree.get("requirements"), dict):
        return config.node("requirements").texts("mandatory", optional=True)
    return config.texts("requirements", optional=True)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def new(segment: Segment, digest: Digest, json_size: int,
        keyslots_size: int) -> jsontext.Tree:
    """The tree of a volume without keyslots, up to the image's end."""
    return {
        "keyslots": {}, "tokens": {}, "segments": {"0": {
            "type": segment.type, "offset": str(segment.offset),
            "size": "dynamic", "iv_tweak": str(segment.iv_tweak),
            "encryption": segment.encryption,
            "sector_size": segment.sector_size}},
        "digests": {"0": {
            "type": digest.type, "keyslots": [], "segments": ["0"],
            "hash": digest.hash_name, "iterations": digest.iterations,
            "salt": _base64(digest.salt),
            "digest": _base64(digest.digest)}},
        "config": {"json_size": str(json_size),
                   "keyslots_size": str(keyslots_size)}}


def keyslot_tree(slot: Keyslot) -> jsontext.Tree:
    """The object of a new keyslot of type luks2."""
    kdf: jsontext.Tree = {}
    if isinstance(slot.kdf, kdfs.Pbkdf2):
        kdf = {"type": slot.kdf.name, "hash": slot.kdf.hash_name,
               "iterations": slot.kdf.iterations,
               "salt": _base64(slot.kdf.salt)}
    elif isinstance(slot.kdf, kdfs.Argon2):
        kdf = {"type": slot.kdf.name, "time": slot.kdf.cost.time,
               "memory": slot.kdf.cost.memory_kib,
               "cpus": slot.kdf.cost.cpus, "salt": _base64(slot.kdf.salt)}
    priority = {} if slot.priority == 1 else {"priority": slot.priority}
    return {
        "type": slot.type, "key_size": slot.key_size, **priority,
        "af": {"type": "luks1", "stripes": slot.stripes,
               "hash": slot.hash_name},
        "area": {"type": "raw", "offset": str(slot.area.offset),
                 "size": str(slot.area.size),
                 "encryption": slot.area.encryption,
                 "key_size": slot.area.key_size},
        "kdf": kdf}


def with_keyslot(tree: jsontext.Tree, number: int, slot: jsontext.Tree,
                 digest: int, tokens: Iterable[int] = ()) -> jsontext.Tree:
    """The tree with one keyslot more.

    :param digest: of the key that is in it
    :param tokens: which tell how to come by its passphrase
    """
    changed = copy.deepcopy(tree)
    changed["keyslots"][str(number)] = slot
    changed["digests"][str(digest)]["keyslots"].append(str(number))
    for token in tokens:
        changed["tokens"][str(token)]["keyslots"].append(str(number))
    return changed


def with_areas(tree: jsontext.Tree, offsets: Dict[int, int]
               ) -> jsontext.Tree:
    """The tree with the areas of some keyslots at other offsets."""
    changed = copy.deepcopy(tree)
    for number, offset in offsets.items():
        changed["keyslots"][str(number)]["area"]["offset"] = str(offset)
    return changed


def with_data_offset(tree: jsontext.Tree, offset: int) -> jsontext.Tree:
    """The tree with its only segment at another offset."""
    changed = copy.deepcopy(tree)
    changed["segments"]["0"]["offset"] = str(offset)
    return changed


def without_keyslots(tree: jsontext.Tree, numbers: Iterable[int]
                     ) -> jsontext.Tree:
    """The tree without keyslots and what refers to them.

    Tokens stay, as with cryptsetup: they may be of use to their makers.
    """
    changed = copy.deepcopy(tree)
    names = {str(number) for number in numbers}
    for name in names:
        del changed["keyslots"][name]
    for parent in ("digests", "tokens"):
        for item in changed[parent].values():
            item["keyslots"] = [name for name in item["keyslots"]
                                if name not in names]
    return changed
