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
"""Castellan's key manager for Barbican, with as few requests as it takes.

Castellan makes a client for each call, which asks for the API's versions
first, and barbicanclient asks for the same metadata again with each attribute
of a secret that has no name, as Cinder's have none: 17 requests to read one.
Here the calls of a request have one client, and metadata are read once.

``[key_manager] backend`` of any service may name :class:`BarbicanKeyManager`.
Where Cinder's services do, volumes are registered as the consumers of their
keys. Barbican refuses to delete a secret that has any, also for Cinder's API,
which deletes the key before the volume: that is why castellan's will not do.

Source: ``castellan.key_manager.barbican_key_manager``, 4.0 to 5.8;
``barbicanclient.v1.secrets`` (``_fill_lazy_properties``), 5.4 to 7.6.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Optional, Sequence, Tuple
import weakref

from barbicanclient import exceptions as client_exceptions
from castellan.common import exception
from castellan import key_manager
from castellan.key_manager import barbican_key_manager
from castellan.key_manager import migration
from oslo_config import cfg

#: What ``[key_manager] backend`` calls castellan's own.
_CASTELLANS = ("barbican", "castellan.key_manager.barbican_key_manager."
                           "BarbicanKeyManager")


#: The consumer that a volume is, in Barbican's words.
_SERVICE, _RESOURCE_TYPE = "cinder", "volume"


class OfVolumes:
    """Of a key manager of castellan's: keys that volumes are registered for.

    Source: ``barbican.api.controllers.secrets`` (``on_delete``) of Barbican
    23, microversion 1.2; before, barbicanclient refuses it.
    """

    def register(self, context: Any, key_id: str, volume_id: str) -> None:
        """Make a volume a consumer of its key; once more does no harm.

        :raises KeyManagerError: Barbican cannot be asked, or says no
        :raises NotImplementedError: this Barbican has no consumers
        """
        self.add_consumer(  # type: ignore[attr-defined]
            context, key_id, _consumer(volume_id))

    def unregister(self, context: Any, key_id: str, volume_id: str) -> None:
        """Undo :meth:`register`.

        :raises KeyManagerError: likewise, and where it is none
        :raises NotImplementedError: likewise
        """
        self.remove_consumer(  # type: ignore[attr-defined]
            context, key_id, _consumer(volume_id))

    def delete(self, context: Any, managed_object_id: str, *args: Any,
               **kwargs: Any) -> None:
        """As castellan's, also where only volumes of Cinder's consume it.

        Whoever is configured to use this deletes the volume as well.
        """
        delete = super().delete  # type: ignore[misc]
        try:
            delete(context, managed_object_id, *args, **kwargs)
        # Of barbicanclient 7.1, castellan lets a ValueError pass.
        except (exception.KeyManagerError, ValueError) as error:
            if not (_is_of_consumers(error) and self._is_of_volumes(
                    context, managed_object_id)):
                raise
            delete(context, managed_object_id, force=True)

    def _is_of_volumes(self, context: Any, key_id: str) -> bool:
        found = self.get(  # type: ignore[attr-defined]
            context, key_id, metadata_only=True)
        # Castellan 4 does not tell them.
        return hasattr(found, "consumers") and all(
            (consumer["service"], consumer["resource_type"])
            == (_SERVICE, _RESOURCE_TYPE) for consumer in found.consumers)


def _consumer(volume_id: str) -> Dict[str, str]:
    return {"service": _SERVICE, "resource_type": _RESOURCE_TYPE,
            "resource_id": volume_id}


def _is_of_consumers(error: Exception) -> bool:
    """Whether a secret was not deleted for the consumers that it has."""
    known = getattr(client_exceptions, "SecretHasConsumers", ())
    return (isinstance(error.__context__, known)
            or isinstance(error, ValueError) and "consumers" in str(error))


class BarbicanKeyManager(
        OfVolumes,
        barbican_key_manager.BarbicanKeyManager):  # type: ignore[misc]
    """Does what castellan's does."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        #: the last request, and its client: a pair, for others that have
        #: this object may ask at the same time
        self._last: Optional[Tuple[Callable[[], Any], Any]] = None

    def _get_barbican_client(self, context: Any) -> Any:
        last = self._last
        # Of copies of a request the same.
        whose = getattr(context, "user_auth_plugin", None) or context
        if context and last is not None and last[0]() is whose:
            return last[1]
        client = super()._get_barbican_client(context)
        # Not to keep a token longer than whoever has it.
        self._last = weakref.ref(whose), client
        return client

    def _get_secret(self, context: Any, object_id: str) -> Any:
        secret = super()._get_secret(context, object_id)
        # Any attribute but the payload brings all of them.
        secret.status  # noqa: B018
        secret._fill_lazy_properties = _nothing
        return secret

    def share(self, context: Any, key_id: str, users: Sequence[str]) -> None:
        """Let *users* read a secret, besides those of its project.

        Castellan has no access lists.

        :param users: ids, in the place of those that it was shared with
        :raises HTTPClientError: the policy has somebody else do that
        """
        # The client reads the id of it, and releases before 6 take nothing
        # else for a secret.
        self._get_barbican_client(context).acls.create(
            f"/v1/secrets/{key_id}", users=list(users),
            project_access=True).submit()


def _nothing() -> None:
    """Ask for nothing again."""


def api(configuration: Any = None) -> Any:
    """The key manager that a service has; if it is Barbican's, this one.

    A backend of somebody else, also one made of castellan's, is as it is.

    :param configuration: the service's ``ConfigOpts``; ``cfg.CONF`` when None
    """
    conf = cfg.CONF if configuration is None else configuration
    conf.register_opts(key_manager.key_manager_opts, group="key_manager")
    if conf.key_manager.backend not in _CASTELLANS:
        return key_manager.API(conf)
    # As castellan does it, for volumes that have the fixed key of old.
    return migration.handle_migration(conf, BarbicanKeyManager(conf))


def of_request(context: Any) -> Any:
    """The service's key manager, as :func:`api` gives it.

    :param context: of a request; the same again for those that share a dict
        called ``kept``, so that they share a client as well
    """
    kept = getattr(context, "kept", None)
    if kept is None:
        return api(cfg.CONF)
    if "key_manager" not in kept:
        kept["key_manager"] = api(cfg.CONF)
    return kept["key_manager"]


def registers(manager: Any, configuration: Any = None) -> bool:
    """Whether volumes are to be registered with a service's key manager.

    That is where the operator has named this one, for all of Cinder's
    services; not where it took the place of castellan's for this process.

    :param manager: what :func:`api` gave
    :param configuration: likewise
    """
    conf = cfg.CONF if configuration is None else configuration
    return (conf.key_manager.backend not in _CASTELLANS
            and hasattr(manager, "register")
            and hasattr(manager, "add_consumer"))


def asks_keystone(configuration: Any) -> bool:
    """Whether the key manager tells users by their tokens.

    Castellan's for Barbican does, and what is made of it. Cinder's fixed key,
    or Vault, is asked by the service as itself.

    :param configuration: the service's ``ConfigOpts``
    """
    configuration.register_opts(key_manager.key_manager_opts,
                                group="key_manager")
    return "barbican" in configuration.key_manager.backend.lower()
