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

import logging
import sys
from typing import Any, Callable, Dict, List, Optional

from cinder import exception as cinder_exception
from cinder.volume import volume_utils

from os_brick_rbd_luks.clones import bases
from os_brick_rbd_luks.copies import replacing
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import kept_aside
from os_brick_rbd_luks.headers import same_keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import session
from os_brick_rbd_luks.volume import sizes

LOG = logging.getLogger(__name__)

Entries = List[Dict[str, Any]]
Listed = Callable[..., Entries]


def volumes(here: session.Session, listed: Listed, *page: Any) -> Entries:
    """Upstream's list of images, with what it does not know put right.

    :param listed: gives a page of upstream's list
    :param page: marker, limit, offset, sort keys and directions
    """
    return _corrected(here, listed, _correct_volume, *page)


def snapshots(here: session.Session, listed: Listed, *page: Any) -> Entries:
    """Likewise of snapshots."""
    return _corrected(here, listed, _correct_snapshot, *page)


def _corrected(here: session.Session, listed: Listed,
               correct: Callable[[session.Session, Dict[str, Any]], None],
               marker: Any, limit: int, offset: int, *order: List[str]
               ) -> Entries:
    found = listed(None, sys.maxsize, 0, *order)
    _correct(here, found, correct)
    # Sorted anew: sizes may be others now.
    entries: Entries = volume_utils.paginate_entries_list(
        found, marker, limit, offset, *order)
    return entries


@threads.native
def _correct(here: session.Session, found: Entries,
             correct: Callable[[session.Session, Dict[str, Any]], None]
             ) -> None:
    for entry in found:
        correct(here, entry)


def _correct_volume(here: session.Session, entry: Dict[str, Any]) -> None:
    if _put_right(here, entry, entry["reference"]["source-name"]) and (
            entry["safe_to_manage"]):
        _refuse(entry, "encrypted, and Cinder has no key of it")


def _correct_snapshot(here: session.Session, entry: Dict[str, Any]) -> None:
    _put_right(here, entry, entry["source_reference"]["source-name"],
               entry["reference"]["source-name"])


def _put_right(here: session.Session, entry: Dict[str, Any], image: str,
               snapshot: Optional[str] = None) -> bool:
    """Refuse what is ours, and tell the size that a guest sees.

    :returns: whether it is an encrypted volume, or a snapshot of one
    """
    if _is_helper(image):
        _refuse(entry, "belongs to other volumes")
        return False
    size = _decrypted(here, image, snapshot)
    if size is None:
        return False
    entry["size"] = sizes.gib(size)
    return True


def _is_helper(name: str) -> bool:
    """Whether an image is there for volumes, and none itself."""
    return (name.startswith((bases.PREFIX, kept_aside.PREFIX))
            or replacing.volume_name(name) != name)


def _refuse(entry: Dict[str, Any], reason: str) -> None:
    entry["safe_to_manage"], entry["reason_not_safe"] = False, reason


def _decrypted(here: session.Session, name: str, snapshot: Optional[str]
               ) -> Optional[int]:
    """Bytes that a guest sees of an encrypted image, else None.

    Also of one that has gone since, or that nobody can read: upstream's list
    does without the ones as well.
    """
    try:
        with here.pool() as pool, pool.open(
                name, read_only=True, snapshot=snapshot) as image:
            return sizes.decrypted(image)
    except exception.NotLuks:
        return None
    except exception.RBDLuksError as error:
        LOG.debug("%s: its size is that of the image: %s", name, error)
        return None


def refuse_other_key(volume: encrypted.Volume, snapshot: str) -> None:
    """Refuse a snapshot that the volume's key does not open.

    It was taken before a re-key, and Cinder would give its volumes that key.
    Where the header has the same keyslots as then, nobody asks for the key.

    :param snapshot: name of the RBD snapshot
    :raises ManageExistingInvalidReference: nothing was changed
    :raises VolumeBackendAPIException: the image, or the key; likewise
    """
    if not (_opens_alike(volume, snapshot)
            or _opens(volume, snapshot, volume.passphrase())):
        raise cinder_exception.ManageExistingInvalidReference(
            existing_ref=snapshot, reason=f"volume {volume.record.id} had "
            "another key when the snapshot was taken, so its key does not "
            "open that")


@errors.translated()
@threads.native
def _opens_alike(volume: encrypted.Volume, snapshot: str) -> bool:
    with volume.pool() as pool, pool.open(
            volume.name, read_only=True, snapshot=snapshot) as then, \
            pool.open(volume.name, read_only=True) as now:
        return same_keyslots.opens_alike(then, now)


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
