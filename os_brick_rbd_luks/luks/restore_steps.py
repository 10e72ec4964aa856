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

"""What putting a header backup back takes in either format."""

from __future__ import annotations

from typing import Dict, Iterable, Mapping

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks import keyslot_views
from os_brick_rbd_luks.luks import plans

#: Bytes of the area of each keyslot of a header, by number.
Areas = Mapping[int, bytes]


def refuse_useless(keyslots: Iterable[keyslot_views.Keyslot]) -> None:
    """Refuse a backup without a keyslot that could open the volume.

    :param keyslots: the backup's
    :raises OperationRefused: it would be the end of the volume
    """
    slots = list(keyslots)
    if all(slot.damage for slot in slots):
        raise exception.OperationRefused(
            reason="the backup has no keyslot in use, so no passphrase would "
                   "open the volume; to destroy it, use 'rbd-luks erase', or "
                   "insist with --force (force=True)")
    if not any(slot.usable for slot in slots):
        raise exception.OperationRefused(
            reason="the backup has no keyslot that we can use, so it cannot "
                   "be told what would open the volume; restore it with "
                   "cryptsetup, or insist with --force (force=True)")


def writes(keyslots: Iterable[keyslot_views.Keyslot], areas: Areas
           ) -> Dict[int, plans.Write]:
    """The writes of the areas of some keyslots, by number."""
    return {slot.number: plans.Write(slot.offset, areas[slot.number])
            for slot in keyslots}
