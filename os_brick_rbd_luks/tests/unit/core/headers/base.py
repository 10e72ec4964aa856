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

"""Volumes in memory to try operations on."""

from __future__ import annotations

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.tests import cuts
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import opened
from os_brick_rbd_luks.tests import units

SIZE = 8 * units.MIB

OLD = b"old passphrase"
NEW = b"new passphrase"
OTHER = b"other passphrase"

#: The quickest volume there is.
QUICK = formatting.Options(cipher_spec="aes-cbc-plain64", key_bytes=16)


class OperationsTestCase(testtools.TestCase):
    """Makes images and volumes, and looks into them."""

    def setUp(self):
        super().setUp()
        self.useFixture(opened.OpenedOnce())

    def make_image(self, size=SIZE, **options):
        """An empty image, open for writing."""
        return stores.MemoryStore(**options).create("volume-1", size)

    def make_volume(self, *passphrases, size=SIZE, options=QUICK, **store):
        """A volume with a keyslot for each passphrase, OLD if none."""
        first, *others = passphrases or (OLD,)
        image = self.make_image(size, **store)
        formatting.format_new(image, first, options)
        for passphrase in others:
            keyslots.add(image, first, passphrase)
        image.content.log.clear()
        return image

    def disturbed(self, image, method, meanwhile, number=1):
        """*image*, at whose such call somebody else does something.

        :param number: which one, from 1
        """
        planned = faults.Faults(faults.Fault(method, number,
                                             meanwhile=meanwhile))
        self.addCleanup(planned.assert_happened)
        return planned.around(image)

    def opens(self, image, passphrase):
        """Whether *passphrase* opens *image*; damage is an error."""
        try:
            unlocking.unlock(image, passphrase)
        except (exception.WrongPassphrase, exception.KeyslotNotFound):
            return False
        return True

    def volume_key(self, image, passphrase):
        return unlocking.unlock(image, passphrase).volume_key

    def patch_header(self, image, offset, data):
        """Damage the header of *image*."""
        image.content.write(offset, data)

    def patch_keyslot(self, image, number, field, data):
        self.patch_header(image, ondisk.key_block_offset(number, field),
                          data)

    def assert_same_bytes(self, expected, found):
        """As assertEqual, without megabytes in the message."""
        if expected != found:
            self.fail(f"{len(found)} bytes are not the {len(expected)} "
                      f"expected")

    def assert_untouched(self, image, call, expected):
        """*call* raises *expected*, and the image is as it was."""
        before = image.content.whole()
        writes = len(self.kinds(image, "write"))
        error = self.assertRaises(expected, call)
        self.assert_same_bytes(before, image.content.whole())
        self.assertEqual(writes, len(self.kinds(image, "write")))
        self.assertEqual(1, str(error).count(image.name), str(error))
        return error

    def kinds(self, image, *wanted):
        """The log of *image*, some kinds of events only."""
        return [event for event in image.content.log if event.kind in wanted]

    def cuts(self, image, action, places=()):
        """Every image that *action* on *image* leaves if it is cut off.

        Before and behind each write, and within; but no state twice: the
        end of a write is the start of the next, and an object's part of a
        write is there or not.

        :param places: the bytes at which each write is cut off besides
        :returns: pairs of what was cut, for messages, and an image
        """
        now = image.content.copy()
        image.content.written.clear()
        action(image)
        self.assertGreater(len(image.content.written), 1)
        yield "before", images.MemoryImage(now.copy())
        for number, (offset, data) in enumerate(image.content.written):
            sizes = {now.torn(offset, len(data), count) for count in
                     cuts.of_write(len(data), cuts.WHOLE, places)}
            for size in sorted(sizes - {0}):
                cut = now.copy()
                cut.write(offset, data[:size])
                yield (f"write {number}, {size} bytes",
                       images.MemoryImage(cut))
            now.write(offset, data)
