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


"""The users that tools/key-manager has made, each with castellan's view.

Their projects and roles are in ``tools/lab/people.py``: ``user``,
``colleague`` and ``reader`` share a project, ``other`` has another, ``admin``
is an administrator of a third, ``service`` a service.
"""

from __future__ import annotations

import functools
import os

from castellan.common import utils
from castellan.key_manager import barbican_key_manager
from keystoneauth1 import identity
from keystoneauth1 import session
from oslo_config import cfg
from oslo_context import context

NAMES = ("admin", "user", "colleague", "reader", "other", "service")


def config_file(name):
    """What castellan reads to be a user; it has the user's password."""
    return os.path.join(os.environ["RBD_LUKS_TEST_KEYS"], "people",
                        f"{name}.conf")


class Person:
    """A user with a token, as the API of a service has one."""

    def __init__(self, name):
        self.name = name
        self.conf = cfg.ConfigOpts()
        self.conf([], default_config_files=[config_file(name)])
        self.manager = barbican_key_manager.BarbicanKeyManager(self.conf)
        found = utils.credential_factory(conf=self.conf)
        self._auth = identity.Password(
            found.auth_url, username=found.username, password=found.password,
            user_domain_id=found.user_domain_id,
            project_name=found.project_name,
            project_domain_id=found.project_domain_id)
        access = self._auth.get_access(session.Session())
        self.user_id, self.project_id = access.user_id, access.project_id
        self.roles = access.role_names
        self.token = access.auth_token

    @property
    def context(self):
        """That of a request which this user makes."""
        return context.RequestContext(
            user_id=self.user_id, project_id=self.project_id,
            auth_token=self.token, roles=self.roles)


@functools.lru_cache(None)
def person(name):
    """One of :data:`NAMES`, signed in once."""
    return Person(name)
