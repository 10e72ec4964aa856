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
"""Make the vectors of a release: what it writes, kept for all later ones.

The volumes, header backups and metadata are what the package of that moment
makes in memory. Their keyslot areas are odd in one way: but for the last of
its sectors an area is a pattern and not noise, so that it can be compressed.
Any bytes are an area, for the last stripe is chosen so that all of them
together give the volume key: a reader has to read and decrypt every one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import lzma
import pathlib
import struct
from typing import Any, Callable, Dict, Iterator, Sequence
from unittest import mock

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.luks import af
from os_brick_rbd_luks.luks import cipher
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.tests.fakes import image as handles
from os_brick_rbd_luks.tests.fakes import store as stores

MANIFEST = "manifest.json"

#: Decrypted bytes of every volume.
SIZE = 8192

FIRST, SECOND, THIRD = (
    f"{number} passphrase of a vector" for number in (
        "first", "second", "third"))

_XTS = {"cipher_spec": "aes-xts-plain64", "key_bytes": 64}

#: Name -> options of the volume, and passphrases that are added.
VOLUMES: Dict[str, Any] = {
    "luks1": ({"type": "luks1", **_XTS}, ()),
    "luks1-xts128-sha512": (
        {"type": "luks1", "cipher_spec": "aes-xts-plain64", "key_bytes": 32,
         "hash_name": "sha512"}, ()),
    "luks1-cbc-essiv": (
        {"type": "luks1", "cipher_spec": "aes-cbc-essiv:sha256",
         "key_bytes": 32}, ()),
    "luks1-keyslots": ({"type": "luks1", **_XTS}, (SECOND, THIRD)),
    "luks2-512": ({"type": "luks2", "sector_size": 512, **_XTS}, ()),
    "luks2-4096": ({"type": "luks2", "sector_size": 4096, **_XTS}, ()),
    "luks2-keyslots": ({"type": "luks2", **_XTS}, (SECOND, THIRD)),
    "luks2-argon2id": (
        {"type": "luks2", "argon2": kdfs.Argon2Cost(4, 64, 1), **_XTS}, ()),
}

#: Name -> of which volume, whose first passphrase gets another one.
REKEYED = {"luks1-rekeyed": "luks1-keyslots",
           "luks2-rekeyed": "luks2-keyslots"}
NEW = "new passphrase of a vector"

BACKUPS = ("luks1-keyslots", "luks2-keyslots")


def _seal(self: keymaterial.Parameters, volume_key: bytes, passphrase: bytes,
          random: Callable[[int], bytes]) -> bytes:
    """An area whose sectors have their number in them, but for the last."""
    area = keymaterial.area_bytes(self.key_bytes, self.stripes)
    count = area // cipher.SECTOR - 1
    start, sectors = count * cipher.SECTOR, self._cipher(passphrase)
    pattern = b"".join(struct.pack(">Q", number) * (cipher.SECTOR // 8)
                       for number in range(count))
    material = sectors.decrypt(pattern) + random(cipher.SECTOR)
    used = self.key_bytes * self.stripes
    material = material[:used - self.key_bytes] + bytes(
        self.key_bytes) + material[used:]
    # What all but the last stripe give; the last one makes the key of it.
    rest = af.merge(material[:used], self.key_bytes, self.stripes,
                    self.hash_name)
    stripe = bytes(one ^ other for one, other in zip(rest, volume_key))
    material = material[:used - self.key_bytes] + stripe + material[used:]
    return pattern + sectors.encrypt(material[start:], count)


@contextlib.contextmanager
def _compressible() -> Iterator[None]:
    with mock.patch.object(keymaterial.Parameters, "seal", _seal):
        yield


def content(name: str) -> bytes:
    """What a volume of that name holds."""
    line = f"This is the volume {name}. ".encode()
    return (line * (SIZE // len(line) + 1))[:SIZE]


def make(version: str, folder: pathlib.Path) -> Dict[str, Any]:
    """Write all files of a release into a new folder.

    :param version: of the package, for the manifest
    :returns: the manifest
    :raises FileExistsError: there is such a folder: no vector ever changes
    """
    folder.mkdir()
    with _compressible():
        store = stores.MemoryStore()
        manifest: Dict[str, Any] = {
            "version": version,
            "volumes": [_volume(store, name, folder, *how)
                        for name, how in VOLUMES.items()]
            + [_rekeyed(store, name, of, folder)
               for name, of in REKEYED.items()],
            "backups": [_backup(store, name, folder) for name in BACKUPS],
            "clones": [_clone(store, kind, folder)
                       for kind in ("luks1", "luks2")],
        }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return manifest


def _volume(store: stores.MemoryStore, name: str, folder: pathlib.Path,
            options: Dict[str, Any], others: Sequence[str]
            ) -> Dict[str, Any]:
    creating.create(store, name, SIZE, FIRST.encode(),
                    formatting.Options(**options))
    with store.open(name) as image:
        for other in others:
            keyslots.add(image, FIRST.encode(), other.encode())
        plain = plaintext.Plaintext(image, unlocking.unlock(
            image, FIRST.encode()))
        plain.write(0, content(name))
    return _kept(store, name, folder, [FIRST, *others], [])


def _rekeyed(store: stores.MemoryStore, name: str, of: str,
             folder: pathlib.Path) -> Dict[str, Any]:
    store.contents[name] = store.contents[of].copy()
    store.contents[name].name = name
    with store.open(name) as image:
        old = header_io.read_header(image).keyslots[0]
        keyslots.replace(image, FIRST.encode(), NEW.encode())
        # Noise was written over it, which cannot be compressed.
        image.write(old.offset, b"erased. " * (old.length // 8))
    return {**_kept(store, name, folder, [NEW, SECOND, THIRD], [FIRST]),
            "content": hashlib.sha256(content(of)).hexdigest()}


def _kept(store: stores.MemoryStore, name: str, folder: pathlib.Path,
          passphrases: Sequence[str], wrong: Sequence[str]
          ) -> Dict[str, Any]:
    """Write an image, and say what has to be true of it for ever."""
    with store.open(name, read_only=True) as image:
        opened = unlocking.unlock(image, passphrases[0].encode())
        header, data = opened.header, image.content.whole()
    return {
        "name": name, "file": _compress(folder, f"{name}.img", data),
        "passphrases": [*passphrases], "wrong": [*wrong],
        "volume_key": opened.volume_key.hex(),
        "content": hashlib.sha256(content(name)).hexdigest(),
        "type": header.type, "uuid": header.uuid,
        "cipher": header.cipher_spec, "hash": header.hash_name,
        "data_offset": header.data_offset,
        "sector_size": header.sector_size}


def _backup(store: stores.MemoryStore, name: str, folder: pathlib.Path
            ) -> Dict[str, Any]:
    with store.open(name, read_only=True) as image:
        data = header_backup.backup(image)
    return {"of": name, "file": _compress(folder, f"{name}.backup", data)}


def _clone(store: stores.MemoryStore, kind: str, folder: pathlib.Path
           ) -> Dict[str, Any]:
    """A header backup of a clone with a header of its own."""
    name = f"{kind}-clone"
    source = {"luks1": "luks1", "luks2": "luks2-4096"}[kind]
    with store.open(source) as image:
        image.create_snapshot("s")
    cloning.own_header(store, store.parent(source, "s"), name, NEW.encode(),
                       formatting.Options(type=kind),
                       old_passphrase=FIRST.encode())
    with store.open(name, read_only=True) as image:
        data = header_backup.backup(image)
        opened = unlocking.unlock(image, NEW.encode())
        metadata = dict(image.content.notes)
    return {"name": name, "type": kind, "passphrases": [NEW],
            "volume_key": opened.volume_key.hex(), "below": [FIRST],
            "metadata": metadata,
            "file": _compress(folder, f"{name}.backup", data)}


def _compress(folder: pathlib.Path, name: str, data: bytes) -> str:
    path = folder / f"{name}.xz"
    path.write_bytes(lzma.compress(data, preset=6))
    return path.name


def load(folder: pathlib.Path, file: str) -> bytes:
    """What a file of the vectors has in it."""
    return lzma.decompress((folder / file).read_bytes())


def image_of(data: bytes, name: str = "vector") -> handles.MemoryImage:
    """An image in memory that has *data*, open for writing."""
    image = stores.MemoryStore().create(name, len(data))
    step = base.DEFAULT_OBJECT_SIZE
    for at in range(0, len(data), step):
        if not base.is_zero(data[at:at + step]):
            image.content.write(at, data[at:at + step])
    return image
