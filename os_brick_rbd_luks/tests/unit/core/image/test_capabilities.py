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

"""What each release of librbd can do."""

from __future__ import annotations

import ddt
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities

ABILITIES = ("encrypts", "loads_layers", "reads_deep_clones",
             "closes_clones", "needs_alignment", "resizes_decrypted")


@ddt.ddt
class LibrbdTest(testtools.TestCase):

    @ddt.data((None, set()), (16, {"encrypts"}), (17, {"encrypts"}),
              (18, set(ABILITIES)), (20, set(ABILITIES)))
    @ddt.unpack
    def test_abilities(self, release, expected):
        librbd = capabilities.Librbd(release)
        self.assertEqual(expected, {
            name for name in ABILITIES if getattr(librbd, name)})

    @ddt.data((None, "none with encryption"), (16, "that of Ceph 16"))
    @ddt.unpack
    def test_layers_are_required(self, release, told):
        librbd = capabilities.Librbd(release)
        error = self.assertRaises(
            exception.UnsupportedCeph, librbd.require_layers,
            "a clone with a header of its own")
        self.assertIn("a clone with a header of its own", str(error))
        self.assertIn("18", str(error))
        self.assertIn(told, str(error))

    def test_layers_are_there(self):
        capabilities.Librbd(18).require_layers(
            "a clone with a header of its own")
