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

"""A server that writes all the while, and what has to be there afterwards."""

from __future__ import annotations

import os

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.tests.ceph.attach import guests
from os_brick_rbd_luks.tests.ceph.nova import base
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting


class WriterTestCase(base.NovaTestCase):
    """Has a server that writes to its volume all the while."""

    #: where the volume has data besides the writer's blocks, and how much
    PLACE, LENGTH = 48 * units.MIB, 4 * units.MIB

    def setUp(self):
        super().setUp()
        self.data = os.urandom(self.LENGTH)

    def start(self, provider, size=base.SIZE):
        """A server that writes to a new volume."""
        self.start_on(self.prepared(provider, size))

    def prepared(self, provider, size=base.SIZE):
        """A volume with data where the writer does not come to."""
        volume = self.make(provider, size)
        self.write(volume, self.PLACE, self.data)
        self.write(volume, volume.size - 512, base.END)
        return volume

    def start_on(self, volume):
        """A server that writes to a volume."""
        self.old = volume
        self.old_info = self.info(volume)
        self.booted, self.instance = self.boot(self.old_info, guests.WRITER)
        self.written(10)

    def written(self, more):
        """Wait until the guest has written some more blocks."""
        wanted = len(guests.acknowledged(self.booted.output())) + more
        waiting.until(
            lambda: len(guests.acknowledged(self.booted.output())),
            f"{wanted} blocks", lambda count: count >= wanted)

    def wait_for_size(self, size):
        """Wait until the guest sees that its disk has *size* bytes."""
        waiting.until(lambda: guests.sizes(self.booted.output())[-1:],
                      f"a size of {size}", lambda last: last == [size])

    def swap(self, new, info, resize_to=0):
        """Move the server to another volume, as Nova does."""
        self.other, self.new_info = new, info
        self.driver.swap_volume(self.context, self.old_info, info,
                                self.instance, "/dev/vda", resize_to)

    def decrypted_size(self, volume):
        """Bytes that a guest would see of a volume."""
        with self.pool.open(volume.id, read_only=True) as image:
            if not volume.header:
                return image.size()
            return image.size() - header_io.read_header(image).data_offset

    def assert_complete(self, volume):
        """All that was written is there, once the guest is dead."""
        self.booted.destroy()
        numbers = guests.acknowledged(self.booted.output())
        self.assertEqual(list(range(1, len(numbers) + 1)), numbers)
        found = self.read(volume, 0, (len(numbers) + 1) * guests.BLOCK)
        for number in numbers:
            start = number * guests.BLOCK
            self.assertEqual(guests.block(number),
                             found[start:start + guests.BLOCK])
        self.assertEqual(self.data, self.read(
            volume, self.PLACE, self.LENGTH))
        self.assertEqual(base.END, self.read(
            volume, self.old.size - 512, 512))
