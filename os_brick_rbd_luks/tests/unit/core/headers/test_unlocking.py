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

"""A passphrase to a keyslot and the volume key."""

from __future__ import annotations

import ddt
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.tests.unit.core.headers import base


@ddt.ddt
class UnlockTest(base.OperationsTestCase):

    def test_every_keyslot(self):
        passphrases = (base.OLD, base.NEW, base.OTHER)
        image = self.make_volume(*passphrases)
        for number, passphrase in enumerate(passphrases):
            opened = unlocking.unlock(image, passphrase)
            self.assertEqual(number, opened.keyslot)
            self.assertEqual(opened,
                             unlocking.unlock(image, passphrase, number))
        self.assertEqual(1, len({self.volume_key(image, passphrase)
                                 for passphrase in passphrases}))

    def test_nothing_is_written(self):
        image = self.make_volume()
        unlocking.unlock(image, base.OLD)
        self.assertEqual([], image.content.log)

    @ddt.data(b"", b"old passphras", b"old passphrase\n", b"OLD PASSPHRASE",
              b"\0", b"x" * 100_000)
    def test_wrong_passphrase(self, passphrase):
        image = self.make_volume()
        self.assert_untouched(image,
                              lambda: unlocking.unlock(image, passphrase),
                              exception.WrongPassphrase)

    def test_other_keyslot_than_asked_for(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD, 1)

    def dear(self, *iterations):
        """A volume with a keyslot of that many iterations for each."""
        passphrases = [b"%d" % number for number in range(len(iterations))]
        image = self.make_volume(*passphrases)
        for number, count in enumerate(iterations):
            if count:
                self.patch_keyslot(image, number, "iterations",
                                   count.to_bytes(4, "big"))
        return image

    def cheap(self, iterations):
        """Let an attempt cost less than a minute."""
        self.useFixture(fixtures.MonkeyPatch(
            f"{limits.__name__}.MAX_TOTAL_ITERATIONS", iterations))

    def test_attempt_ends_when_it_has_cost_a_minute(self):
        self.cheap(60_000)
        image = self.dear(50_000, 40_000, 0)
        error = self.assert_untouched(
            image, lambda: unlocking.unlock(image, base.OLD),
            exception.KeyslotsNotTried)
        # The cheapest come first, and all that fit are tried.
        self.assertEqual("0", error.keyslots)
        self.assertEqual(2, unlocking.unlock(image, b"2").keyslot)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD, 0)

    def test_dearest_alone_is_tried(self):
        self.cheap(1000)
        image = self.dear(50_000)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)

    @ddt.data(0, 1, 2)
    def test_keyslot_beyond_the_limits_hinders_no_other(self, number):
        image = self.dear(*(60_000_000 if number == at else 0
                            for at in range(3)))
        for other in {0, 1, 2} - {number}:
            self.assertEqual(other, unlocking.unlock(
                image, b"%d" % other).keyslot)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          b"%d" % number)
        error = self.assertRaises(exception.HeaderLimitExceeded,
                                  unlocking.unlock, image, b"x", number)
        self.assertEqual(60_000_000, error.value)
        self.assertIn("60000000 iterations", header_io.read_header(
            image).keyslot(number).foreign)

    def test_all_beyond_the_limits(self):
        image = self.dear(60_000_000)
        self.assertRaises(exception.HeaderLimitExceeded, unlocking.unlock,
                          image, b"0")

    @ddt.data(1, 7, 8, -1)
    def test_keyslot_not_in_use(self, number):
        error = self.assertRaises(exception.KeyslotNotFound, unlocking.unlock,
                                  self.make_volume(), base.OLD, number)
        self.assertEqual(number, error.keyslot)

    def test_no_keyslot_at_all(self):
        image = self.make_volume()
        header = header_io.read_header(image)
        header_io.apply(image, header.erase([0]).plan)
        self.assertRaises(exception.KeyslotNotFound, unlocking.unlock, image,
                          base.OLD)

    def test_damaged_keyslot_hinders_no_other(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.patch_keyslot(image, 0, "active", b"\1\2\3\4")
        self.assertEqual(1, unlocking.unlock(image, base.NEW).keyslot)
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          base.OLD)

    def test_damage_is_no_wrong_passphrase(self):
        image = self.make_volume()
        self.patch_keyslot(image, 0, "iterations", bytes(4))
        error = self.assertRaises(exception.CorruptHeader, unlocking.unlock,
                                  image, base.OLD)
        self.assertIn("key_block[0]", error.field)
        self.assertRaises(exception.CorruptHeader, unlocking.unlock, image,
                          base.OLD, 0)

    def test_store_that_fails_is_no_wrong_passphrase(self):
        image = self.make_volume(base.OLD, base.NEW)
        real = image.read

        def read(offset, length):
            if offset:
                raise exception.ImageIOError(action="read", reason="no OSD")
            return real(offset, length)

        image.read = read
        self.assertRaises(exception.ImageIOError, unlocking.unlock, image,
                          base.NEW)

    def test_plain_image(self):
        image = self.make_image()
        self.assert_untouched(image, lambda: unlocking.unlock(image, base.OLD),
                              exception.NotLuks)

    def test_repr_has_no_volume_key(self):
        opened = unlocking.unlock(self.make_volume(), base.OLD)
        self.assertNotIn("volume_key", repr(opened))
        self.assertNotIn(repr(opened.volume_key), repr(opened))


class AlsoOpenedTest(base.OperationsTestCase):
    """Where else a passphrase opens a volume, as far as that is cheap."""

    def also(self, image, passphrase=base.OLD):
        opened = unlocking.unlock(image, passphrase)
        return unlocking.also_opened(image, opened, passphrase)

    def test_in_one_only(self):
        image = self.make_volume(base.OLD, base.NEW)
        self.assertEqual(unlocking.Also(), self.also(image))

    def test_in_two(self):
        image = self.make_volume(base.OLD, base.NEW, base.OLD)
        self.assertEqual(unlocking.Also((2,)), self.also(image))

    def test_too_dear(self):
        image = self.make_volume(base.OLD, base.NEW, base.OLD)
        self.patch_keyslot(image, 1, "iterations",
                           unlocking.CHEAP.to_bytes(4, "big"))
        self.assertEqual(unlocking.Also((2,), (1,)), self.also(image))

    def test_damaged_keyslot_opens_nothing(self):
        image = self.make_volume(base.OLD, base.OLD)
        self.patch_keyslot(image, 1, "active", b"\1\2\3\4")
        self.assertEqual(unlocking.Also(), self.also(image))
