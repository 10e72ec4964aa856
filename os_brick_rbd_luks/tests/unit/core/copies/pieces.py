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

"""Small pieces and grains, and data of zeros and bytes in all their sizes."""

from __future__ import annotations

import fixtures
from hypothesis import strategies
import testtools

from os_brick_rbd_luks.copies import copying
from os_brick_rbd_luks.image import base

#: Bytes of a real piece.
REAL = copying.PIECE

#: Instead of that, and of 64 KiB.
PIECE = 64
GRAIN = 16

blocks = strategies.lists(strategies.tuples(
    strategies.sampled_from([b"\0", b"a", b"b"]),
    strategies.sampled_from([1, 15, 16, 17, 48, 63, 64, 65, 130])),
    max_size=12)


def data_of(found):
    return b"".join(value * count for value, count in found)


class PiecesTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        for module, name, value in ((copying, "PIECE", PIECE),
                                    (base, "GRAIN", GRAIN)):
            self.useFixture(fixtures.MonkeyPatch(
                f"{module.__name__}.{name}", value))
