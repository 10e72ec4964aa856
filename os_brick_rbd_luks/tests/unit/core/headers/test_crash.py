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

"""A process that dies at any write leaves a volume that opens.

On a store that applies a write within an object as a whole, and on one
whose writes tear at any byte, the header's included.
"""

from __future__ import annotations

import itertools

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

#: Object size, atomicity, and the bytes at which a write is cut off. Key
#: material is 64000 bytes long, the header 592, a record of it 48. That a
#: header opens at any byte is known from the tests of its plans: here each
#: cut costs a whole operation that finishes the work.
STORES = (
    ({"object_size": 4 * units.MIB, "atomic": True}, ()),
    ({"object_size": 16384, "atomic": True}, (30000,)),
    ({"object_size": 4 * units.MIB, "atomic": False},
     selection.cases(1, 212, 230, 258, 591, 40000,
                     full=(*range(208, 592, 8), 210, 255, 63999))),
)


def _add(image):
    keyslots.add(image, base.OLD, base.NEW)


def _rekey(image):
    keyslots.replace(image, base.OLD, base.NEW)


def _remove(image):
    keyslots.remove(image, base.OLD)


def _remove_number(image):
    keyslots.remove_number(image, 1, None)


def _format(image):
    formatting.format_image(image, base.NEW, base.QUICK, force=True)


@ddt.ddt
class CrashTest(base.OperationsTestCase):

    def survivors(self, store, action, *passphrases):
        options, places = store
        return self.cuts(self.make_volume(*passphrases, **options), action,
                         places)

    @ddt.data(*STORES)
    def test_add(self, store):
        for cut, image in self.survivors(store, _add, base.OLD, base.OTHER):
            self.assertTrue(self.opens(image, base.OLD), cut)
            self.assertTrue(self.opens(image, base.OTHER), cut)

    @ddt.data(*STORES)
    def test_rekey(self, store):
        for cut, image in self.survivors(store, _rekey, base.OLD, base.OTHER):
            self.assertTrue(self.opens(image, base.OTHER), cut)
            works = [passphrase for passphrase in (base.OLD, base.NEW)
                     if self.opens(image, passphrase)]
            self.assertNotEqual([], works, cut)
            # What still works is enough to finish the work.
            keyslots.replace(image, works[-1], b"newest")
            self.assertTrue(self.opens(image, b"newest"), cut)

    @ddt.data(*STORES)
    def test_remove(self, store):
        for cut, image in self.survivors(store, _remove, base.OLD, base.NEW):
            self.assertTrue(self.opens(image, base.NEW), cut)

    @ddt.data(*STORES)
    def test_remove_number(self, store):
        for cut, image in self.survivors(store, _remove_number, base.OLD,
                                         base.NEW):
            self.assertTrue(self.opens(image, base.OLD), cut)
            if any(slot.number == 1
                   for slot in header_io.read_header(image).keyslots):
                _remove_number(image)
            self.assertFalse(self.opens(image, base.NEW), cut)

    @ddt.data(*STORES)
    def test_erase_can_be_finished(self, store):
        for cut, image in self.survivors(store, erase.erase, base.OLD,
                                         base.NEW):
            erase.erase(image)
            for passphrase in (base.OLD, base.NEW):
                self.assertFalse(self.opens(image, passphrase), cut)

    @ddt.data(*STORES)
    def test_forced_format_can_be_finished(self, store):
        for cut, image in self.survivors(store, _format):
            _format(image)
            self.assertFalse(self.opens(image, base.OLD), cut)
            self.assertTrue(self.opens(image, base.NEW), cut)

    @ddt.data(*STORES)
    def test_forced_format_leaves_no_mixture(self, store):
        """No old keyslot is found once the first stage is through."""
        image = self.make_volume(**store[0])
        old = image.read(0, 592)
        for cut, left in self.cuts(image, _format, store[1]):
            if left.read(0, 592) == old:
                self.assertTrue(self.opens(left, base.OLD), cut)
                continue
            try:
                self.assertFalse(self.opens(left, base.OLD), cut)
            except exception.HeaderError:
                continue

    @ddt.data(*STORES)
    def test_restore_over_the_volume_s_header(self, store):
        """Old passphrases are restored over new ones, in the same areas."""
        options, places = store
        image = self.make_volume(base.OLD, base.OTHER, **options)
        saved = header_backup.backup(image)
        keyslots.replace(image, base.OLD, base.NEW)
        keyslots.replace(image, base.OTHER, b"newest")
        for cut, left in self.cuts(
                image, lambda image: header_backup.restore(
                    image, saved, force=True),
                places):
            now = [self.opens(left, passphrase)
                   for passphrase in (base.NEW, b"newest")]
            then = [self.opens(left, passphrase)
                    for passphrase in (base.OLD, base.OTHER)]
            self.assertTrue(all(now) or all(then), f"{cut}: {now} {then}")

    @ddt.data(*STORES)
    def test_restore_over_nothing_can_be_finished(self, store):
        options, places = store
        image = self.make_volume(base.OLD, base.OTHER, **options)
        saved = header_backup.backup(image)
        image.content.write(0, bytes(4096))
        for cut, left in self.cuts(image, lambda image: header_backup.restore(
                image, saved, force=True), places):
            header_backup.restore(left, saved, force=True)
            for passphrase in (base.OLD, base.OTHER):
                self.assertTrue(self.opens(left, passphrase), cut)


@ddt.ddt
class FailedWriteTest(base.OperationsTestCase):
    """An operation whose write fails does nothing more."""

    @ddt.data((_add, 2), (_rekey, 4), (_remove, 2), (_remove_number, 2),
              (erase.erase, 9), (_format, 4))
    @ddt.unpack
    def test_nothing_follows(self, action, writes):
        template = self.make_volume(base.OLD, base.OTHER).content
        for number in itertools.count():
            image = images.MemoryImage(template.copy())
            failure = exception.ImageFull(action="write")
            planned = faults.Faults(faults.Fault("write", number + 1,
                                                 error=failure))
            try:
                action(planned.around(image))
            except exception.ImageFull as error:
                self.assertIs(failure, error)
                self.assertEqual(image.name, error.image)
            else:
                break
            self.assertEqual(number, len(self.kinds(image, "write")))
            self.assertEqual("unlock", image.content.log[-1].kind)
        self.assertEqual(writes, number)

    @ddt.data(_add, _rekey, _remove, _remove_number)
    def test_process_killed_at_any_write(self, action):
        """As :class:`CrashTest`, with an image that really stops."""
        template = self.make_volume(base.OLD, base.OTHER).content
        for number, after in itertools.product((1, 2), (False, True)):
            image = images.MemoryImage(template.copy())
            planned = faults.Faults(faults.Fault(
                "write", number, after, error=KeyboardInterrupt(),
                dies=True))
            self.assertRaises(KeyboardInterrupt, action,
                              planned.around(image))
            self.assertTrue(any(self.opens(image, passphrase) for passphrase
                                in (base.OLD, base.NEW, base.OTHER)))
