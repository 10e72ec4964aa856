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

import threading

import testtools

from os_brick_rbd_luks.image import native_threads
from os_brick_rbd_luks.tests import waiting


class BeginTest(testtools.TestCase):

    def test_both_go_on(self):
        asked, answered = threading.Event(), threading.Event()

        def function():
            asked.set()
            return answered.wait(waiting.PATIENCE)

        result = native_threads.begin(function)
        self.assertTrue(asked.wait(waiting.PATIENCE))
        answered.set()
        self.assertIs(True, result())

    def test_an_error_is_raised_to_who_waits(self):
        def function():
            raise KeyError("of the thread")

        result = native_threads.begin(function)
        self.assertIn("of the thread", str(self.assertRaises(
            KeyError, result)))
