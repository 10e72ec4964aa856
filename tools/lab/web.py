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

"""HTTP on 127.0.0.1: applications served by gunicorn, and asked by us."""

from __future__ import annotations

import contextlib
import http.client
import json
from pathlib import Path
import random
import socket
from typing import Any, Mapping
import urllib.error
import urllib.request

from lab import process
from lab.folder import Failed, write

# The kernel gives clients ports from 32768 on: one of those may be in use
# by a connection when a service wants its old port back.
PORTS = range(20000, 32768)

# The services read sys.argv as their own options, so gunicorn has none: it
# takes gunicorn.conf.py from the current folder, after it has parsed its
# own.  Without setproctitle the command line stays what it was.
GUNICORN_CONF = """\
import sys
sys.argv[1:] = {arguments!r}
wsgi_app = {app!r}
bind = 'fd://{fd}'
worker_class = 'gthread'
threads = {threads}
timeout = 120
graceful_timeout = 3
worker_tmp_dir = '.'
control_socket_disable = True
"""
SERVE = """\
import sys
sys.modules['setproctitle'] = None
from gunicorn.app.wsgiapp import run
run()
"""


def listen(*wanted: int) -> socket.socket:
    """Listen on the first free port, the wanted one if it is.

    The service inherits the socket: nobody can take the port in between,
    and a client that comes early waits in the queue.
    """
    for port in [*wanted, *random.sample(PORTS, 100)]:
        with contextlib.suppress(OSError):
            return socket.create_server(('127.0.0.1', port), backlog=64)
    raise Failed(f'No free port from {PORTS[0]} to {PORTS[-1]}.')


def serve(root: Path, venv: Path, name: str, app: str,
          listener: socket.socket, env: Mapping[str, str], threads: int,
          arguments: tuple[str, ...] = ()) -> None:
    """Serve an application in the background, on a socket it inherits."""
    write(root / name / 'gunicorn.conf.py', GUNICORN_CONF.format(
        app=app, fd=listener.fileno(), threads=threads,
        arguments=list(arguments)))
    write(root / name / 'serve.py', SERVE)
    with listener:
        process.start(root, name, venv / 'bin/python',
                      root / name / 'serve.py', env=env, cwd=root / name,
                      log=root / f'log/{name}.log', fds=[listener.fileno()])


def request(method: str, url: str, body: object = None, token: str = '',
            timeout: float = 60) -> http.client.HTTPResponse:
    headers = {'Content-Type': 'application/json', 'X-Auth-Token': token}
    data = json.dumps(body).encode() if body is not None else None
    asked = urllib.request.Request(url, data, headers, method=method)
    # No proxy of the environment may come between us and 127.0.0.1.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        answer: http.client.HTTPResponse = opener.open(asked, timeout=timeout)
    except urllib.error.HTTPError as error:
        error.msg += f' ({method} {url}: {error.read(300)!r})'
        raise
    except urllib.error.URLError as error:
        raise urllib.error.URLError(f'{url}: {error.reason}') from error
    return answer


def ask(method: str, url: str, body: object = None, token: str = '',
        timeout: float = 60) -> Any:
    """Send a request; return the JSON of the answer, None if it has none."""
    with request(method, url, body, token, timeout) as answer:
        text = answer.read()
    return json.loads(text) if text else None
