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

"""Repair a damaged copy of a header, only when asked."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes


@ddt.ddt
class RecoverTest(luks2_volumes.Luks2TestCase):

    @ddt.data((20, "primary"), (5000, "primary"), (16404, "secondary"),
              (16384, "secondary"), (30000, "secondary"))
    @ddt.unpack
    def test_repair(self, place, which):
        image = self.make_volume(base.OLD, base.OTHER)
        header = header_io.read_header(image)
        self.damage(image, place)
        self.assertEqual(which, repair.repair(image))
        repaired = header_io.read_header(image)
        self.assertIsNone(repaired.ailment)
        self.assertEqual(header.metadata, repaired.metadata)
        start = 0 if which == "primary" else 16384
        self.assertEqual([(start, 16384)], [
            write[1:] for write in self.kinds(image, "write")])
        keyslots.replace(image, base.OLD, base.NEW)
        self.assertTrue(self.opens(image, base.OTHER))

    def test_nothing_repairs_unasked(self):
        image = self.make_volume()
        self.damage(image, 20)
        before = image.content.whole()
        self.assertTrue(self.opens(image, base.OLD))
        header_io.read_header(image)
        self.assert_same_bytes(before, image.content.whole())

    def test_stale_copy(self):
        image = self.make_volume()
        old = image.read(16384, 16384)
        keyslots.replace(image, base.OLD, base.NEW)
        self.patch_header(image, 16384, old)
        self.assertEqual("secondary", repair.repair(image))
        self.assertTrue(self.opens(image, base.NEW))

    def test_both_sound(self):
        image = self.make_volume()
        error = self.assert_untouched(image, lambda: repair.repair(image),
                                      exception.OperationRefused)
        self.assertIn("nothing to repair", error.reason)

    def test_both_damaged(self):
        image = self.make_volume()
        self.damage(image, 20)
        self.damage(image, 16404)
        for force in (False, True):
            self.assert_untouched(
                image, lambda force=force: repair.repair(image, force=force),
                exception.CorruptHeader)

    def test_luks1(self):
        image = base.OperationsTestCase.make_volume(self)
        error = self.assert_untouched(image, lambda: repair.repair(image),
                                      exception.OperationRefused)
        self.assertIn("LUKS1", error.reason)

    def test_plain_image(self):
        image = self.make_image()
        self.assert_untouched(image, lambda: repair.repair(image),
                              exception.NotLuks)

    def test_zeros_at_the_start(self):
        image = self.make_volume()
        self.patch_header(image, 0, bytes(16384))
        self.assertEqual("primary", repair.repair(image))

    def test_something_else_at_the_start(self):
        """Maybe the volume is a file system now, and forgot its past."""
        image = self.make_volume()
        self.patch_header(image, 0, b"\xeb\x63\x90GRUB")
        self.assert_untouched(image, lambda: repair.repair(image),
                              exception.OperationRefused)
        self.assertEqual("primary", repair.repair(image, force=True))
        self.assertTrue(self.opens(image, base.OLD))

    @ddt.data((512, b"LABELONE"), (1024, b"x"), (8192, b"text"),
              (16383, b"\1"))
    @ddt.unpack
    def test_something_else_behind_zeros(self, place, data):
        """LVM leaves the first sector, and has its label in the second."""
        image = self.make_volume()
        self.patch_header(image, 0, bytes(16384))
        self.patch_header(image, place, data)
        self.assert_untouched(image, lambda: repair.repair(image),
                              exception.OperationRefused)
        self.assertEqual("primary", repair.repair(image, force=True))

    def test_something_else_in_what_begins_like_a_header(self):
        image = self.make_volume()
        self.patch_header(image, 512, b"LABELONE")
        self.assert_untouched(image, lambda: repair.repair(image),
                              exception.OperationRefused)

    def test_changed_meanwhile(self):
        image = self.make_volume()
        self.damage(image, 20)
        self.assertRaises(
            exception.HeaderChanged, repair.repair, self.disturbed(
                image, "lock", lambda: self.damage(image, 16404)))
        self.assertEqual([], self.kinds(image, "write"))
