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

"""One lab: its folder, what its marker notes, and where its services are."""

from __future__ import annotations

import dataclasses
from pathlib import Path
import socket
import time
from typing import Any

from lab import keystone, people, process, web
from lab.folder import Failed

MARKER = '.cinder-lab'
CHECKOUT = Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Lab:
    """A folder, the state kept in its marker, and when to give up."""

    root: Path
    state: dict[str, Any]
    deadline: float
    tokens: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def venv(self) -> Path:
        return Path(self.state['venv'])

    @property
    def tempest(self) -> Path:
        """Return where Tempest is installed: beside the services."""
        return self.venv.parent / 'tempest'

    @property
    def environment(self) -> dict[str, str]:
        """All that a service may know: no proxy, nothing of the user.

        The first folder has a "sudo" that only runs its command: root needs
        no more, and so no configuration outside of the lab.
        """
        return {
            'PATH': f'{self.root}/bin:{self.venv}/bin:'
                    '/usr/sbin:/usr/bin:/sbin:/bin',
            'HOME': str(self.root), 'TMPDIR': str(self.root / 'tmp'),
            'LANG': 'C.UTF-8', 'PYTHONWARNINGS': 'ignore'}

    def log(self, service: str) -> Path:
        return self.root / f'log/{service}.log'

    def database(self, name: str) -> str:
        return (f'mysql+pymysql://root@localhost/{name}?charset=utf8mb3'
                f'&unix_socket={self.root}/mariadb/socket')

    def choose_port(self, name: str) -> None:
        """Note a free port, unless an earlier run has noted one."""
        ports = self.state.setdefault('ports', {})
        if name not in ports:
            with web.listen() as listener:
                ports[name] = listener.getsockname()[1]

    def listen(self, name: str) -> socket.socket:
        """Return a socket on the port that the others know."""
        port = self.state['ports'][name]
        try:
            return socket.create_server(('127.0.0.1', port), backlog=64)
        except OSError as error:
            raise Failed(f'Port {port} of {name}: {error}') from error

    def url(self, service: str) -> str:
        return f'http://127.0.0.1:{self.state["ports"][service]}'

    def account(self, name: str) -> str:
        """Return the section of a service that signs in by that name."""
        return keystone.AUTHTOKEN.format(
            keystone=self.url('keystone'), username=name, project='service',
            password=self.state['passwords'][name])

    def token(self, user: str = 'admin') -> str:
        """Return a token for the user's own project."""
        if user not in self.tokens:
            self.tokens[user] = keystone.sign_in(
                self.url('keystone'), user, self.state['passwords'][user],
                keystone.project(people.project(user)))
        return self.tokens[user]

    def run(self, name: str, *command: str | Path) -> None:
        process.run(self.log(name), self.deadline, *command,
                    env=self.marked(name))

    def marked(self, name: str) -> dict[str, str]:
        """Let process.stop() know a preparation as it does a service."""
        return {**self.environment, process.VARIABLE: f'{self.root}/{name}'}

    @property
    def shared(self) -> dict[str, Any]:
        """What the modules want that serve tools/key-manager as well."""
        return {'venv': self.state['venv'], 'kek': self.state['kek'],
                'admin_password': self.state['passwords']['admin'],
                'keystone': self.url('keystone'),
                'barbican': self.url('barbican')}

    def left(self) -> float:
        return max(self.deadline - time.monotonic(), 0.1)
