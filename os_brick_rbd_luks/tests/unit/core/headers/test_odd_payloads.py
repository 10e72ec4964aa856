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

"""What an audit says of payloads that are cut, or of an unusual form."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import problem_kinds
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes
from os_brick_rbd_luks.tests import units


@ddt.ddt
class PayloadTest(luks2_volumes.Luks2TestCase):

    def reported(self, image, *starts):
        """The problems, each of a kind that is known."""
        problems = audit.audit(image).problems
        self.assertEqual(list(starts), [
            problem.split(":")[0] for problem in problems])
        self.assertNotIn(problem_kinds.OTHER, map(problem_kinds.of, problems))
        return " ".join(problems)

    def segment(self, image, **values):
        self.change_tree(image, lambda tree: tree["segments"]["0"].update(
            values))

    @ddt.data((4096, 512), (4096, 4095), (512, 1))
    @ddt.unpack
    def test_cut_sector(self, sector, more):
        image = self.make_volume(options=dataclasses.replace(
            luks2_volumes.QUICK, sector_size=sector))
        image.resize(image.size() + more)
        problem = self.reported(image, "cut sector")
        self.assertIn(f"{more} bytes", problem)
        self.assertIn(f"{sector} bytes", problem)

    @ddt.data("1000", str(units.MIB + 512))
    def test_segment_of_cut_sectors(self, size):
        """The header says so; cryptsetup refuses it, too."""
        image = self.make_volume()
        self.segment(image, size=size)
        self.assertIn("segments.0.size", self.reported(image, "cut sector"))

    @ddt.data(4096, 8 * units.MIB)
    def test_segment_longer_than_the_image(self, more):
        image = self.make_volume()
        size = image.size() - 16 * units.MIB + more
        self.segment(image, size=str(size))
        problem = self.reported(image, "cut payload")
        self.assertIn(str(16 * units.MIB + size), problem)
        self.assertIn(str(image.size()), problem)

    def test_segment_of_cut_sectors_in_an_image_that_is_cut(self):
        image = self.make_volume()
        self.segment(image, size=str(image.size() - 16 * units.MIB))
        image.resize(image.size() - 512)
        self.reported(image, "cut payload")

    def test_segment_up_to_the_end(self):
        image = self.make_volume()
        self.segment(image, size=str(image.size() - 16 * units.MIB))
        self.reported(image)

    @ddt.data(({"size": str(units.MIB)}, "fixed size"),
              ({"iv_tweak": "8"}, "IVs that begin with 8"),
              ({"integrity": {"type": "hmac(sha256)",
                              "journal_encryption": "none",
                              "journal_integrity": "none"}},
               "with integrity"))
    @ddt.unpack
    def test_unusual_payload(self, values, said):
        image = self.make_volume()
        self.segment(image, **values)
        self.assertIn(said, self.reported(image, "unusual payload"))

    def two_segments(self, image, first, second):
        def change(tree):
            tree["segments"]["0"]["size"] = str(first)
            tree["segments"]["1"] = {
                **tree["segments"]["0"], "size": second,
                "offset": str(16 * units.MIB + first)}
            tree["digests"]["0"]["segments"].append("1")

        self.change_tree(image, change)

    def test_several_segments(self):
        image = self.make_volume()
        self.two_segments(image, units.MIB, "dynamic")
        self.assertIn("several segments",
                      self.reported(image, "unusual payload"))
        self.assertEqual(image.size() - 16 * units.MIB,
                         audit.audit(image).decrypted_size)

    @ddt.data((units.MIB, str(units.GIB), "cut payload"),
              (units.GIB, str(units.MIB), "cut payload"),
              (units.GIB, "dynamic", "cut payload"))
    @ddt.unpack
    def test_several_segments_that_are_cut(self, first, second, kind):
        image = self.make_volume()
        self.two_segments(image, first, second)
        self.reported(image, kind, "unusual payload")

    def test_several_segments_with_a_cut_sector(self):
        image = self.make_volume()
        self.two_segments(image, units.MIB, "dynamic")
        image.resize(image.size() + 512)
        self.reported(image, "cut sector", "unusual payload")

    def test_requirement_says_enough_of_a_payload(self):
        image = self.make_volume()
        self.change_tree(image, lambda tree: tree["config"].update(
            requirements={"mandatory": ["online-reencrypt-v2"]}))
        self.reported(image, "requirement")
