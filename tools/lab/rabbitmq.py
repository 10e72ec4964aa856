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

"""RabbitMQ: a node and a port mapper (epmd) of its own."""

from __future__ import annotations

import socket

from lab import process
from lab.folder import Failed, write
from lab.site import Lab

PORTS = ['rabbitmq', 'rabbitmq-distribution', 'epmd']
CONF = """\
listeners.tcp.default = 127.0.0.1:{port}
default_user = openstack
default_pass = {password}
vm_memory_high_watermark.absolute = 1GB
disk_free_limit.absolute = 50MB
log.console = true
log.console.level = warning
log.file = false
"""


def configure(lab: Lab) -> None:
    for name in PORTS:
        lab.choose_port(name)
    folder = lab.root / 'rabbitmq'
    write(folder / 'rabbitmq.conf', CONF.format(
        port=lab.state['ports']['rabbitmq'],
        password=lab.state['rabbitmq_password']))
    for empty in ['env.conf', 'enabled_plugins', 'advanced.config']:
        write(folder / empty, '[].\n' if empty != 'env.conf' else '')


def start(lab: Lab) -> None:
    folder, ports = lab.root / 'rabbitmq', lab.state['ports']
    # Debian's own command would change to the user rabbitmq.
    process.start(
        lab.root, 'rabbitmq', '/usr/lib/rabbitmq/bin/rabbitmq-server',
        cwd=folder, log=lab.log('rabbitmq'), env={
            **lab.environment,
            'HOME': str(folder),
            'ERL_EPMD_ADDRESS': '127.0.0.1',
            'ERL_EPMD_PORT': str(ports['epmd']),
            'RABBITMQ_NODENAME': 'lab@localhost',
            'RABBITMQ_DIST_PORT': str(ports['rabbitmq-distribution']),
            'RABBITMQ_CONF_ENV_FILE': str(folder / 'env.conf'),
            'RABBITMQ_CONFIG_FILE': str(folder / 'rabbitmq.conf'),
            'RABBITMQ_ADVANCED_CONFIG_FILE': str(folder / 'advanced.config'),
            'RABBITMQ_ENABLED_PLUGINS_FILE': str(folder / 'enabled_plugins'),
            'RABBITMQ_MNESIA_BASE': str(folder / 'mnesia'),
            'RABBITMQ_LOG_BASE': str(folder / 'log'),
            'RABBITMQ_PID_FILE': str(folder / 'pid'),
            # Schedulers that wait must not spin; two do for a lab.
            'RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS':
                '+sbwt none +sbwtdcpu none +sbwtdio none +S 2:2 '
                '-kernel inet_dist_use_interface {127,0,0,1}'})


def check(lab: Lab) -> None:
    port = lab.state['ports']['rabbitmq']
    with socket.create_connection(('127.0.0.1', port), timeout=10) as client:
        client.sendall(b'AMQP\0\0\x09\x01')
        if b'RabbitMQ' not in client.recv(1000):
            raise Failed('no greeting of a server')
