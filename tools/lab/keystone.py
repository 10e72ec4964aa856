# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.

"""Keystone: configuration, tables and catalog, users, signing in."""

from __future__ import annotations

import base64
import os
from pathlib import Path
import socket
from typing import Any, Mapping

from lab import web
from lab.folder import write
from lab.process import run

# Few rounds for passwords that live as long as a test run.
CONF = """\
[database]
connection = {database}
sqlite_synchronous = false
[cache]
backend = oslo_cache.dict
[identity]
password_hash_rounds = 4
[fernet_tokens]
key_repository = {dir}/keystone/fernet-keys
[fernet_receipts]
key_repository = {dir}/keystone/fernet-keys
"""

# What a service needs to check the tokens it is shown.
AUTHTOKEN = """\
[keystone_authtoken]
auth_type = password
www_authenticate_uri = {keystone}/v3
auth_url = {keystone}/v3
username = {username}
password = {password}
project_name = {project}
user_domain_id = default
user_domain_name = Default
project_domain_id = default
project_domain_name = Default
"""


def options(text: str) -> str:
    """Return the options of a section, without its header."""
    return text.partition('\n')[2]


def random_key() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


def configure(root: Path, database: str) -> None:
    for number in '01':  # what "keystone-manage fernet_setup" takes 3 s for
        key = root / 'keystone/fernet-keys' / number
        if not key.exists():
            write(key, random_key())
    write(root / 'keystone/keystone.conf',
          CONF.format(dir=root, database=database))


def environment(root: Path, env: Mapping[str, str]) -> dict[str, str]:
    return {**env, 'HOME': str(root / 'keystone'),
            'OS_KEYSTONE_CONFIG_FILES': str(root / 'keystone/keystone.conf')}


def manage(root: Path, state: Mapping[str, Any], env: Mapping[str, str],
           deadline: float, step: str) -> None:
    run(root / 'log/keystone-manage.log', deadline,
        Path(state['venv'], 'bin/python'),
        Path(state['venv'], 'bin/keystone-manage'), '--config-file',
        root / 'keystone/keystone.conf', step, env=environment(root, env))


def bootstrap(root: Path, state: Mapping[str, Any], env: Mapping[str, str],
              deadline: float) -> None:
    """Make or update the administrator and the catalog."""
    # Through the environment: everybody may read a command line.
    variables = {'OS_BOOTSTRAP_PASSWORD': state['admin_password'],
                 'OS_BOOTSTRAP_REGION_ID': 'RegionOne'}
    for kind in ['PUBLIC', 'INTERNAL', 'ADMIN']:
        variables[f'OS_BOOTSTRAP_{kind}_URL'] = state['keystone'] + '/v3'
    manage(root, state, {**env, **variables}, deadline, 'bootstrap')


def start(root: Path, state: Mapping[str, Any], listener: socket.socket,
          env: Mapping[str, str], threads: int) -> None:
    web.serve(root, Path(state['venv']), 'keystone',
              'keystone.wsgi.api:application', listener,
              environment(root, env), threads)


def sign_in(url: str, user: str, password: str, scope: object) -> str:
    who = {'name': user, 'password': password, 'domain': {'id': 'default'}}
    auth = {'identity': {'methods': ['password'], 'password': {'user': who}},
            'scope': scope}
    with web.request('POST', url + '/v3/auth/tokens', {'auth': auth}) as told:
        return str(told.headers['X-Subject-Token'])


def project(name: str) -> object:
    """Return the scope of a project, for sign_in()."""
    return {'project': {'name': name, 'domain': {'id': 'default'}}}


class Administrator:
    """The bootstrapped administrator, who makes everything else."""

    def __init__(self, url: str, password: str) -> None:
        self.url = url + '/v3/'
        self.token = sign_in(url, 'admin', password, {'system': {'all': True}})

    def make(self, kind: str, **about: object) -> str:
        """Make a user, project, role, service or endpoint; return its id."""
        made = web.ask('POST', f'{self.url}{kind}s', {kind: about}, self.token)
        return str(made[kind]['id'])

    def find(self, kind: str, name: str) -> str:
        found = web.ask('GET', f'{self.url}{kind}s?name={name}',
                        token=self.token)
        return str(found[f'{kind}s'][0]['id'])

    def grant(self, project: str, user: str, *roles: str) -> None:
        for role in roles:
            web.ask('PUT', f'{self.url}projects/{project}/users/{user}'
                    f'/roles/{role}', token=self.token)
