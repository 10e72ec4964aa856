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
"""What the walk does to a store: each action is a function of one step.

Arguments are plain values, so that an action can be run by a process that is
killed on the way.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any, Dict, Iterator, Optional, Tuple

from os_brick_rbd_luks.clones import cloning
from os_brick_rbd_luks.clones import flattening
from os_brick_rbd_luks.copies import exporting
from os_brick_rbd_luks.copies import importing
from os_brick_rbd_luks.copies import realign as realigning
from os_brick_rbd_luks.copies import sources
from os_brick_rbd_luks.copies import transfer
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import erase as erasing
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import passphrases
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.stress import model

#: Where QEMU and Cinder's own driver put the payload of AES-256 in XTS.
UPSTREAM_OFFSET = 4040 * 512


def options(kind: str, sector: Optional[int] = None) -> formatting.Options:
    """Give the options of a new header, as quick as librbd can open it."""
    return formatting.Options(type=kind, key_bytes=32, sector_size=sector)


def create(store: Any, name: str, size: int, key: bytes, kind: str,
           sector: Optional[int], image_options: Dict[str, Any],
           restart: bool = False) -> None:
    """Make a volume."""
    creating.create(store, name, size, key, options(kind, sector),
                    restart=restart, **image_options)


def create_plain(store: Any, name: str, size: int,
                 image_options: Dict[str, Any]) -> None:
    """Make an image that is not encrypted."""
    store.create(name, size, **image_options).__exit__(None, None, None)


def create_upstream(store: Any, name: str, size: int, key: bytes,
                    image_options: Dict[str, Any]) -> None:
    """Make a LUKS1 volume whose payload begins where Cinder's does."""
    chosen = formatting.Options()
    with store.create(name, size + UPSTREAM_OFFSET, **image_options) as image:
        # Made in a place that is cut off later, and moved.
        image.resize(size + 2 * formatting.data_offset(
            image.stripe_period(), chosen))
        formatting.format_new(image, key, chosen)
        header = header_io.read_header(image)
        areas = header_backup.read_areas(image, header)
        moved = header.relocate(UPSTREAM_OFFSET)
        header_io.apply(image, header_backup.plan_over_nothing(
            moved, areas, header_io.read_start(image)))
        image.resize(size + UPSTREAM_OFFSET)


@contextlib.contextmanager
def guest(store: Any, name: str, passphrases: Tuple[bytes, ...],
          snapshot: Optional[str] = None, read_only: bool = False
          ) -> Iterator[Any]:
    """Open a volume as plain text, as what librbd shows to QEMU.

    By Python only what no librbd here opens.

    :param passphrases: of all its layers; none of a plain image
    """
    with store.open(name, read_only=read_only,
                    snapshot=snapshot) as image:
        if not passphrases:
            yield image
            return
        header = header_io.read_header(image)
        if header.data_offset % image.stripe_period() or (
                not store.librbd.closes_clones and image.parent()):
            yield decryption.open_view(image, header, passphrases[0])
            return
        image.load_encryption(header.type, *passphrases)
        yield image


def guest_write(store: Any, name: str, passphrases: Tuple[bytes, ...],
                first: int, tags: bytes) -> None:
    """Write as a guest does."""
    with guest(store, name, passphrases) as view:
        view.write(first * model.BLOCK, model.content(tags, first))
        view.flush()


def take_snapshot(store: Any, name: str, snapshot: str) -> None:
    """Take a snapshot."""
    with store.open(name) as image:
        image.create_snapshot(snapshot)


def remove_snapshot(store: Any, name: str, snapshot: str) -> None:
    """Remove a snapshot."""
    with store.open(name) as image:
        image.remove_snapshot(snapshot)


def clone_own_key(store: Any, image: str, snapshot: str, name: str,
                  key: bytes, new_key: bytes, size: Optional[int],
                  flatten: bool, restart: bool = False) -> None:
    """Clone with a passphrase of its own."""
    cloning.rekeyed(store, store.parent(image, snapshot), name, key, new_key,
                    size=size, flatten=flatten, options=options("luks1"),
                    restart=restart)


def clone_own_header(store: Any, image: str, snapshot: str, name: str,
                     key: Optional[bytes], new_key: bytes, kind: str,
                     restart: bool = False) -> None:
    """Clone with a header of its own."""
    cloning.own_header(store, store.parent(image, snapshot), name, new_key,
                       options(kind), old_passphrase=key, restart=restart)


def rekey(store: Any, name: str, key: bytes, new_key: bytes) -> None:
    """Replace a passphrase."""
    with store.open(name) as image:
        passphrases.replace(image, key, new_key)


def add_key(store: Any, name: str, key: bytes, new_key: bytes) -> None:
    """Add a passphrase."""
    with store.open(name) as image:
        passphrases.add(image, key, new_key)


def remove_key(store: Any, name: str, key: bytes) -> None:
    """Remove a passphrase."""
    with store.open(name) as image:
        keyslots.remove(image, key)


def resize(store: Any, name: str, size: int, encrypted: bool) -> None:
    """Give it another size."""
    with store.open(name) as image:
        if encrypted:
            resizing.resize(image, size, force=True)
        else:
            resizing.resize_plain(image, size)


def flatten(store: Any, name: str, key: bytes) -> None:
    """Make it a clone no more, and what was kept for it gone."""
    with store.open(name, read_only=True) as image:
        parent = image.parent()
    flattening.flatten(store, name, key)
    flattening.release_parents(store, parent, name)


def export(store: Any, name: str, key: Optional[bytes]) -> bytes:
    """Read all of it in order, as an export to a stream does."""
    stream = io.BytesIO()
    with sources.opened(store, name, None, key) as volume:
        exporting.to_stream(volume, stream)
    return stream.getvalue()


def copy_in(store: Any, name: str, data: bytes, key: bytes, kind: str,
            image_options: Dict[str, Any], restart: bool = False) -> None:
    """Import a stream into a new volume."""
    transfer.new(store, name, importing.StreamSource(io.BytesIO(data)),
                 transfer.Encryption(key, options(kind)), size=len(data),
                 restart=restart, **image_options)


def reencrypt(store: Any, name: str, snapshot: Optional[str],
              key: Optional[bytes], new_name: str, new_key: bytes, kind: str,
              image_options: Dict[str, Any], restart: bool = False) -> None:
    """Copy into a new volume of another volume key."""
    with sources.opened(store, name, snapshot, key) as volume:
        transfer.new(store, new_name, volume,
                     transfer.Encryption(new_key, options(kind)),
                     restart=restart, **image_options)


def realign(store: Any, name: str, new_name: str,
            image_options: Dict[str, Any], restart: bool = False) -> None:
    """Copy to where librbd opens it."""
    with sources.opened_raw(store, name) as volume:
        realigning.realign(volume, store, new_name, restart=restart,
                           **image_options)


def backup(store: Any, name: str) -> bytes:
    """Make a header backup."""
    with store.open(name, read_only=True) as image:
        return header_backup.backup(image)


def restore(store: Any, name: str, data: bytes, force: bool) -> None:
    """Restore a header backup."""
    with store.open(name) as image:
        header_backup.restore(image, data, force=force)


def erase(store: Any, name: str, force: bool) -> None:
    """Destroy all keyslots."""
    with store.open(name) as image:
        erasing.erase(image, force=force)


def remove(store: Any, name: str) -> None:
    """Remove an image and what there is only for it."""
    cloning.remove(store, name)


def opening(store: Any, name: str, candidates: Tuple[bytes, ...],
            snapshot: Optional[str] = None) -> frozenset[bytes]:
    """Tell which passphrases open it; damage is an error."""
    found = set()
    with store.open(name, read_only=True,
                    snapshot=snapshot) as image:
        for key in candidates:
            with contextlib.suppress(exception.WrongPassphrase,
                                     exception.KeyslotNotFound):
                unlocking.unlock(image, key)
                found.add(key)
    return frozenset(found)


def is_formatted(store: Any, name: str) -> bool:
    """Tell whether an image begins with a header."""
    with store.open(name, read_only=True) as image:
        return (detect.detect(header_io.read_start(image))
                is not detect.Format.NONE)
