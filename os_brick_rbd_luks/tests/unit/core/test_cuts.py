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

"""The cuts that the crash tests make."""

from __future__ import annotations

import testtools

from os_brick_rbd_luks.luks import plans
from os_brick_rbd_luks.tests import cuts

HEADER = plans.Write(0, b"h" * 592)
AREA = plans.Write(4096, b"a" * 64000)
OTHER_AREA = plans.Write(131072, b"b" * 64000)

BORDERS = {0, 1, 63999, 64000}


class WriteTest(testtools.TestCase):

    def test_every_byte(self):
        self.assertEqual(tuple(range(593)),
                         cuts.of_write(592, cuts.EVERY_BYTE))

    def test_key_material_in_the_quick_tier(self):
        found = cuts.of_write(64000, cuts.key_material_step(quick=True))
        self.assertEqual(sorted({*BORDERS, *range(0, 64000, 64)}),
                         list(found))

    def test_key_material_in_the_full_tier(self):
        self.assertEqual(
            tuple(range(64001)),
            cuts.of_write(64000, cuts.key_material_step(quick=False)))

    def test_few(self):
        found = cuts.of_write(64000, cuts.FEW)
        self.assertLess(BORDERS, set(found))

    def test_whole(self):
        self.assertEqual((0, 592), cuts.of_write(592, cuts.WHOLE))

    def test_places(self):
        self.assertEqual((0, 20, 24, 592), cuts.of_write(
            592, cuts.WHOLE, (24, 20, 592, 4096)))

    def test_short_writes(self):
        for step in (cuts.WHOLE, cuts.EVERY_BYTE, 64):
            self.assertEqual((0, 1), cuts.of_write(1, step))


class PlanTest(testtools.TestCase):

    def cuts(self, *stages):
        return list(cuts.of_plan(
            plans.Plan((), stages), lambda write: cuts.of_write(
                len(write.data), cuts.EVERY_BYTE if write == HEADER
                else cuts.key_material_step(quick=True))))

    def test_every_border_of_every_stage(self):
        stages = ((AREA, OTHER_AREA), (HEADER,), (AREA,))
        found = self.cuts(*stages)
        for number, stage in enumerate(stages):
            for write in stage:
                size = len(write.data)
                self.assertLessEqual({0, 1, size - 1, size}, {
                    cut.size for cut in found
                    if (cut.stage, cut.write) == (number, write)})

    def test_every_byte_of_every_header(self):
        found = self.cuts((HEADER,), (AREA,), (HEADER,))
        for stage in (0, 2):
            self.assertEqual(list(range(593)), [
                cut.size for cut in found if cut.stage == stage])

    def test_writes_of_a_stage_in_either_order(self):
        found = self.cuts((AREA, OTHER_AREA))
        self.assertEqual(
            [(AREA, ()), (OTHER_AREA, (AREA,)),
             (OTHER_AREA, ()), (AREA, (OTHER_AREA,))],
            list(dict.fromkeys((cut.write, cut.before) for cut in found)))
        self.assertEqual([False, True], list(dict.fromkeys(
            cut.reverse for cut in found)))

    def test_in_order(self):
        found = self.cuts((AREA,), (HEADER,))
        self.assertEqual(
            sorted(found, key=lambda cut: (cut.stage, cut.size)), found)
