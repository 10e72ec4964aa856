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

"""Where keyslot areas and payload of new volumes lie."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks.luks import keymaterial
from os_brick_rbd_luks.luks.luks1 import layout as luks1_layout
from os_brick_rbd_luks.tests import units


@ddt.ddt
class LayoutTest(testtools.TestCase):

    @ddt.data((16, 65536), (32, 131072), (64, 258048))
    @ddt.unpack
    def test_pitch(self, size, expected):
        self.assertEqual(expected, luks1_layout.keyslot_pitch(size))

    @ddt.data((16, 528384), (32, 1052672), (64, 2068480))
    @ddt.unpack
    def test_areas(self, size, end):
        """As cryptsetup and QEMU place them: 4040 sectors for 64 bytes."""
        offsets = luks1_layout.keyslot_offsets(size)
        pitch = luks1_layout.keyslot_pitch(size)
        self.assertEqual(tuple(range(4096, end, pitch)), offsets)
        self.assertEqual(8, len(offsets))
        self.assertEqual(end, offsets[-1] + pitch)
        self.assertLessEqual(end, luks1_layout.data_offset(1))

    @ddt.data((4 * units.MIB, 4 * units.MIB), (64 * units.KIB, 4 * units.MIB),
              (1 * units.MIB, 4 * units.MIB), (8 * units.MIB, 8 * units.MIB),
              (32 * units.MIB, 32 * units.MIB),
              (3 * 4 * units.MIB, 12 * units.MIB),
              (3 * units.MIB, 6 * units.MIB),
              (5 * 64 * units.KIB, 13 * 5 * 64 * units.KIB),
              (4096, 4 * units.MIB))
    @ddt.unpack
    def test_data_offset(self, stripe_period, expected):
        self.assertEqual(expected, luks1_layout.data_offset(stripe_period))
        self.assertEqual(0, expected % stripe_period)

    @ddt.data((0, 4096, 0), (1, 4096, 4096), (4096, 4096, 4096),
              (4097, 4096, 8192), (10, 3, 12))
    @ddt.unpack
    def test_round_up(self, value, multiple, expected):
        self.assertEqual(expected, keymaterial.round_up(value, multiple))
