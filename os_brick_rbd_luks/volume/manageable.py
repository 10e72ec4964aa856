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
"""What Cinder may take over of a pool, and how large it is.

Upstream counts the bytes of an image, which has a header before the data, and
knows no image of ours that is none of Cinder's.

Source: ``cinder.volume.drivers.rbd`` (``get_manageable_volumes``,
``get_manageable_snapshots``, ``manage_existing_snapshot_get_size``), 21 to
29.
"""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, List, Optional

from cinder import exception as cinder_exception
from cinder.volume import volume_utils

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import half_made
from os_brick_rbd_luks.volume import session

Entries = List[Dict[str, Any]]


def volumes(here: session.Session, listed: Callable[..., Entries],
            marker: Any, limit: int, offset: int, sort_keys: List[str],
            sort_dirs: List[str]) -> Entries:
    """Upstream's list of images, with what it does not know put right.

    :param listed: gives a page of upstream's list
    """
    found = listed(None, sys.maxsize, 0, sort_keys, sort_dirs)
    _correct_volumes(here, found)
    return _page(found, marker, limit, offset, sort_keys, sort_dirs)


def snapshots(here: session.Session, listed: Callable[..., Entries],
              marker: Any, limit: int, offset: int, sort_keys: List[str],
              sort_dirs: List[str]) -> Entries:
    """Likewise of snapshots."""
    found = listed(None, sys.maxsize, 0, sort_keys, sort_dirs)
    _correct_snapshots(here, found)
    return _page(found, marker, limit, offset, sort_keys, sort_dirs)


def _page(found: Entries, *page: Any) -> Entries:
    """Sorted anew: sizes may be others now."""
    entries: Entries = volume_utils.paginate_entries_list(found, *page)
    return entries


@threads.native
def _correct_volumes(here: session.Session, found: Entries) -> None:
    for entry in found:
        name = entry["reference"]["source-name"]
        if _is_helper(name):
            _refuse(entry, "belongs to other volumes")
            continue
        size = _decrypted(here, name)
        if size is None:
            continue
        entry["size"] = -(-size // encrypted.GIB)
        if entry["safe_to_manage"]:
            _refuse(entry, "encrypted, and Cinder has no key of it")


@threads.native
def _correct_snapshots(here: session.Session, found: Entries) -> None:
    for entry in found:
        image = entry["source_reference"]["source-name"]
        if _is_helper(image):
            _refuse(entry, "belongs to other volumes")
            continue
        size = _decrypted(here, image, entry["reference"]["source-name"])
        if size is not None:
            entry["size"] = -(-size // encrypted.GIB)


def _is_helper(name: str) -> bool:
    """Whether an image is there for volumes, and none itself."""
    return (name.startswith((partial.PREFIX, bases.PREFIX))
            or name.endswith(half_made.INCOMING))


def _refuse(entry: Dict[str, Any], reason: str) -> None:
    entry["safe_to_manage"], entry["reason_not_safe"] = False, reason


def _decrypted(here: session.Session, name: str,
               snapshot: Optional[str] = None) -> Optional[int]:
    """Bytes that a guest sees of an encrypted image, else None.

    Also where the image has gone since, or its header is damaged.
    """
    try:
        with here.pool() as pool, pool.open(
                name, read_only=True, snapshot=snapshot) as image:
            header = header_io.header_if_any(image)
            return image.size() - header.data_offset if header else None
    except (exception.ImageNotFound, exception.HeaderError):
        return None


@errors.translated()
@threads.native
def snapshot_size(volume: encrypted.Volume, snapshot: str) -> int:
    """GiB that a guest sees of a snapshot of *volume*, rounded up.

    :raises VolumeBackendAPIException: there is no such snapshot, or no header
    """
    with volume.pool() as pool, pool.open(
            volume.name, read_only=True, snapshot=snapshot) as image, \
            exception.about(image.name):
        size = image.size() - header_io.read_header(image).data_offset
    return -(-size // encrypted.GIB)


def refuse_other_key(volume: encrypted.Volume, snapshot: str) -> None:
    """Refuse a snapshot that the volume's key does not open.

    It was taken before a re-key, and Cinder would give its volumes that key.

    :raises ManageExistingInvalidReference: nothing was changed
    """
    if not _opens(volume, snapshot, volume.passphrase()):
        raise cinder_exception.ManageExistingInvalidReference(
            existing_ref=snapshot, reason=f"volume {volume.record.id} had "
            "another key when the snapshot was taken, so its key does not "
            "open that")


@errors.translated()
@threads.native
def _opens(volume: encrypted.Volume, snapshot: str, passphrase: bytes
           ) -> bool:
    with volume.pool() as pool, pool.open(
            volume.name, read_only=True, snapshot=snapshot) as image:
        try:
            unlocking.unlock(image, passphrase)
        except exception.WrongPassphrase:
            return False
    return True
