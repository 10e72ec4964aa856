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


"""The Barbican in memory: what a real one does, and its faults."""

from __future__ import annotations

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception
from castellan.common.objects import symmetric_key
import fixtures
from keystoneauth1 import exceptions as keystone_exceptions
from oslo_context import context
import testtools

from os_brick_rbd_luks.tests.contracts import keymanager as contract
from os_brick_rbd_luks.tests.fakes import barbican
from os_brick_rbd_luks.tests.fakes import keymanager

#: The project and the roles of each, as in ``tools/lab/people.py``.
PEOPLE = {"user": ("user", ["member", "creator"]),
          "colleague": ("user", ["member", "creator"]),
          "reader": ("user", ["reader"]),
          "other": ("other", ["member", "creator"]),
          "admin": ("admin", ["admin"]),
          "service": ("service", ["service"])}


class BarbicanTestCase(testtools.TestCase):
    """Has a Barbican and the people who use it."""

    def setUp(self):
        self.server = barbican.Barbican()
        super().setUp()

    def context(self, name):
        project, roles = PEOPLE[name]
        return context.RequestContext(
            user_id=name, project_id=f"project-{project}", roles=roles,
            auth_token=f"token-of-{name}")

    def make_manager(self, away=False):
        if not away:
            return keymanager.BarbicanKeyManager(None, self.server)
        server = barbican.Barbican()
        server.go_away()
        return keymanager.BarbicanKeyManager(None, server)


class ContractTest(contract.KeyManagerContract, BarbicanTestCase):

    context = BarbicanTestCase.context
    make_manager = BarbicanTestCase.make_manager

    def share(self, name, key_id, readers, project_access=True):
        self.manager.share(self.context(name), key_id, readers,
                           project_access)

    def requests(self):
        return self.server.requests


class FaultTest(BarbicanTestCase):
    """It fails once, or from a call on, before or after the effect."""

    def setUp(self):
        super().setUp()
        self.manager = self.make_manager()
        self.user = self.context("user")

    def store(self):
        return self.manager.store(self.user, symmetric_key.SymmetricKey(
            "AES", 8, b"k"))

    def assert_fails(self, context, call, *args):
        error = self.assertRaises(exception.KeyManagerError, call, *args)
        self.assertIsInstance(error.__context__, context)
        return error

    def test_calls_are_counted(self):
        key_id = self.store()
        self.manager.get(self.user, key_id)
        self.manager.delete(self.user, key_id)
        self.assertEqual(["store", "get", "delete"], self.server.calls)
        self.assertEqual(2 + 17 + 2, self.server.requests)
        self.assertEqual(set(), self.server.ids())

    def test_fails_once(self):
        fault = self.server.fail(1)
        self.store()
        error = self.assert_fails(
            client_exceptions.HTTPServerError, self.store)
        self.assertEqual(503, error.__context__.status_code)
        self.store()
        self.assertEqual((1, 2), (fault.failed, len(self.server.ids())))

    def test_fails_once_of_one_kind(self):
        self.server.fail(1, "get")
        key_id = self.store()
        self.manager.get(self.user, key_id)
        self.assert_fails(client_exceptions.HTTPServerError,
                          self.manager.get, self.user, key_id)
        self.manager.get(self.user, key_id)

    def test_the_answer_is_lost(self):
        self.server.fail(0, late=True)
        self.assert_fails(client_exceptions.HTTPServerError, self.store)
        # Of which nobody knows the id.
        self.assertEqual(1, len(self.server.ids("project-user")))
        self.assertEqual(set(), self.server.ids("project-other"))

    def test_stays_away(self):
        key_id = self.store()
        fault = self.server.go_away(1)
        self.manager.get(self.user, key_id)
        for _again in range(3):
            self.assert_fails(keystone_exceptions.ConnectFailure,
                              self.manager.delete, self.user, key_id)
        self.assertEqual(3, fault.failed)
        self.assertEqual({key_id}, self.server.ids())
        self.server.come_back()
        self.manager.delete(self.user, key_id)

    def test_somebody_acts_before_a_call(self):
        key_id = self.store()

        def on_call(name):
            if name == "get":
                del self.server.secrets[key_id]

        self.server.on_call = on_call
        self.assertRaises(exception.ManagedObjectNotFoundError,
                          self.manager.get, self.user, key_id)

    def test_slow(self):
        naps = []
        self.useFixture(fixtures.MonkeyPatch("time.sleep", naps.append))
        self.server.delay = 2.5
        self.store()
        self.assertEqual([2.5], naps)

    def test_no_secret_is_in_its_repr(self):
        key_id = self.store()
        self.assertNotIn("managed", repr(self.server.secrets[key_id]))
