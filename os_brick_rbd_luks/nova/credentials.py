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

"""Nova's own credentials, for a key that a request's do not get.

Who restarts somebody's server may not read that tenant's keys, and when a host
resumes its servers nobody asks at all. Where the operator lets Nova's service
user read the keys of volumes (Cinder's ``rbd_luks_key_readers``), nova-compute
may ask as that one.

Source: ``nova.conf.service_token`` (``[service_user]``); castellan's
``barbican_key_manager``, which takes the plugin of a context or its token.
"""

from __future__ import annotations

import logging
from typing import Any, Optional

from keystoneauth1 import exceptions as keystone_exceptions
from keystoneauth1 import loading
from nova import conf
from nova.conf import service_token
from nova import context as nova_context
from oslo_config import cfg

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.services import opts

LOG = logging.getLogger(__name__)


def are_in(context: Any) -> bool:
    """Whether somebody asks: a host starts its servers without a request."""
    return bool(getattr(context, "auth_token", None))


def own(context: Any, error: Exception) -> Optional[Any]:
    """A context of the service user; None if it is not to ask, or cannot.

    :param context: of the request
    :param error: what came of that
    """
    if not opts.compute_options(conf.CONF).key_access_by_service_user:
        return None
    if not isinstance(error, exception.KeyForbidden) and are_in(context):
        return None
    group = service_token.SERVICE_USER_GROUP
    try:
        return _service_user(group)
    except (keystone_exceptions.ClientException, cfg.Error, OSError,
            ValueError) as broken:
        # Whoever asks has something else to say, and the host may have all
        # that it needs.
        LOG.warning("Nova's service user cannot ask for a key, see "
                    "[%s] of nova.conf, and Keystone: %s", group, broken)
        return None


def _service_user(group: str) -> Optional[Any]:
    """Its context; None where there is no such user."""
    plugin = loading.load_auth_from_conf_options(conf.CONF, group)
    if plugin is None:
        return None
    session = loading.load_session_from_conf_options(conf.CONF, group,
                                                     auth=plugin)
    # Older castellan reads the token, and the project for it.
    return nova_context.RequestContext(
        user_auth_plugin=plugin, auth_token=session.get_token(),
        project_id=session.get_project_id())
