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

"""Barbican: configuration, and how it is served."""

from __future__ import annotations

from pathlib import Path
import socket
from typing import Any, Mapping

from lab import keystone, packages, web
from lab.folder import write

# One worker process creates the tables, so it meets no other doing so.
CONF = """\
[DEFAULT]
db_auto_create = true
host_href = {barbican}
[database]
connection = {database}
sqlite_synchronous = false
[simple_crypto_plugin]
kek = {kek}
"""

# For Barbican's own paste file, which leaves authtoken to the global
# configuration: under gunicorn that is not the one Barbican has read.
FILTER = """\
[filter:authtoken]
oslo_config_project = barbican
oslo_config_file = {conf}
"""


def configure(root: Path, state: Mapping[str, Any], database: str) -> None:
    # Barbican looks in ~/.barbican and /etc/barbican, nowhere else.
    conf = root / 'barbican/.barbican/barbican.conf'
    write(conf, CONF.format(database=database, **state)
          + keystone.AUTHTOKEN.format(
              keystone=state['keystone'], username='admin', project='admin',
              password=state['admin_password']))
    paste = packages.data_file(Path(state['venv']),
                               'etc/barbican/barbican-api-paste.ini')
    write(root / 'barbican/paste.ini', paste.replace(
        '[filter:authtoken]\n', FILTER.format(conf=conf)))


def start(root: Path, state: Mapping[str, Any], listener: socket.socket,
          env: Mapping[str, str], threads: int) -> None:
    web.serve(root, Path(state['venv']), 'barbican',
              f'paste.deploy:loadapp("config:{root}/barbican/paste.ini")',
              listener, {**env, 'HOME': str(root / 'barbican')}, threads)


def check(url: str, token: str) -> None:
    web.request('GET', url + '/v1/secrets', token=token).close()
