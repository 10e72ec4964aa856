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

"""Put a header backup back."""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.luks import detect
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

EIGHT = tuple(f"passphrase {number}".encode() for number in range(8))
LATER = tuple(f"later passphrase {number}".encode() for number in range(8))


class RestoreTestCase(base.OperationsTestCase):

    def assert_opens(self, image, opening, refused=()):
        for passphrase in opening:
            self.assertTrue(self.opens(image, passphrase), passphrase)
        for passphrase in refused:
            self.assertFalse(self.opens(image, passphrase), passphrase)

    def make_volume_and_backup(self, *passphrases):
        image = self.make_volume(*passphrases)
        return image, header_backup.backup(image)


@ddt.ddt
class RestoreTest(RestoreTestCase):

    def test_same_header(self):
        image, saved = self.make_volume_and_backup(base.OLD, base.NEW)
        before = image.content.whole()
        header = header_backup.restore(image, saved)
        self.assertEqual(before[:592], header.pack())
        self.assert_same_bytes(before, image.content.whole())

    def test_undoes_a_rekey(self):
        image, saved = self.make_volume_and_backup()
        key = self.volume_key(image, base.OLD)
        keyslots.replace(image, base.OLD, base.NEW)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, [base.OLD], [base.NEW])
        self.assertEqual(key, self.volume_key(image, base.OLD))
        self.assertEqual(saved[:592], image.read(0, 592))

    def test_undoes_an_erase(self):
        image, saved = self.make_volume_and_backup(base.OLD, base.NEW)
        erase.erase(image)
        header_backup.restore(image, saved)
        self.assert_opens(image, [base.OLD, base.NEW])

    def test_later_key_material_is_overwritten(self):
        image, saved = self.make_volume_and_backup()
        keyslots.add(image, base.OLD, base.NEW)
        slot = header_io.read_header(image).keyslots[1]
        area = image.read(slot.offset, slot.length)
        header = header_io.read_header(image)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, [base.OLD], [base.NEW])
        self.assertRaises(
            exception.WrongPassphrase, header.open_keyslot, 1,
            image.read(slot.offset, slot.length), base.NEW)
        self.assertTrue(header.open_keyslot(1, area, base.NEW))

    @ddt.data(1, 2, 4)
    def test_as_many_changed_as_saved(self, count):
        image, saved = self.make_volume_and_backup(*EIGHT[:count])
        for old, new in zip(EIGHT[:count], LATER):
            keyslots.replace(image, old, new)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, EIGHT[:count], LATER[:count])

    def test_payload_is_not_touched(self):
        image, saved = self.make_volume_and_backup()
        image.content.write(4 * units.MIB, b"payload")
        keyslots.replace(image, base.OLD, base.NEW)
        header_backup.restore(image, saved, force=True)
        header_backup.restore(image, saved, force=True)
        self.assertTrue(all(offset + len(data) <= 4 * units.MIB
                            for offset, data in image.content.written))
        self.assertEqual(b"payload", image.read(4 * units.MIB, 7))

    def test_backup_may_be_longer_than_needed(self):
        """cryptsetup saves up to the payload."""
        image, saved = self.make_volume_and_backup()
        keyslots.replace(image, base.OLD, base.NEW)
        header_backup.restore(
            image, saved + bytes(4 * units.MIB - len(saved)), force=True)
        self.assert_opens(image, [base.OLD], [base.NEW])

    @ddt.data(7, 8, 40, 72, 104, 108, 255)
    def test_damaged_header_of_the_same_uuid(self, offset):
        image, saved = self.make_volume_and_backup()
        self.patch_header(image, offset, b"\xff")
        self.assertRaises(exception.HeaderError, header_io.read_header,
                          image)
        header_backup.restore(image, saved)
        self.assert_opens(image, [base.OLD])

    @ddt.data(0, 112, 132, 164, 168)
    def test_damage_that_hides_whose_header_it_is(self, offset):
        """Without magic, digest or UUID it could be anybody's."""
        image, saved = self.make_volume_and_backup()
        byte, = image.read(offset, 1)
        self.patch_header(image, offset, bytes([byte ^ 1]))
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, [base.OLD])

    def test_all_eight_keyslots_saved_and_unchanged(self):
        image, saved = self.make_volume_and_backup(*EIGHT)
        self.patch_keyslot(image, 3, "iterations", bytes(4))
        header_backup.restore(image, saved)
        self.assert_opens(image, EIGHT)

    def test_all_eight_keyslots_changed(self):
        """There is no keyslot to keep the present ones in meanwhile."""
        image, saved = self.make_volume_and_backup(EIGHT[0])
        for passphrase in LATER[:7]:
            keyslots.add(image, EIGHT[0], passphrase)
        keyslots.remove(image, EIGHT[0])
        keyslots.add(image, LATER[0], LATER[7])
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        self.assert_opens(image, LATER)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, EIGHT[:1], LATER)

    def test_all_eight_keyslots_in_the_backup(self):
        image, saved = self.make_volume_and_backup(*EIGHT)
        keyslots.remove(image, EIGHT[5])
        header_backup.restore(image, saved)
        self.assert_opens(image, EIGHT)
        keyslots.remove(image, EIGHT[5])
        keyslots.replace(image, EIGHT[4], LATER[4])
        self.assert_untouched(
            image, lambda: header_backup.restore(image, saved),
            exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, EIGHT, LATER[:1])

    def test_foreign_header_goes_first(self):
        """No cut leaves the old header above the backup's key material."""
        _image, saved = self.make_volume_and_backup(base.NEW)
        image = self.make_volume()
        header_backup.restore(image, saved, force=True)
        events = self.kinds(image, "write", "flush")
        self.assertEqual([("write", 0, 4096), ("flush", 0, 0)], events[:2])
        self.assertEqual([("write", 0, 592), ("flush", 0, 0)], events[-2:])


@ddt.ddt
class RefusalTest(RestoreTestCase):

    def refused(self, image, data, expected, force=False):
        return self.assert_untouched(
            image, lambda: header_backup.restore(image, data, force=force),
            expected)

    def test_other_volume(self):
        _image, saved = self.make_volume_and_backup(base.NEW)
        image = self.make_volume()
        error = self.refused(image, saved, exception.OperationRefused)
        self.assertIn(header_io.read_header(image).uuid, error.reason)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, [base.NEW], [base.OLD])

    def test_same_uuid_but_another_volume_key(self):
        image, saved = self.make_volume_and_backup()
        other = self.make_volume(base.NEW)
        self.patch_header(other, 168, image.read(168, 40))
        self.refused(other, saved, exception.OperationRefused)

    def test_no_header(self):
        _image, saved = self.make_volume_and_backup()
        image = self.make_image()
        self.refused(image, saved, exception.OperationRefused)
        header_backup.restore(image, saved, force=True)
        self.assert_opens(image, [base.OLD])

    def test_damaged_header_of_another_uuid(self):
        _image, saved = self.make_volume_and_backup()
        image = self.make_volume(base.NEW)
        self.patch_header(image, 108, b"\xff")
        self.refused(image, saved, exception.OperationRefused)

    @ddt.data(detect.MAGIC + b"\0\2", detect.CLONE_MAGIC + b"\0\2")
    def test_other_format_with_the_same_uuid(self, start):
        """``cryptsetup convert`` keeps the UUID, where it is as well."""
        image, saved = self.make_volume_and_backup()
        self.patch_header(image, 0, start)
        self.refused(image, saved, exception.OperationRefused)

    def test_image_too_small(self):
        _image, saved = self.make_volume_and_backup()
        for size in (512, 4096, 4 * units.MIB):
            for force in (False, True):
                error = self.refused(self.make_image(size), saved,
                                     exception.ImageTooSmall, force)
                self.assertEqual((size, 4 * units.MIB),
                                 (error.size, error.needed))

    @ddt.data(0, 1, 591, 592, 4096, 4096 + 63999)
    def test_cut_backup(self, length):
        image, saved = self.make_volume_and_backup()
        for force in (False, True):
            error = self.refused(image, saved[:length],
                                 exception.InvalidParameter, force)
            self.assertIn(f"of {length} bytes", str(error))

    def test_backup_cut_behind_its_last_keyslot(self):
        image, saved = self.make_volume_and_backup()
        keyslots.replace(image, base.OLD, base.NEW)
        header_backup.restore(image, saved[:4096 + 64000], force=True)
        self.assert_opens(image, [base.OLD])

    @ddt.data(b"text" * 1000, bytes(2 ** 20), detect.MAGIC + b"\0\2" +
              bytes(2 ** 20))
    def test_no_backup(self, data):
        image = self.make_volume()
        for force in (False, True):
            self.refused(image, data, exception.InvalidParameter, force)

    def test_backup_without_a_keyslot(self):
        """It would be the end of the volume."""
        image, saved = self.make_volume_and_backup()
        erase.erase(image)
        useless = header_backup.backup(image)
        header_backup.restore(image, saved)
        self.refused(image, useless, exception.OperationRefused)
        self.assert_opens(image, [base.OLD])
        header_backup.restore(image, useless, force=True)
        self.assert_opens(image, [], [base.OLD])

    @ddt.data(False, True)
    def test_watchers(self, force):
        image, saved = self.make_volume_and_backup()
        image.content.watchers.append("client.4")
        self.refused(image, saved, exception.ImageLocked, force)

    @ddt.data(False, True)
    def test_changed_meanwhile(self, force):
        image, saved = self.make_volume_and_backup()
        self.assertRaises(
            exception.HeaderChanged, header_backup.restore, self.disturbed(
                image, "lock",
                lambda: self.patch_header(image, 168, b"other")),
            saved, force=force)
        self.assertEqual([], self.kinds(image, "write"))
