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

"""MariaDB: one server on a socket of its folder, without a network port.

Its root has no password: the folder keeps other users from the socket.
"""

from __future__ import annotations

import socket
from typing import Callable

from lab import nova, process
from lab.folder import Failed, write
from lab.site import Lab

DATABASES = ['keystone', 'barbican', 'glance', 'cinder']

# Fit for a lab: little memory, and a commit waits for no disk; it survives
# the end of the server but not that of the machine.
CONF = """\
[mariadbd]
user = root
datadir = {dir}/data
socket = {dir}/socket
pid-file = {dir}/pid
init-file = {dir}/init.sql
tmpdir = {dir}/tmp
skip-networking
skip-name-resolve
max_connections = 500
character-set-server = utf8mb3
collation-server = utf8mb3_general_ci
performance_schema = off
innodb_buffer_pool_size = 128M
innodb_log_file_size = 32M
innodb_flush_log_at_trx_commit = 2
innodb_flush_method = nosync
innodb_doublewrite = off
"""
SOCKET_PATH_MAX = 107


def configure(lab: Lab) -> None:
    folder = lab.root / 'mariadb'
    if len(f'{folder}/socket') > SOCKET_PATH_MAX:
        raise Failed(f'The path of {lab.root} is too long for a socket in it')
    (folder / 'tmp').mkdir(parents=True, exist_ok=True)
    write(folder / 'my.cnf', CONF.format(dir=folder))
    write(folder / 'init.sql', ''.join(
        f'CREATE DATABASE IF NOT EXISTS {name};\n' for name in [
            *DATABASES, *(nova.DATABASES if lab.state.get('nova') else [])]))


def prepare(lab: Lab) -> None:
    folder = lab.root / 'mariadb'
    lab.run('mariadb-install-db', 'mariadb-install-db',
            f'--defaults-file={folder}/my.cnf',
            '--auth-root-authentication-method=normal', '--skip-test-db')


def make_tables(lab: Lab, name: str, make: Callable[[], None]) -> None:
    """Fill the database of a service with its tables.

    They are kept beside the metadata of the service's package, to be copied
    by the next lab: that takes a second, the migrations of all much more.
    """
    info, = lab.venv.glob(f'lib/*/site-packages/{name}-*.dist-info')
    kept, socket = info / 'lab.sql', f'--socket={lab.root}/mariadb/socket'
    if kept.exists():
        lab.run(f'{name}-tables', 'mariadb', socket, name, '-e',
                f'source {kept}')
    else:
        make()
        fresh = kept.with_suffix('.new')
        lab.run(f'{name}-tables', 'mariadb-dump', socket,
                f'--result-file={fresh}', name)
        fresh.replace(kept)


def start(lab: Lab) -> None:
    folder = lab.root / 'mariadb'
    process.start(lab.root, 'mariadb', 'mariadbd',
                  f'--defaults-file={folder}/my.cnf', env=lab.environment,
                  cwd=folder, log=lab.log('mariadb'))


def check(lab: Lab) -> None:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(lab.root / 'mariadb/socket'))
        if b'MariaDB' not in client.recv(100):
            raise Failed('no greeting of a server')
