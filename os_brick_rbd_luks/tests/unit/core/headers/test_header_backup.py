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

"""Save a header and its keyslots."""

from __future__ import annotations

import dataclasses

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class BackupTest(base.OperationsTestCase):

    def test_length_is_the_end_of_the_keyslots(self):
        image = self.make_volume()
        data = header_backup.backup(image)
        end = header_io.read_header(image).keyslots_end
        self.assertEqual(0, len(data) % 4096)
        self.assertIn(len(data) - end, range(4096))

    def test_header_and_areas(self):
        image = self.make_volume(base.OLD, base.NEW)
        data = header_backup.backup(image)
        self.assertEqual(image.read(0, 592), data[:592])
        for slot in header_io.read_header(image).keyslots:
            self.assert_same_bytes(
                image.read(slot.offset, slot.length),
                data[slot.offset:slot.offset + slot.length])

    def test_rest_is_zeros(self):
        """Areas that are not in use may have remains of old keyslots."""
        image = self.make_volume()
        slot = header_io.read_header(image).keyslots[0]
        image.content.write(592, b"r" * (4096 - 592))
        image.content.write(slot.offset + slot.length, b"r" * 100_000)
        data = header_backup.backup(image)
        rest = data[592:slot.offset] + data[slot.offset + slot.length:]
        self.assertEqual(len(rest), rest.count(0))

    def test_removed_passphrase_is_not_in_it(self):
        image = self.make_volume(base.OLD, base.NEW)
        first = header_io.read_header(image).keyslots[0]
        keyslots.remove(image, base.OLD)
        data = header_backup.backup(image)
        self.assertEqual(bytes(first.length),
                         data[first.offset:first.offset + first.length])

    def test_reads_only(self):
        image = self.make_volume()
        header_backup.backup(image)
        self.assertEqual([], image.content.log)

    def test_plain_image(self):
        image = self.make_image()
        self.assert_untouched(image, lambda: header_backup.backup(image),
                              exception.NotLuks)

    @ddt.data("luks1", "luks2")
    def test_changed_meanwhile(self, header_type):
        """The old header with what overwrote its keyslot opens nothing."""
        image = self.make_volume(
            size=20 * units.MIB,
            options=dataclasses.replace(base.QUICK, type=header_type))
        watched = self.disturbed(image, "read", lambda: keyslots.replace(
            image, base.OLD, base.NEW), number=2)
        self.assertRaises(exception.HeaderChanged, header_backup.backup,
                          watched)
        restored = self.make_image(20 * units.MIB)
        header_backup.restore(restored, header_backup.backup(image),
                              force=True)
        self.assertTrue(self.opens(restored, base.NEW))

    def test_damaged_keyslot_is_saved_as_it_is(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 0, "active", b"\1\2\3\4")
        data = header_backup.backup(image)
        self.assertEqual(image.read(0, 592), data[:592])


@ddt.ddt
class OverNothingTest(base.OperationsTestCase):
    """A header that was moved, on a new image, as a plan."""

    @ddt.data("luks1", "luks2")
    def test_relocated(self, header_type):
        options = dataclasses.replace(base.QUICK, type=header_type)
        source = self.make_volume(base.OLD, base.NEW, size=20 * units.MIB,
                                  options=options)
        before = source.content.whole()
        header = header_io.read_header(source)
        moved = header.relocate(header.data_offset + units.MIB)
        target = self.make_image(24 * units.MIB)
        target.content.write(moved.data_offset, b"payload")
        header_io.apply(target, header_backup.plan_over_nothing(
            moved, header_backup.read_areas(source, header),
            bytes(detect.START)), destructive=True)
        self.assertEqual(moved.data_offset,
                         header_io.read_header(target).data_offset)
        for passphrase in (base.OLD, base.NEW):
            self.assertEqual(self.volume_key(source, passphrase),
                             self.volume_key(target, passphrase))
        self.assertEqual(b"payload", target.read(moved.data_offset, 7))
        self.assert_same_bytes(before, source.content.whole())
