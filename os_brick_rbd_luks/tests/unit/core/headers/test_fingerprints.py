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

from __future__ import annotations

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import fingerprints
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests.unit.core.headers import luks2_volumes


class Cases:
    """Of either format."""

    def fingerprint(self, image, passphrase):
        opened = unlocking.unlock(image, passphrase)
        return fingerprints.of(opened.header, opened.keyslot)

    def known(self, image):
        return fingerprints.all_of(header_io.read_header(image))

    def test_of_each_passphrase(self):
        image = self.make_volume(base.OLD, base.NEW)
        found = {self.fingerprint(image, passphrase)
                 for passphrase in (base.OLD, base.NEW)}
        self.assertEqual(2, len(found))
        self.assertEqual(found, self.known(image))
        for text in found:
            self.assertRegex(text, "^[0-9a-f]{32}$")

    def test_stays_while_it_opens_the_volume(self):
        image = self.make_volume(base.OLD)
        before = self.fingerprint(image, base.OLD)
        keyslots.add(image, base.OLD, base.NEW)
        self.assertEqual(before, self.fingerprint(image, base.OLD))
        keyslots.remove(image, base.OLD)
        self.assertNotIn(before, self.known(image))

    def test_of_the_same_passphrase_in_the_same_keyslot(self):
        """Another one was there meanwhile."""
        image = self.make_volume(base.OLD)
        before = self.known(image)
        for passphrases in ((base.OLD, base.NEW), (base.NEW, base.OLD)):
            keyslots.replace(image, *passphrases)
        self.assertEqual(set(), before & self.known(image))

    def test_of_two_volumes(self):
        first, second = (self.make_volume(base.OLD) for _number in range(2))
        self.assertEqual(set(), self.known(first) & self.known(second))

    def test_no_such_keyslot(self):
        header = header_io.read_header(self.make_volume(base.OLD))
        self.assertRaises(exception.KeyslotNotFound, fingerprints.of, header,
                          7)


class Luks1Test(Cases, base.OperationsTestCase):
    pass


class Luks2Test(Cases, luks2_volumes.Luks2TestCase):
    pass
