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

"""A disk with a LUKS2 volume."""

from __future__ import annotations

from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.unit.core.luks import disk
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base

Locksmith = disk.Locksmith


class Disk(disk.Disk):
    """Two copies of the header, a write each."""

    HEADER, START = luks2.Luks2Header, base.BOTH

    def writes_header(self, write):
        return write.offset < base.BOTH

    def some(self, write):
        """In fields before and behind the checksum, and in the metadata."""
        return (20, 24, 460, 4096, 4500, len(write.data) - 1)
