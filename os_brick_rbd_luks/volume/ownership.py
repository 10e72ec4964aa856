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
"""A passphrase of its own for a volume that changed hands.

While a transfer is accepted, Cinder's API copies the volume's key to its new
owner and stores the id of that copy, so the driver cannot change it then. It
notes it on the image, and changes it before the volume is attached the next
time.

Source: ``cinder.transfer.api`` (``accept``), ``cinder.keymgr.transfer``.
"""

from __future__ import annotations

import logging
from typing import Optional

from cinder import objects

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import threads
from os_brick_rbd_luks.volume import encrypted
from os_brick_rbd_luks.volume import errors
from os_brick_rbd_luks.volume import fleet
from os_brick_rbd_luks.volume import rekey

LOG = logging.getLogger(__name__)

#: Metadata of an image whose passphrase a former owner knows.
NOTE = "rbd_luks.transferred"


@errors.translated()
def note(volume: encrypted.Volume) -> None:
    """Note that a volume has changed hands.

    :raises VolumeBackendAPIException: and so the transfer does
    """
    _set(volume, "1")


@threads.native
def _set(volume: encrypted.Volume, value: Optional[str]) -> None:
    with volume.image() as image:
        image.set_note(NOTE, value)


def rekey_if_noted(volume: encrypted.Volume) -> None:
    """Give a volume that is noted a new key, if nothing speaks against it.

    Snapshots keep the header of their time, and Cinder would lose their key,
    so a volume that has any waits until they are gone. If it fails, the
    volume is attached with the key that it has.
    """
    record = volume.record
    if not record.use_quota:
        # A volume for a while, with a key that is another one's; the note
        # goes on with the image.
        return
    if record.status not in fleet.BEING_ATTACHED or not _is_due(volume):
        return
    try:
        if objects.SnapshotList.get_all_for_volume(
                record.obj_context, record.id):
            LOG.warning("%s: it keeps the passphrase that its former owner "
                        "may know until its snapshots are deleted",
                        volume.name)
            return
        rekey.own_key(volume, in_place=True)
        _set(volume, None)
    except Exception as error:  # also what the database's driver raises
        LOG.warning("%s: it keeps the passphrase that its former owner may "
                    "know, a new one failed: %s", volume.name, error)


@threads.native
def _is_due(volume: encrypted.Volume) -> bool:
    try:
        with volume.image(read_only=True) as image:
            return (image.note(NOTE) is not None and not image.snapshots()
                    and not image.watchers())
    except exception.RBDLuksError as error:
        LOG.debug("%s: %s", volume.name, error)
        return False
