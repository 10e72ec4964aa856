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

"""Both copies of a header as they are written: one after the other.

So at any cut one copy is whole, and whichever it is opens.

Source: LUKS2 On-Disk Format Specification 1.1.4, "Metadata Recovery".
"""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.luks.luks2 import header_copies
from os_brick_rbd_luks.luks.luks2 import ondisk
from os_brick_rbd_luks.luks.luks2 import records
from os_brick_rbd_luks.luks import plans


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two copies of the same metadata, and what ails one on the image."""

    #: the primary copy's binary header
    primary: ondisk.Binary
    secondary_salt: bytes
    metadata: records.Metadata
    ailment: Optional[header_copies.Ailment] = None
    #: both copies as they are on the image, if it is read from one
    found: Optional[bytes] = dataclasses.field(
        default=None, repr=False, compare=False)

    def pack(self) -> bytes:
        """Both copies of the header."""
        return b"".join(self.copy(which)
                        for which in (ondisk.PRIMARY, ondisk.SECONDARY))

    def copy(self, which: str) -> bytes:
        """The bytes of one copy."""
        binary = (self.primary if which == ondisk.PRIMARY
                  else header_copies.to_secondary(
                      self.primary, self.secondary_salt))
        area = self.metadata.area()
        return binary.seal(area).pack() + area

    def plan(self, stages: Tuple[plans.Stage, ...]) -> plans.Plan:
        """A plan that holds only while this header is on the image.

        A stale copy is brought up to date first: were the primary copy torn
        after that, the secondary one would tell of keyslots long gone.

        :raises DamagedHeaderCopy: there is but one copy to fall back on
        """
        if self.ailment is None:
            return plans.Plan(self._expected(), stages)
        if self.ailment.damage:
            raise exception.DamagedHeaderCopy(copy=self.ailment.which,
                                              reason=self.ailment.damage)
        return plans.Plan(self._expected(),
                         (self._stage(self.ailment.which), *stages))

    def stages(self) -> Tuple[plans.Stage, ...]:
        """Write the primary copy, and when it is there the secondary one."""
        return (self._stage(ondisk.PRIMARY), self._stage(ondisk.SECONDARY))

    def _stage(self, which: str) -> plans.Stage:
        offset = 0 if which == ondisk.PRIMARY else self.primary.hdr_size
        return (plans.Write(offset, self.copy(which)),)

    def _expected(self) -> plans.Stage:
        return (plans.Write(0, self.pack() if self.found is None
                           else self.found),)
