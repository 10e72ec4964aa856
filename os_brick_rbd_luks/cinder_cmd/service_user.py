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
"""Cinder's own user, who asks the key manager for an operator.

Barbican gives a secret to the project that made it. So a token is asked for
that is the volume's project's: a user with a role there may do with its keys
what its members may. Without one, the service's own project owns what is
made.

Source: ``cinder.keymgr.migration`` (``_migrate_keys``: the credentials are
those of ``[keystone_authtoken]``), 21 to 29.
"""

from __future__ import annotations

import copy
import logging
import time
from typing import Any, Callable, Dict, Optional, Tuple

from cinder import context as cinder_context
from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from oslo_config import cfg

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import barbican
from os_brick_rbd_luks.services import threads

LOG = logging.getLogger(__name__)

_GROUP = "keystone_authtoken"

#: Options of a password that say what it is for.
_SCOPE = ("project_id", "project_name", "project_domain_id",
          "project_domain_name", "domain_id", "domain_name", "system_scope",
          "trust_id", "default_domain_id", "default_domain_name")


#: Seconds for which a token is used: less than any that Keystone gives.
_TOKEN = 300


class Request(cinder_context.RequestContext):  # type: ignore[misc]
    """One that Cinder's objects can copy, as they do for an administrator.

    What signs the user in has locks, and one token for all.

    :ivar kept: what its copies share
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kept: Dict[str, Any] = {}

    def __deepcopy__(self, memo: Dict[int, Any]) -> Request:
        memo[id(self.user_auth_plugin)] = self.user_auth_plugin
        memo[id(self.kept)] = self.kept
        made = type(self).__new__(type(self))
        memo[id(self)] = made
        made.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return made


class Contexts:
    """His requests, with one token for each project, however many ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Ask for nothing yet."""
        self._clock, self._lock = clock, threads.lock()
        self._known: Dict[Optional[str], Tuple[float, Any]] = {}

    def __call__(self, project_id: Optional[str] = None) -> Any:
        """A request for whoever asks; a refusal is kept, too.

        :raises KeyForbidden: see :func:`context`, as for the others
        """
        with self._lock:
            until, found = self._known.get(project_id, (0.0, None))
            if found is None or until < self._clock():
                try:
                    found = context(project_id)
                except exception.KeyForbidden as error:
                    found = error
                self._known[project_id] = self._clock() + _TOKEN, found
        if isinstance(found, exception.KeyForbidden):
            raise exception.KeyForbidden(
                source=found.source, reason=found.reason) from found
        # The database keeps in each what it is about just then.
        return copy.copy(found)


def context(project_id: Optional[str] = None) -> Any:
    """A request of Cinder's user.

    :param project_id: in this project; None: in the service's own
    :raises KeyForbidden: he has no role in that project
    :raises KeyManagerUnreachable: Keystone does not answer
    :raises PassphraseUnavailable: the configuration has no such user
    """
    if not barbican.asks_keystone(cfg.CONF):
        return cinder_context.get_admin_context()
    source = (f"a token for project {project_id}" if project_id
              else "a token of Cinder's user")
    try:
        plugin = _plugin(project_id)
        if plugin is None:
            raise exception.PassphraseUnavailable(
                source=source, reason=f"[{_GROUP}] has no auth_type")
        access = plugin.get_access(loading.load_session_from_conf_options(
            cfg.CONF, _GROUP, auth=plugin))
    except keystone_exceptions.Unauthorized as error:
        raise exception.KeyForbidden(
            source=source,
            reason="Keystone refuses it: give Cinder's user a role in the "
                   "project (an inherited one on its domain serves all), or "
                   "see --key-owner") from error
    except keystone_exceptions.ClientException as error:
        raise exception.KeyManagerUnreachable(
            source=source, reason=f"Keystone: {type(error).__name__}"
        ) from error
    # To the database, who runs this is an administrator in any case.
    return Request(
        user_id=access.user_id, project_id=access.project_id, is_admin=True,
        auth_token=access.auth_token, roles=[*access.role_names],
        user_auth_plugin=plugin, overwrite=False)


def _plugin(project_id: Optional[str]) -> Any:
    """What signs him in; None if nobody has configured it."""
    conf = cfg.CONF
    loading.register_auth_conf_options(conf, _GROUP)
    for option in loading.get_session_conf_options():
        try:
            conf.register_opt(option, group=_GROUP)
        except cfg.DuplicateOptError:
            # keystonemiddleware has options of these names.
            LOG.debug("%s is known already", option.name)
    scope = {}
    if project_id:
        group = conf[_GROUP].auth_section or _GROUP
        name = conf[group].auth_type
        known = ({option.dest for option in
                  loading.get_plugin_loader(name).get_options()}
                 if name else set())
        scope = {**dict.fromkeys(known & set(_SCOPE)),
                 "project_id": project_id}
    return loading.load_auth_from_conf_options(conf, _GROUP, **scope)
