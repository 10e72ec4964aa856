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

"""A process that dies at any write leaves a LUKS2 volume that opens.

On a store that applies a write within an object as a whole, on one whose
objects are as large as a copy of the header, and on one whose writes tear.
"""

from __future__ import annotations

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import header_backup
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import repair
from os_brick_rbd_luks.tests import cuts
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes
from os_brick_rbd_luks.tests import units

#: Object size, atomicity, and the bytes at which a write is cut off.
STORES = (
    ({"object_size": 4 * units.MIB, "atomic": True}, ()),
    ({"object_size": 4096, "atomic": True}, (5000, 9000)),
    ({"object_size": 4 * units.MIB, "atomic": False},
     selection.cases(20, 24, 470, 5000, 40000,
                     full=(1, 8, 447, 448, 511, 512, 4095, 4096, 4097,
                           *range(4100, 5000, 64), 16383, 63999))),
)

@ddt.ddt
class CrashTest(luks2_volumes.Luks2TestCase):

    def survivors(self, store, action, *passphrases):
        options, places = store
        return self.cuts(self.make_volume(*passphrases, **options), action,
                         places)

    def repaired(self, image):
        """The image, repaired if a copy was torn."""
        ailment = header_io.read_header(image).ailment
        if ailment is not None and ailment.damage:
            repair.repair(image)
        return image

    @ddt.data(*STORES)
    def test_add(self, store):
        for cut, image in self.survivors(
                store, lambda image: keyslots.add(image, base.OLD, base.NEW),
                base.OLD, base.OTHER):
            self.assertTrue(self.opens(image, base.OLD), cut)
            self.assertTrue(self.opens(image, base.OTHER), cut)

    @ddt.data(*STORES)
    def test_rekey(self, store):
        for cut, image in self.survivors(
                store, lambda image: keyslots.replace(image, base.OLD,
                                                    base.NEW),
                base.OLD, base.OTHER):
            self.assertTrue(self.opens(image, base.OTHER), cut)
            works = [passphrase for passphrase in (base.OLD, base.NEW)
                     if self.opens(image, passphrase)]
            self.assertNotEqual([], works, cut)
            # What still works is enough to finish the work.
            keyslots.replace(self.repaired(image), works[-1], b"newest")
            self.assertTrue(self.opens(image, b"newest"), cut)

    @ddt.data(*STORES)
    def test_remove(self, store):
        for cut, image in self.survivors(
                store, lambda image: keyslots.remove(image, base.OLD),
                base.OLD, base.NEW):
            self.assertTrue(self.opens(image, base.NEW), cut)

    @ddt.data(*STORES)
    def test_erase_can_be_finished(self, store):
        for cut, image in self.survivors(store, erase.erase, base.OLD,
                                         base.NEW):
            erase.erase(self.repaired(image))
            for passphrase in (base.OLD, base.NEW):
                self.assertFalse(self.opens(image, passphrase), cut)

    @ddt.data(*STORES)
    def test_forced_format(self, store):
        """Nothing of the old volume but all of it, and it can be finished.
        """
        def action(image):
            formatting.format_image(image, base.NEW, luks2_volumes.QUICK,
                                    force=True)

        for cut, image in self.survivors(store, action):
            try:
                opened = [self.opens(image, passphrase)
                          for passphrase in (base.OLD, base.NEW)]
            except exception.HeaderError:
                opened = [False, False]
            self.assertNotEqual([True, True], opened, cut)
            action(image)
            self.assertFalse(self.opens(image, base.OLD), cut)
            self.assertTrue(self.opens(image, base.NEW), cut)

    @ddt.data(*STORES)
    def test_restore(self, store):
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

    @ddt.data(20, 16404)
    def test_repair(self, place):
        for options, places in STORES:
            image = self.make_volume(**options)
            self.damage(image, place)
            now = image.content.copy()
            repair.repair(image)
            (offset, data), = image.content.written[-1:]
            for count in cuts.of_write(len(data), cuts.WHOLE, places):
                cut = now.copy()
                cut.write(offset, data[:cut.torn(offset, len(data), count)])
                left = type(image)(cut)
                self.assertTrue(self.opens(left, base.OLD), count)
                self.repaired(left)
                self.assertTrue(self.opens(left, base.OLD), count)
