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

"""Rewrite the damaged copy of a LUKS2 header from the good one."""

from __future__ import annotations

import logging

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.luks.luks2 import ondisk

LOG = logging.getLogger(__name__)


@header_io.names_image
def repair(image: base.Image, *, force: bool = False) -> str:
    """Put the copy right that is damaged, or that a cut change left behind.

    Which passphrases open the volume does not change by it.

    :param force: although something else than a header would be overwritten
    :returns: the copy that was rewritten, "primary" or "secondary"
    :raises OperationRefused: both copies are sound, there is but one copy
        (LUKS1), the bad one has the right checksum, or something else lies
        where it was
    :raises HeaderError: there is no good copy
    """
    start = header_io.read_start(image, second_copy=True)
    header = header_io.parse(start, image.size(), second_copy=True)
    if not isinstance(header, luks2.Luks2Header):
        raise exception.OperationRefused(
            reason="a LUKS1 header has no second copy to repair it from; "
                   "restore a header backup")
    change = header.repair()
    if header.ailment and header.ailment.sound and not force:
        raise exception.OperationRefused(
            reason=f"the {header.ailment.which} copy is what somebody wrote, "
                   "for its checksum is right, although we cannot use it "
                   f"({header.ailment.damage}): keyslots or tokens of now may "
                   "be in it only; to go back to the other copy, insist with "
                   "--force (force=True)")
    if not force:
        # What follows a sound primary copy is the header's in any case.
        for write in change.plan.stages[0]:
            if write.offset == 0:
                _refuse_others(start[:write.end])
    which = "primary" if change.plan.stages[0][0].offset == 0 else "secondary"
    header_io.apply(image, change.plan)
    LOG.info("%s: %s copy of the header rewritten", image.name, which)
    return which


def _refuse_others(there: bytes) -> None:
    """Refuse to overwrite what is neither nothing nor a copy of a header.

    Behind its fields a binary header has zeros up to the JSON area: whatever
    lies there was put there by somebody else, as LVM its label.

    :param there: what the repair would overwrite
    """
    begins_like_one = there[:len(detect.MAGIC)] in (
        detect.MAGIC, detect.CLONE_MAGIC, detect.SECONDARY_MAGIC,
        detect.SECONDARY_CLONE_MAGIC)
    if not any(there) or (begins_like_one and not any(
            there[ondisk.FIELDS_END:ondisk.SIZE])):
        return
    raise exception.OperationRefused(
        reason="something else than a header lies where the repair would "
               "write; if it is a volume nevertheless, insist with --force "
               "(force=True)")
