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

"""Key managers of castellan's, which a config file may name as its backend.

:class:`MemoryKeyManager` gives anybody what a test put into :data:`SECRETS`.
:class:`BarbicanKeyManager` asks a Barbican in memory, and raises what
castellan's backend for Barbican raises. ``contracts.keymanager`` has the
tests that it and a real Barbican pass.

Source: ``castellan.key_manager.barbican_key_manager`` of castellan 5.8.
"""

from __future__ import annotations

import copy
import os
import time
from typing import Any, Callable, Dict, Optional, Set
import uuid

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception as castellan_exception
from castellan.common.objects import symmetric_key
from castellan.key_manager import key_manager
from keystoneauth1 import exceptions as keystone_exceptions

from os_brick_rbd_luks.tests.fakes import barbican

#: For ``[key_manager] backend``.
BACKEND = f"{__name__}.MemoryKeyManager"

#: Key id -> managed object, or the error to raise.
SECRETS: Dict[str, Any] = {}


class MemoryKeyManager(key_manager.KeyManager):  # type: ignore[misc]
    """Gives what is in :data:`SECRETS`."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        self.context = None

    def get(self, context: Any, managed_object_id: str,
            metadata_only: bool = False) -> Any:
        if context is None:
            raise castellan_exception.Forbidden()
        if managed_object_id not in SECRETS:
            raise castellan_exception.ManagedObjectNotFoundError(
                uuid=managed_object_id)
        found = SECRETS[managed_object_id]
        if isinstance(found, Exception):
            raise found
        return found

    def _refuse(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError("this key manager is for reading")

    add_consumer = create_key = create_key_pair = delete = _refuse
    remove_consumer = store = _refuse
    list = _refuse


CONFIG = f"""\
[key_manager]
backend = {BACKEND}
auth_type = token
token = token-of-the-tests
"""

#: The Barbican that a configuration file reaches.
SERVER = barbican.Barbican()

#: For ``[key_manager] backend``.
BARBICAN_BACKEND = f"{__name__}.BarbicanKeyManager"

#: Bits that Barbican's simple crypto plugin makes keys of.
_LENGTHS = (64, 128, 192, 256)


def _request(context: Any) -> barbican.Request:
    """Who asks; all but castellan's own check comes by way of a client."""
    if not context:
        raise castellan_exception.Forbidden(
            "User is not authorized to use key manager.")
    if not getattr(context, "auth_token", None):
        raise _translated(castellan_exception.Forbidden(
            reason="missing auth_token"))
    return barbican.Request(context)


def _translated(error: Exception, key_id: Optional[str] = None) -> Exception:
    """What castellan makes of an error, which stays its context."""
    made: Exception = castellan_exception.KeyManagerError(reason=error)
    if (isinstance(error, client_exceptions.HTTPClientError)
            and error.status_code == 404):
        made = castellan_exception.ManagedObjectNotFoundError(uuid=key_id)
    made.__context__ = error
    return made


def _has_consumers() -> Exception:
    """What deleting a secret in use raises.

    barbicanclient 7.1 has no class of its own for it, and castellan lets a
    ValueError pass as it is.
    """
    known: Any = getattr(client_exceptions, "SecretHasConsumers", None)
    error: Exception = known() if known else ValueError(
        "Secret has consumers!")
    return error


class BarbicanKeyManager(key_manager.KeyManager):  # type: ignore[misc]
    """Castellan's interface to a :class:`Barbican`."""

    def __init__(self, configuration: Any = None,
                 server: Optional[barbican.Barbican] = None) -> None:
        super().__init__(configuration)
        self.server = server or SERVER

    def _call(self, name: str, context: Any, work: Callable[..., Any],
              key_id: Optional[str] = None) -> Any:
        """Do what a call of castellan's does.

        :param work: called with who asks, and with the secret if *key_id*
            is one
        """
        server = self.server
        request = _request(context)
        server.calls.append(name)
        time.sleep(server.delay)
        if server.on_call is not None:
            server.on_call(name)
        try:
            met = [fault.meet(name) for fault in server.faults]
            for fault in met:
                next(fault)
            server.requests += barbican.REQUESTS["versions"]
            if key_id is None:
                done = work(request)
            else:
                done = work(request, self._find(key_id))
            for fault in met:
                next(fault, None)
        except (client_exceptions.BarbicanException,
                client_exceptions.HTTPError,
                keystone_exceptions.ConnectFailure) as error:
            # As castellan does, which names no cause.
            raise _translated(error, key_id)  # noqa: B904
        return done

    def _find(self, key_id: str) -> barbican.Secret:
        try:
            uuid.UUID(key_id)
        except ValueError:
            # Barbican's client lets this through.
            raise ValueError("Secret incorrectly specified.") from None
        if key_id not in self.server.secrets:
            self._pay("consumer")
            raise client_exceptions.HTTPClientError(
                "Not Found: Secret not found.", 404)
        return self.server.secrets[key_id]

    def _pay(self, what: str) -> None:
        """Count the requests of a call; its first is counted already."""
        self.server.requests += (
            barbican.REQUESTS[what] - barbican.REQUESTS["versions"])

    def _keep(self, request: barbican.Request, managed: Any) -> str:
        key_id = str(uuid.uuid4())
        managed = copy.copy(managed)
        managed._id, managed._created = key_id, int(time.time())
        self.server.secrets[key_id] = barbican.Secret(
            request.user_id, request.project_id, managed)
        return key_id

    # Castellan's

    def store(self, context: Any, managed_object: Any,
              expiration: Optional[str] = None) -> Any:
        """See :meth:`castellan.key_manager.key_manager.KeyManager.store`."""
        _refuse_expiration(expiration)

        def work(request: barbican.Request) -> str:
            if not managed_object.get_encoded():
                raise client_exceptions.PayloadException(
                    "Invalid Payload: Cannot Be Empty String")
            self._pay("store")
            request.require("store")
            return self._keep(request, managed_object)

        return self._call("store", context, work)

    def create_key(self, context: Any, algorithm: str, length: int,
                   expiration: Optional[str] = None,
                   name: Optional[str] = None) -> Any:
        """See ``create_key`` there; its quarter of a second is left out."""
        _refuse_expiration(expiration)

        def work(request: barbican.Request) -> str:
            self.server.requests += 1  # the order
            request.require("create_key")
            if length % 8:
                raise client_exceptions.HTTPClientError(
                    "Bad Request: Provided field value is not supported", 400)
            self.server.requests += 1  # its state
            if length not in _LENGTHS or algorithm.lower() != "aes":
                # And castellan leaves the order.
                raise castellan_exception.KeyManagerError(
                    reason="Order is in ERROR status")
            self.server.requests += 1  # its deletion
            return self._keep(request, symmetric_key.SymmetricKey(
                algorithm, length, os.urandom(length // 8), name=name))

        return self._call("create_key", context, work)

    def get(self, context: Any, managed_object_id: str,
            metadata_only: bool = False) -> Any:
        """See ``get`` there."""
        _refuse_no_id(managed_object_id)

        def work(request: barbican.Request, secret: barbican.Secret) -> Any:
            named = "a named" if secret.managed.name else "a nameless"
            if not request.may("get", secret):
                self._pay("metadata of a named secret")
                raise barbican.refused("get")
            if not metadata_only and not request.may("decrypt", secret):
                self._pay(f"a payload refused, of {named} secret")
                raise barbican.refused("decrypt")
            self._pay(f"metadata of {named} secret" if metadata_only
                      else f"{named} secret")
            found = copy.copy(secret.managed)
            found._consumers = copy.deepcopy(secret.consumers)
            if metadata_only:
                for attribute in ("_key", "_data", "_passphrase"):
                    if hasattr(found, attribute):
                        setattr(found, attribute, None)
            return found

        return self._call("get", context, work, managed_object_id)

    def delete(self, context: Any, managed_object_id: str,
               force: bool = False) -> None:
        """See ``delete`` there."""
        _refuse_no_id(managed_object_id)

        def work(request: barbican.Request, secret: barbican.Secret) -> None:
            self._pay("delete")
            request.require("delete", secret)
            if secret.consumers and not force:
                raise _has_consumers()
            del self.server.secrets[managed_object_id]

        self._call("delete", context, work, managed_object_id)

    def add_consumer(self, context: Any, managed_object_id: str,
                     consumer_data: Dict[str, str]) -> None:
        """See ``add_consumer`` there; once more is as good as once."""
        def work(request: barbican.Request, secret: barbican.Secret) -> None:
            self._pay("consumer")
            request.require("consumer", secret)
            if consumer_data not in secret.consumers:
                secret.consumers.append(dict(consumer_data))

        self._call("add_consumer", context, work, managed_object_id)

    def remove_consumer(self, context: Any, managed_object_id: str,
                        consumer_data: Dict[str, str]) -> None:
        """See ``remove_consumer`` there."""
        def work(request: barbican.Request, secret: barbican.Secret) -> None:
            self._pay("consumer")
            request.require("consumer", secret)
            if consumer_data not in secret.consumers:
                raise client_exceptions.HTTPClientError(
                    "Not Found: Consumer not found.", 404)
            secret.consumers.remove(dict(consumer_data))

        self._call("remove_consumer", context, work, managed_object_id)

    # Not castellan's: its users ask barbicanclient's ``acls`` for that.

    def share(self, context: Any, managed_object_id: str,
              users: Set[str], project_access: bool = True) -> None:
        """Replace a secret's ACL.

        :param users: ids of users who may read it, of whatever project
        :param project_access: False: of the project, only its creator may
        :raises HTTPClientError: as barbicanclient does
        """
        def work(request: barbican.Request, secret: barbican.Secret) -> None:
            self._pay("share")
            request.require("share", secret)
            secret.readers = set(users)
            secret.project_access = project_access

        try:
            self._call("share", context, work, managed_object_id)
        except castellan_exception.CastellanException as error:
            if isinstance(error.__context__, client_exceptions.HTTPError):
                raise error.__context__ from None
            raise

    def _not_there(self, *_arguments: Any, **_options: Any) -> None:
        raise NotImplementedError("nobody here asks for that")

    create_key_pair = list = _not_there


def _refuse_no_id(key_id: Optional[str]) -> None:
    if not key_id:
        raise castellan_exception.KeyManagerError(
            "key identifier not provided")


def _refuse_expiration(expiration: Optional[str]) -> None:
    if expiration is not None:
        raise NotImplementedError("no secret here expires")
