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

"""Names that are ours for a while; see also test_plugin."""

from __future__ import annotations

import testtools

from os_brick_rbd_luks.services import registration


class RegistrationTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.mapping = {"kept": "theirs"}
        self.undone = []
        self.registered = registration.Registration(self.put_all)

    def put_all(self, registered):
        registered.put(self.mapping, "kept", "ours")
        registered.put(self.mapping, "new", "ours")
        registered.at_undo(lambda: self.undone.append(dict(self.mapping)))

    def test_there_and_back(self):
        self.registered.register()
        self.assertEqual({"kept": "ours", "new": "ours"}, self.mapping)
        self.registered.unregister()
        self.assertEqual({"kept": "theirs"}, self.mapping)
        # The last is undone first.
        self.assertEqual([{"kept": "ours", "new": "ours"}], self.undone)

    def test_nothing_changes_that_nothing_would_undo(self):
        self.assertRaises(RuntimeError, self.registered.put, self.mapping,
                          "kept", "ours")
        self.assertRaises(RuntimeError, self.registered.at_undo, self.fail)
        self.assertEqual({"kept": "theirs"}, self.mapping)

    def test_failure_on_the_way(self):
        def put_all(registered):
            self.put_all(registered)
            raise KeyError("upstream has changed")

        self.assertRaises(KeyError,
                          registration.Registration(put_all).register)
        self.assertEqual({"kept": "theirs"}, self.mapping)
