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

"""A disk with a LUKS1 volume."""

from __future__ import annotations

from os_brick_rbd_luks.luks.luks1 import header as luks1
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests.unit.core.luks import disk

Locksmith = disk.Locksmith


class Disk(disk.Disk):
    """One copy of the header, in one write."""

    HEADER, START = luks1.Luks1Header, ondisk.SIZE

    def writes_header(self, write):
        return len(write.data) == ondisk.SIZE

    def some(self, write):
        """Nowhere: RADOS applies such a write whole, unlike a plain file."""
        return ()
