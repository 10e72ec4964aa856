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

"""Headers with their areas as one piece of bytes."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks.luks import whole
from os_brick_rbd_luks.tests.unit.core.luks.luks1 import base as luks1
from os_brick_rbd_luks.tests.unit.core.luks.luks2 import base as luks2
from os_brick_rbd_luks.tests import units


@ddt.ddt
class WholeTest(testtools.TestCase):

    def volume(self, base):
        return base.add(base.sample(base.OLD), base.OTHER, keyslot=7)

    @ddt.data((luks1, 4096 + 7 * 65536 + 64000), (luks2, units.MIB))
    @ddt.unpack
    def test_join(self, base, end):
        volume = self.volume(base)
        data = whole.join(volume.header, volume.areas)
        self.assertEqual(end, len(data))
        self.assertEqual(volume.header, volume.header.parse(data))
        self.assertEqual(volume.areas, whole.areas(volume.header, data))

    @ddt.data(luks1, luks2)
    def test_used(self, base):
        """All that is used, and no zeros behind it."""
        volume = base.sample(base.OLD)
        used = whole.used(volume.header, volume.areas)
        last = max(volume.header.keyslots, key=lambda slot: slot.offset)
        self.assertEqual(last.offset + last.length, len(used))
        self.assertLess(len(used), volume.header.keyslots_end)
        self.assertEqual(volume.areas, whole.areas(volume.header, used))
        self.assertEqual(whole.join(volume.header, volume.areas),
                         used.ljust(volume.header.keyslots_end, b"\0"))

    def test_used_of_luks2_without_keyslots(self):
        """The header is all there is, both copies."""
        header = luks2.bare().header
        self.assertEqual(header.pack(), whole.used(header, {}))

    @ddt.data(luks1, luks2)
    def test_nothing_else_is_taken_along(self, base):
        """Noise between the areas, and in those of unused keyslots."""
        volume = self.volume(base)
        parts = [(0, len(volume.header.pack())), *(
            (slot.offset, slot.length) for slot in volume.header.keyslots)]
        expected = whole.join(volume.header, volume.areas)
        noise = bytearray(b"\xee" * len(expected))
        for start, length in parts:
            noise[start:start + length] = expected[start:start + length]
        self.assertTrue(expected == whole.join(
            volume.header, whole.areas(volume.header, bytes(noise))),
            "other bytes")

    @ddt.data(luks1, luks2)
    def test_an_area_that_was_cut_off(self, base):
        volume = self.volume(base)
        slot = volume.header.keyslot(7)
        data = whole.join(volume.header, volume.areas)
        areas = whole.areas(volume.header, data[:slot.offset + 100])
        self.assertEqual([slot.length, 100],
                         [len(areas[number]) for number in (0, 7)])
        self.assertRaises(ValueError, whole.join, volume.header, areas)
