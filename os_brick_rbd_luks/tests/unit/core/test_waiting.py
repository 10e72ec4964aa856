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

"""Waiting ends with the value, or tells what it waited for."""

from __future__ import annotations

import fixtures
import testtools

from os_brick_rbd_luks.tests.fakes import clock
from os_brick_rbd_luks.tests import waiting


class UntilTest(testtools.TestCase):
    """On a clock of its own, which only the pauses advance."""

    def setUp(self):
        super().setUp()
        self.naps = []
        self.clock = clock.Clock()
        self.useFixture(fixtures.MonkeyPatch(
            f"{waiting.__name__}.time", self))

    def monotonic(self):
        return self.clock.now()

    def sleep(self, seconds):
        self.naps.append(seconds)
        self.clock.advance(seconds)

    def test_true_at_once(self):
        self.assertEqual("it", waiting.until(lambda: "it", "it"))
        self.assertEqual([], self.naps)

    def test_true_at_last(self):
        values = iter([0, None, "", [], "it", "more"])
        self.assertEqual("it", waiting.until(lambda: next(values), "it",
                                             pause=0.5))
        self.assertEqual([0.5] * 4, self.naps)
        self.assertEqual("more", next(values))

    def test_value_that_holds(self):
        values = iter([3, 2, 1, 0, -1])
        self.assertEqual(0, waiting.until(lambda: next(values), "nothing",
                                          lambda value: not value))

    def test_in_vain(self):
        values = iter(range(1000))
        error = self.assertRaises(
            AssertionError, waiting.until, lambda: next(values),
            "the end of numbers", lambda value: value < 0, seconds=10,
            pause=4)
        self.assertEqual([4, 4, 4], self.naps)
        self.assertEqual("waited 10 s in vain for the end of numbers; "
                         "the last value was\n3", str(error))

    def test_true_after_the_deadline(self):
        """A slow condition is asked once more."""
        def slow():
            self.clock.advance(60)
            return self.clock.now() > before + 100

        before = self.clock.now()
        self.assertTrue(waiting.until(slow, "it", seconds=10))

    def test_error_of_the_condition(self):
        def fail():
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, waiting.until, fail, "it")
        self.assertEqual([], self.naps)
