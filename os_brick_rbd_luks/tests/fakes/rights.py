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

"""What a user may do in a pool, and whether the pool has space."""

from __future__ import annotations

import dataclasses

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.fakes import errors


@dataclasses.dataclass
class Rights:
    """Those of one user in one pool.

    :ivar read_only: his capabilities are those of ``profile
        rbd-read-only``: reading, and opening for reading
    :ivar headers_only: they are not for the objects that have data
    :ivar full: what needs space waits until it times out, as in a pool that
        is full or at its quota; removing does not, for who says that he frees
        some
    :ivar user: for messages
    """

    read_only: bool = False
    headers_only: bool = False
    full: bool = False
    user: str = "client.cinder"

    def check_read(self) -> None:
        """Refuse to read data.

        :raises ImageAccessDenied: it is not permitted
        """
        if self.headers_only:
            raise exception.ImageAccessDenied(action="read", user=self.user)

    def check(self, action: str, frees: bool = False) -> None:
        """Refuse a change.

        :raises ImageAccessDenied: it is not permitted
        :raises TimedOut: there is no space
        """
        if self.read_only:
            raise exception.ImageAccessDenied(action=action, user=self.user)
        if self.full and not frees:
            raise errors.TimedOut(action)
