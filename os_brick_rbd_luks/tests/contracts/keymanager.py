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


"""What castellan's key manager for Barbican does, whoever asks.

A test class mixes :class:`KeyManagerContract` in and says which is meant.
The people are those of ``tools/lab/people.py``, with Barbican's default
policy.
"""

from __future__ import annotations

import os
from typing import Any, Callable, List, Optional, Tuple
import uuid

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception
from castellan.common.objects import opaque_data
from castellan.common.objects import symmetric_key

from os_brick_rbd_luks.tests import contracts
from os_brick_rbd_luks.tests import selection

#: Of the user's own project, and others.
OTHERS = ("reader", "other", "admin", "service")

CONSUMER = {"service": "volume", "resource_type": "volume",
            "resource_id": "00000000-0000-0000-0000-00000000000a"}


class KeyManagerContract(contracts.Contract):
    """Tests of a ``castellan.key_manager.key_manager.KeyManager``.

    :cvar nameless: requests to read a secret that has no name
    """

    nameless = {"nameless": 17, "nameless metadata": 13,
                "nameless refused": 2, "nameless payload refused": 11}

    def context(self, name: str) -> Any:
        """That of a request which one of the people makes."""
        raise NotImplementedError

    def make_manager(self, away: bool = False) -> Any:
        """Give a key manager; one that cannot be reached if it is *away*."""
        raise NotImplementedError

    def share(self, name: str, key_id: str, readers: List[str],
              project_access: bool = True) -> None:
        """Let *name* replace a secret's ACL; *readers* are names."""
        raise NotImplementedError

    def requests(self) -> int:
        """How many requests Barbican was sent until now."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.manager = self.make_manager()
        self.key = os.urandom(32)

    def store(self, name: Optional[str] = None, who: str = "user") -> Any:
        """Store a key; its id."""
        return self.manager.store(
            self.context(who), symmetric_key.SymmetricKey(
                "AES", 256, self.key, name=name))

    def get(self, who: str, key_id: str, **options: Any) -> Any:
        return self.manager.get(self.context(who), key_id, **options)

    def assert_status(self, status: int, call: Callable[..., Any],
                      *args: Any, **kwargs: Any) -> Any:
        """A call fails as castellan lets it fail for an HTTP status."""
        error = self.assertRaises(exception.KeyManagerError, call, *args,
                                  **kwargs)
        self.assertEqual(status, error.__context__.status_code)
        return error

    def assert_gone(self, key_id: str) -> None:
        for call in (self.manager.get, self.manager.delete):
            error = self.assertRaises(
                exception.ManagedObjectNotFoundError, call,
                self.context("user"), key_id)
            self.assertEqual(404, error.__context__.status_code)
            self.assertIn(key_id, str(error))

    # A secret

    def test_store_and_get(self) -> None:
        key_id = self.store("of a test")
        found = self.get("user", key_id)
        self.assertIsInstance(found, symmetric_key.SymmetricKey)
        self.assertEqual(
            (self.key, key_id, "of a test", "AES", 256),
            (found.get_encoded(), found.id, found.name, found.algorithm,
             found.bit_length))
        self.assertEqual(key_id, str(uuid.UUID(key_id)))

    def test_store_opaque_data(self) -> None:
        key_id = self.manager.store(self.context("user"),
                                    opaque_data.OpaqueData(b"any bytes"))
        found = self.get("user", key_id)
        self.assertIsInstance(found, opaque_data.OpaqueData)
        self.assertEqual((b"any bytes", None),
                         (found.get_encoded(), found.name))

    def test_store_nothing(self) -> None:
        self.assertRaises(
            exception.KeyManagerError, self.manager.store,
            self.context("user"), opaque_data.OpaqueData(b""))

    def test_metadata_only(self) -> None:
        key_id = self.store("of a test")
        found = self.get("user", key_id, metadata_only=True)
        self.assertIsNone(found.get_encoded())
        self.assertEqual("of a test", found.name)
        # The secret itself has not lost it.
        self.assertEqual(self.key, self.get("user", key_id).get_encoded())

    def test_create_key(self) -> None:
        key_id = self.manager.create_key(self.context("user"), "AES", 256)
        found = self.get("user", key_id)
        self.assertEqual(32, len(found.get_encoded()))
        self.assertEqual((None, "AES", 256), (
            found.name, found.algorithm, found.bit_length))
        other = self.manager.create_key(self.context("user"), "AES", 256)
        self.assertNotEqual(found.get_encoded(),
                            self.get("user", other).get_encoded())

    def test_create_key_that_it_cannot_make(self) -> None:
        self.assert_status(400, self.manager.create_key,
                           self.context("user"), "AES", 100)
        error = self.assertRaises(
            exception.KeyManagerError, self.manager.create_key,
            self.context("user"), "AES", 512)
        self.assertIn("Order is in ERROR status", str(error))

    def test_delete(self) -> None:
        key_id = self.store()
        self.manager.delete(self.context("user"), key_id)
        self.assert_gone(key_id)

    def test_what_is_no_id(self) -> None:
        for call in (self.manager.get, self.manager.delete):
            for nothing in ("", None):
                self.assertRaises(exception.KeyManagerError, call,
                                  self.context("user"), nothing)
            # Which castellan does not translate.
            self.assertRaises(ValueError, call, self.context("user"), "no id")

    # Who asks

    def test_nobody_asks(self) -> None:
        self.assertRaises(exception.Forbidden, self.manager.get, None,
                          self.store())

    def test_a_request_without_token(self) -> None:
        """As a service's own at its start: ``get_admin_context()``."""
        key_id = self.store()
        context = self.context("admin")
        context.auth_token = None
        for call in (self.manager.get, self.manager.delete):
            error = self.assertRaises(exception.KeyManagerError, call,
                                      context, key_id)
            self.assertIsInstance(error.__context__, exception.Forbidden)

    def test_a_secret_is_its_project_s(self) -> None:
        key_id = self.store()
        self.assertEqual(self.key, self.get("colleague", key_id).get_encoded())
        for name in OTHERS:
            # Not castellan's Forbidden.
            error = self.assert_status(403, self.get, name, key_id)
            self.assertIn("attempt not allowed", str(error))

    def test_an_administrator_sees_metadata(self) -> None:
        key_id = self.store("of a test")
        found = self.get("admin", key_id, metadata_only=True)
        self.assertEqual("of a test", found.name)
        for name in ("reader", "other", "service"):
            self.assert_status(403, self.get, name, key_id,
                               metadata_only=True)

    def test_who_may_delete(self) -> None:
        key_id = self.store()
        for name in ("reader", "other", "service"):
            self.assert_status(403, self.manager.delete, self.context(name),
                               key_id)
        self.assertEqual(self.key, self.get("user", key_id).get_encoded())
        self.manager.delete(self.context("colleague"), key_id)
        # An administrator of any project may, who cannot read it.
        key_id = self.store()
        self.manager.delete(self.context("admin"), key_id)
        self.assert_gone(key_id)

    def test_who_may_make_secrets(self) -> None:
        for name in ("reader", "service"):
            self.assert_status(403, self.store, who=name)
            self.assert_status(403, self.manager.create_key,
                               self.context(name), "AES", 256)
        for name in ("other", "admin"):
            key_id = self.store(who=name)
            self.assertEqual(self.key, self.get(name, key_id).get_encoded())
            self.assert_status(403, self.get, "user", key_id)

    # Its access control list

    def test_shared_with_a_user(self) -> None:
        key_id = self.store()
        self.share("user", key_id, ["other", "service"])
        for name in ("other", "service"):
            self.assertEqual(self.key, self.get(name, key_id).get_encoded())
            # To read it only.
            self.assert_status(403, self.manager.delete, self.context(name),
                               key_id)
        self.assert_status(403, self.get, "admin", key_id)
        self.share("user", key_id, [])
        self.assert_status(403, self.get, "other", key_id)

    def test_private_of_its_creator(self) -> None:
        key_id = self.store()
        self.share("user", key_id, ["other"], project_access=False)
        self.assert_status(403, self.get, "colleague", key_id)
        self.assert_status(403, self.manager.delete,
                           self.context("colleague"), key_id)
        for name in ("user", "other"):
            self.assertEqual(self.key, self.get(name, key_id).get_encoded())
        self.manager.delete(self.context("user"), key_id)

    def test_who_may_share(self) -> None:
        key_id = self.store()
        for name in OTHERS:
            self.assert_refused_share(name, key_id)
        self.share("colleague", key_id, ["other"])
        self.assertEqual(self.key, self.get("other", key_id).get_encoded())
        self.assert_refused_share("other", key_id)

    def assert_refused_share(self, name: str, key_id: str) -> None:
        # Castellan knows no such lists; the error is that of the client.
        error = self.assertRaises(client_exceptions.HTTPClientError,
                                  self.share, name, key_id, [])
        self.assertEqual(403, error.status_code)

    # Its consumers

    @selection.needs("consumers")
    def test_what_has_a_consumer_stays(self) -> None:
        key_id = self.store()
        for _once_more in range(2):
            self.manager.add_consumer(self.context("user"), key_id, CONSUMER)
        self.assertEqual([CONSUMER], self.get("user", key_id).consumers)
        # Of barbicanclient 7.1, castellan lets a ValueError pass.
        error = self.assertRaises(
            exception.KeyManagerError if hasattr(
                client_exceptions, "SecretHasConsumers") else ValueError,
            self.manager.delete, self.context("user"), key_id)
        self.assertIn("has consumers", str(error))
        self.manager.remove_consumer(self.context("user"), key_id, CONSUMER)
        self.assertEqual([], self.get("user", key_id).consumers)
        self.assertRaises(
            exception.ManagedObjectNotFoundError,
            self.manager.remove_consumer, self.context("user"), key_id,
            CONSUMER)
        self.manager.delete(self.context("user"), key_id)
        self.assert_gone(key_id)

    @selection.needs("consumers")
    def test_force(self) -> None:
        key_id = self.store()
        self.manager.add_consumer(self.context("user"), key_id, CONSUMER)
        self.manager.delete(self.context("user"), key_id, force=True)
        self.assert_gone(key_id)

    @selection.needs("consumers")
    def test_who_may_consume(self) -> None:
        key_id = self.store()
        for name in OTHERS:
            self.assert_status(403, self.manager.add_consumer,
                               self.context(name), key_id, CONSUMER)
        self.share("user", key_id, ["other"])
        self.manager.add_consumer(self.context("other"), key_id, CONSUMER)
        self.assertEqual([CONSUMER], self.get("user", key_id).consumers)

    # What it costs

    def cost(self, call: Callable[..., Any], *args: Any,
             **kwargs: Any) -> Tuple[int, Any]:
        """How many requests a call makes, and what it gives."""
        before = self.requests()
        found = call(*args, **kwargs)
        return self.requests() - before, found

    def test_requests(self) -> None:
        user = self.context("user")
        found = {}
        found["create"], nameless = self.cost(
            self.manager.create_key, user, "AES", 256)
        found["store"], named = self.cost(self.store, "of a test")
        for kind, key_id in (("nameless", nameless), ("named", named)):
            found[kind], _key = self.cost(self.get, "user", key_id)
            found[f"{kind} metadata"], _key = self.cost(
                self.get, "user", key_id, metadata_only=True)
            found[f"{kind} refused"], _error = self.cost(
                self.assert_status, 403, self.get, "other", key_id)
            found[f"{kind} payload refused"], _error = self.cost(
                self.assert_status, 403, self.get, "admin", key_id)
        found["delete"], _none = self.cost(self.manager.delete, user, named)
        found["gone"], _error = self.cost(
            self.assertRaises, exception.ManagedObjectNotFoundError,
            self.get, "user", named)
        found["consumer"], _none = self.cost(
            self.manager.add_consumer, user, nameless, CONSUMER)
        found["share"], _none = self.cost(
            self.share, "user", nameless, ["other"])
        self.assertEqual({**{
            "create": 4, "store": 2, "delete": 2, "gone": 2, "consumer": 2,
            "share": 2, "named": 3, "named metadata": 2, "named refused": 2,
            "named payload refused": 3}, **self.nameless}, found)

    # When it is away

    def test_away(self) -> None:
        key_id = self.store()
        away = self.make_manager(away=True)
        key = symmetric_key.SymmetricKey("AES", 256, self.key)
        for call, args in (
                (away.get, (key_id,)), (away.delete, (key_id,)),
                (away.store, (key,)), (away.create_key, ("AES", 256)),
                (away.add_consumer, (key_id, CONSUMER))):
            error = self.assertRaises(exception.KeyManagerError, call,
                                      self.context("user"), *args)
            self.assertIn("Unable to establish connection", str(error))
        self.assertEqual(self.key, self.get("user", key_id).get_encoded())
