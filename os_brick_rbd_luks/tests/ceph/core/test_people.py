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


"""The real Barbican, as people of several projects find it."""

from __future__ import annotations

import os
import shutil

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception
from castellan.common.objects import symmetric_key
import fixtures
import requests
import testtools

from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.tests.contracts import keymanager as contract
from os_brick_rbd_luks.tests import people
from os_brick_rbd_luks.tests import selection

VOLUME = "5b1f9c3e-7a2d-4e86-9b0c-d4f2a8e61735"


class PeopleTestCase(testtools.TestCase):
    """Has a Barbican with its default policy."""

    def setUp(self):
        super().setUp()
        if "RBD_LUKS_TEST_KEYS" not in os.environ:
            if not shutil.which("ceph-mon"):
                self.skipTest("Ceph (ceph-mon) is not installed")
            self.fail("no key manager: run these by tools/test")


class WallTest(PeopleTestCase):
    """What one project keeps is not shown to another."""

    def test_only_its_project_reads_a_key(self):
        owner, key = people.person("user"), os.urandom(32)
        key_id = owner.manager.store(
            owner.context, symmetric_key.SymmetricKey("AES", 256, key))
        self.addCleanup(owner.manager.delete, owner.context, key_id)
        for name in ("user", "colleague"):
            person = people.person(name)
            self.assertEqual(key, person.manager.get(
                person.context, key_id).get_encoded())
        for name in contract.OTHERS:
            person = people.person(name)
            error = self.assertRaises(
                exception.KeyManagerError, person.manager.get,
                person.context, key_id)
            self.assertEqual(403, error.__context__.status_code, name)


@selection.full
class KeyManagerTest(contract.KeyManagerContract, PeopleTestCase):
    """By way of upstream's castellan."""

    def setUp(self):
        self.sent = 0
        super().setUp()
        self.endpoint = people.person("user").conf.barbican.barbican_endpoint
        self.useFixture(fixtures.MonkeyPatch(
            "requests.Session.send", self.counting(requests.Session.send)))

    def counting(self, send):
        def counted(session, request, **options):
            self.sent += request.url.startswith(self.endpoint)
            return send(session, request, **options)

        return counted

    def requests(self):
        return self.sent

    def context(self, name):
        return people.person(name).context

    def make_manager(self, away=False):
        person = people.Person("user") if away else people.person("user")
        if away:
            # A port of 127.0.0.1 that nobody listens on.
            person.conf.set_override("barbican_endpoint",
                                     "http://127.0.0.1:1", "barbican")
        return self.manager_of(person)

    def manager_of(self, person):
        return person.manager

    def share(self, name, key_id, readers, project_access=True):
        client = self.manager._get_barbican_client(self.context(name))
        client.acls.create(
            f"{self.endpoint}/v1/secrets/{key_id}",
            users=[people.person(reader).user_id for reader in readers],
            project_access=project_access).submit()


class OurKeyManagerTest(KeyManagerTest):
    """Ours is castellan's, and costs less."""

    nameless = {"nameless": 3, "nameless metadata": 2, "nameless refused": 2,
                "nameless payload refused": 3}

    def manager_of(self, person):
        return barbican.BarbicanKeyManager(person.conf)

    def test_requests_of_a_change(self):
        """From one key without a name to another: five of them."""
        user = self.context("user")
        old = self.manager.create_key(user, "AES", 256)
        user = self.context("user")

        def change():
            self.manager.get(user, old)
            new = self.manager.store(user, symmetric_key.SymmetricKey(
                "AES", 256, self.key, name="of a test"))
            self.manager.delete(user, old)
            return new

        self.assertEqual(5, self.cost(change)[0])

    def test_another_s_request(self):
        """One client is not used for two of them."""
        key_id = self.store()
        self.get("user", key_id)
        self.assert_status(403, self.get, "other", key_id)
        self.assertEqual(self.key, self.get("user", key_id).get_encoded())

    @selection.needs("consumers")
    def test_key_of_a_volume(self):
        """Castellan's deletes it no more, and Cinder's service does."""
        key_id, user = self.store(), self.context("user")
        for _once_more in range(2):
            self.manager.register(user, key_id, VOLUME)
        self.assertEqual(
            [{"service": "cinder", "resource_type": "volume",
              "resource_id": VOLUME}], self.get("user", key_id).consumers)
        castellans = people.person("user").manager
        self.assertRaises((exception.KeyManagerError, ValueError),
                          castellans.delete, user, key_id)
        self.manager.delete(user, key_id)
        self.assert_gone(key_id)

    @selection.needs("consumers")
    def test_key_that_a_volume_lets_be(self):
        key_id, user = self.store(), self.context("user")
        self.manager.register(user, key_id, VOLUME)
        self.manager.unregister(user, key_id, VOLUME)
        people.person("user").manager.delete(user, key_id)
        self.assert_gone(key_id)

    @selection.needs("consumers")
    def test_key_that_somebody_else_needs(self):
        key_id, user = self.store(), self.context("user")
        self.manager.register(user, key_id, VOLUME)
        self.manager.add_consumer(user, key_id, contract.CONSUMER)
        self.assertRaises((exception.KeyManagerError, ValueError),
                          self.manager.delete, user, key_id)
        self.manager.delete(user, key_id, force=True)
        self.assert_gone(key_id)

    def test_share(self):
        key_id = self.store()
        self.manager.share(self.context("user"), key_id, [
            people.person("other").user_id])
        for name in ("user", "colleague", "other"):
            self.assertEqual(self.key, self.get(name, key_id).get_encoded())
        self.assert_status(403, self.get, "admin", key_id)
        # Neither does whoever may read it let others read it.
        error = self.assertRaises(
            client_exceptions.HTTPClientError, self.manager.share,
            self.context("other"), key_id, [])
        self.assertEqual(403, error.status_code)
