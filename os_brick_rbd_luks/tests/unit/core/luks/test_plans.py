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

"""Plans as values."""

from __future__ import annotations

import testtools

from os_brick_rbd_luks.luks import plans

ONE = plans.Write(0, b"one")
TWO = plans.Write(4096, b"second")


class PlanTest(testtools.TestCase):

    def test_end(self):
        self.assertEqual(4102, TWO.end)
        self.assertEqual(7, plans.Write(7, b"").end)

    def test_overlaps(self):
        middle = plans.Write(10, bytes(10))
        for offset, length, expected in (
                (0, 10, False), (0, 11, True), (19, 1, True),
                (20, 5, False), (12, 3, True), (0, 30, True)):
            other = plans.Write(offset, bytes(length))
            self.assertEqual([expected] * 2, [middle.overlaps(other),
                                              other.overlaps(middle)])

    def test_then_keeps_what_the_first_expects(self):
        first = plans.Plan((ONE,), ((TWO,), (ONE,)))
        second = plans.Plan((TWO,), ((ONE, TWO),))
        self.assertEqual(
            plans.Plan((ONE,), ((TWO,), (ONE,), (ONE, TWO))),
            first.then(second))

    def test_joined(self):
        """Later writes win; what touches or nearly does is one write."""
        writes = [plans.Write(4096, b"k" * 8192), plans.Write(0, b"h" * 592),
                  plans.Write(5000, b"n" * 10), plans.Write(16385, b"x")]
        self.assertEqual((
            plans.Write(0, b"h" * 592 + bytes(3504) + b"k" * 904 + b"n" * 10
                        + b"k" * 7278),
            plans.Write(16385, b"x")), plans.joined(writes))

    def test_joined_order_is_that_of_the_writes(self):
        first, second = plans.Write(0, b"11"), plans.Write(1, b"22")
        for writes, data in (((first, second), b"122"),
                             ((second, first), b"112")):
            self.assertEqual((plans.Write(0, data),), plans.joined(writes))

    def test_joined_of_nothing(self):
        self.assertEqual((), plans.joined(()))
