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

Source: ``castellan.key_manager.barbican_key_manager``, 4.0 to 5.8;
``barbicanclient.v1.secrets`` (``_fill_lazy_properties``), 5.4 to 7.6.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Sequence, Tuple
import weakref

from castellan import key_manager
from castellan.key_manager import barbican_key_manager
from castellan.key_manager import migration
from oslo_config import cfg

#: What ``[key_manager] backend`` calls castellan's own.
_CASTELLANS = ("barbican", "castellan.key_manager.barbican_key_manager."
                           "BarbicanKeyManager")


class BarbicanKeyManager(
        barbican_key_manager.BarbicanKeyManager):  # type: ignore[misc]
    """Does what castellan's does."""

    def __init__(self, configuration: Any) -> None:
        super().__init__(configuration)
        #: the last request, and its client: a pair, for others that have
        #: this object may ask at the same time
        self._last: Optional[Tuple[Callable[[], Any], Any]] = None

    def _get_barbican_client(self, context: Any) -> Any:
        last = self._last
        if context and last is not None and last[0]() is context:
            return last[1]
        client = super()._get_barbican_client(context)
        # Not to keep a token longer than whoever has it.
        self._last = weakref.ref(context), client
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
