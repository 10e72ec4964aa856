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

"""What is wrong with a volume, one thing at a time."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import at_rest
from os_brick_rbd_luks.headers import audit
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import problem_kinds
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class AuditTest(base.OperationsTestCase):

    def make(self, size=units.GIB, **store):
        store = stores.MemoryStore(**store)
        creating.create(store, "volume-1", size, base.OLD, base.QUICK)
        return store.open("volume-1")

    def assert_problems(self, image, *starts):
        """One problem that begins with each of *starts*, and no other."""
        report = audit.audit(image)
        self.assertNotIn(problem_kinds.OTHER, map(problem_kinds.of,
                                                  report.problems))
        self.assertEqual(list(starts), [
            problem.split(":")[0] for problem in report.problems])
        return report

    def test_good_volume(self):
        report = self.assert_problems(self.make())
        self.assertEqual(
            audit.Report(
                "luks1", units.GIB + 4 * units.MIB, units.GIB, [0], [],
                at_rest.AtRest(True, None, "aes-cbc-plain64", 128, 1,
                               sector_size=512)),
            report)

    def test_nothing_is_written(self):
        image = self.make()
        image.content.log.clear()
        audit.audit(image)
        self.assertEqual([], image.content.log)

    @ddt.data(0, 8, 592, units.GIB)
    def test_plain_image(self, size):
        self.assertEqual(
            audit.Report("none", size, None, [], [], at_rest.of_plain()),
            audit.audit(self.make_image(size)))

    def test_cut_tail(self):
        """As upstream makes it: the image has the size of the volume."""
        image = self.make_volume(size=units.GIB)
        report = self.assert_problems(image, "cut tail")
        self.assertEqual(units.GIB - 4 * units.MIB, report.decrypted_size)
        self.assertIn(str(4 * units.MIB), report.problems[0])

    def test_tail_is_not_cut_with_a_payload_at_a_whole_gib(self):
        image = self.make(stripe_period=units.GIB)
        report = self.assert_problems(image)
        self.assertEqual((2 * units.GIB, units.GIB),
                         (report.image_size, report.decrypted_size))

    def test_image_of_no_whole_gib(self):
        self.assert_problems(self.make(units.GIB - 4 * units.MIB + 512))

    @ddt.data(1, 511)
    def test_cut_sector(self, more):
        image = self.make(units.GIB - 512)
        image.resize(image.size() + more)
        report = self.assert_problems(image, "cut sector")
        self.assertIn(f"{more} bytes", report.problems[0])
        self.assertIn("512 bytes", report.problems[0])
        self.assertEqual(units.GIB - 512, report.decrypted_size)

    def test_unaligned_payload(self):
        image = self.make()
        image.content.stripe_period = 16 * units.MIB
        report = self.assert_problems(image, "unaligned payload")
        self.assertIn(str(16 * units.MIB), report.problems[0])

    def test_payload_of_cryptsetup_on_a_default_image(self):
        image = self.make_volume(size=units.GIB)
        image.content.write(104, (4040).to_bytes(4, "big"))
        self.assert_problems(image, "cut tail", "unaligned payload")

    def test_striping(self):
        self.assert_problems(self.make(interleaves=True), "striping")

    def test_journaling(self):
        features = frozenset({"layering", "exclusive-lock", "journaling"})
        self.assert_problems(self.make(features=features), "journaling")

    def test_other_features_are_no_problem(self):
        self.assert_problems(self.make(features=frozenset(
            {"layering", "exclusive-lock", "object-map", "fast-diff"})))

    def test_no_keyslot(self):
        image = self.make()
        header = header_io.read_header(image)
        header_io.apply(image, header.erase([0]).plan)
        self.assertEqual([], self.assert_problems(
            image, "no keyslot").keyslots)

    def test_damaged_keyslot(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        report = self.assert_problems(image, "damaged keyslot 1")
        self.assertEqual([0, 1], report.keyslots)
        self.assertIn("0x01020304", report.problems[0])

    def test_only_damaged_keyslots(self):
        image = self.make_volume()
        self.patch_keyslot(image, 0, "iterations", bytes(4))
        self.assert_problems(image, "damaged keyslot 0", "no keyslot")

    def test_damaged_header(self):
        image = self.make()
        image.content.write(108, bytes(4))
        report = self.assert_problems(image, "damaged header")
        self.assertEqual(("luks1", None, []),
                         (report.type, report.decrypted_size,
                          report.keyslots))
        self.assertIn("key_bytes", report.problems[0])

    def test_cut_header(self):
        image = self.make_image(100)
        image.content.write(0, detect.MAGIC + b"\0\1")
        self.assert_problems(image, "damaged header")

    def test_payload_behind_the_end(self):
        image = self.make_volume()
        image.resize(units.MIB)
        self.assert_problems(image, "no payload")

    def test_header_that_asks_for_too_much(self):
        image = self.make_volume()
        image.content.write(164, b"\xff\xff\xff\xff")
        self.assert_problems(image, "no keyslot of ours")
        image.content.write(108, b"\0\0\xff\xff")
        self.assert_problems(image, "not inspected")

    @ddt.data((detect.MAGIC + b"\0\2", "luks2", "damaged header"),
              (detect.CLONE_MAGIC + b"\0\1", "luks1 (librbd clone)",
               "damaged header"),
              (detect.CLONE_MAGIC + b"\0\2", "luks2 (librbd clone)",
               "damaged header"),
              (detect.MAGIC + b"\0\3", "unknown", "not inspected"))
    @ddt.unpack
    def test_other_formats(self, start, name, problem):
        image = self.make_image()
        image.content.write(0, start)
        report = self.assert_problems(image, problem)
        self.assertEqual((name, None), (report.type, report.decrypted_size))

    def test_several_problems(self):
        image = self.make_volume(size=units.GIB,
                                 features=frozenset({"journaling"}))
        image.content.stripe_period = 16 * units.MIB
        self.patch_keyslot(image, 0, "iterations", bytes(4))
        self.assert_problems(image, "damaged keyslot 0", "no keyslot",
                             "cut tail", "unaligned payload", "journaling")

    def test_image_that_cannot_be_read(self):
        planned = faults.Faults(faults.Fault(
            "read", dies=True, error=exception.ImageIOError(
                action="read", reason="no OSD")))
        image = planned.around(self.make())
        error = self.assertRaises(exception.ImageIOError, audit.audit, image)
        self.assertIn(image.name, str(error))

    def test_report_is_plain_data(self):
        report = dataclasses.asdict(audit.audit(self.make()))
        self.assertEqual({"type", "image_size", "decrypted_size",
                          "keyslots", "problems", "encryption"}, set(report))
