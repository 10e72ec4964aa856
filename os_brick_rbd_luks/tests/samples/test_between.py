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

"""A process that ends when all tests of a module have passed."""

from __future__ import annotations

import os

import testtools


def tearDownModule():
    os._exit(7)


class BetweenTest(testtools.TestCase):

    def test_passes_before(self):
        self.assertTrue(True)
