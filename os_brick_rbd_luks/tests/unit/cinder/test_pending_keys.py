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

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.core.clones import clones
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.volume import pending_keys


@ddt.ddt
class PendingTest(clones.CloneTestCase):

    def setUp(self):
        super().setUp()
        self.parent = self.source()
        self.image = self.store.clone(self.parent, "v")
        self.addCleanup(self.image.__exit__)

    def test_nothing_noted(self):
        self.assertEqual([], pending_keys.read(self.image))

    @ddt.data(["one"], ["two", "one"], ["\u00fc \"quoted\""])
    def test_round_trip(self, keys):
        pending_keys.write(self.image, keys)
        self.assertEqual(keys, pending_keys.read(self.image))

    def test_nothing_is_no_note(self):
        pending_keys.write(self.image, ["one"])
        pending_keys.write(self.image, [])
        self.assertNotIn(pending_keys.NOTE, self.image.content.notes)

    def test_an_image_that_is_no_clone(self):
        """Keys stay an image's own when it was flattened."""
        pending_keys.write(self.image, ["one"])
        self.image.flatten()
        self.assertEqual(["one"], pending_keys.read(self.image))

    def test_a_copied_note_is_another_image_s(self):
        pending_keys.write(self.image, ["one"])
        self.store.create("w", units.MIB).__exit__()
        with self.store.open("w") as other:
            other.set_note(pending_keys.NOTE,
                           self.image.note(pending_keys.NOTE))
            self.assertEqual([], pending_keys.read(other))

    @ddt.data("", "{", "[]", "{\"image\": 1, \"keys\": [1]}")
    def test_corrupt(self, text):
        self.image.content.notes[pending_keys.NOTE] = text
        error = self.assertRaises(exception.OperationRefused,
                                  pending_keys.read, self.image)
        self.assertIn(pending_keys.NOTE, str(error))
