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

"""Nova with Placement: one compute host, its libvirtd, and servers without
networks.

nova-compute is this project's or the unmodified one; libvirtd is one of
tools/libvirt, which the lab's verbs restart, and whose host they "reboot".
"""

from __future__ import annotations

import base64
import datetime
from pathlib import Path
import subprocess
from typing import Any

from lab import barbican, keystone, packages, privileges, process, web
from lab.folder import Failed, write
from lab.site import CHECKOUT, Lab

HOST = 'lab'
SERVICES = ['placement', 'network', 'libvirt', 'nova-api', 'nova-conductor',
            'nova-scheduler', 'nova-compute']
ACCOUNTS = ['nova', 'placement']
DATABASES = ['placement', 'nova_api', 'nova_cell0', 'nova']
COMPUTES = {'ours': ['-m', 'os_brick_rbd_luks.nova'],
            'upstream': ['-c', 'import sys; sys.argv[0] = "nova-compute"; '
                         'from nova.cmd import compute; compute.main()']}
REPORT, DOWN = 3, 120
LIBVIRT = CHECKOUT / 'tools/libvirt'

CONF = """\
[DEFAULT]
debug = true
log_options = false
transport_url = rabbit://openstack:{rabbitmq_password}@127.0.0.1:{rabbitmq}/
host = {host}
my_ip = 127.0.0.1
state_path = {dir}
instances_path = {dir}/instances
compute_driver = libvirt.LibvirtDriver
rootwrap_config = {dir}/rootwrap.conf
report_interval = {report}
service_down_time = {down}
reserved_host_memory_mb = 0
initial_cpu_allocation_ratio = 16
initial_ram_allocation_ratio = 4
initial_disk_allocation_ratio = 16
running_deleted_instance_poll_interval = 0
shutdown_timeout = 2
graceful_shutdown_timeout = 3
sync_power_state_interval = -1
resume_guests_state_on_host_boot = true
block_device_allocate_retries_interval = 1
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
osapi_compute_workers = 1
[api]
auth_strategy = keystone
[conductor]
workers = 1
[scheduler]
workers = 1
discover_hosts_in_cells_interval = 5
[quota]
instances = -1
cores = -1
ram = -1
[database]
connection = {database}
[api_database]
connection = {api_database}
[glance]
endpoint_override = {glance}
[cinder]
endpoint_template = {cinder}/v3/%(project_id)s
[neutron]
endpoint_override = {network}
{neutron}
[placement]
endpoint_override = {placement}
{as_nova}
[service_user]
send_service_user_token = true
{as_nova}
[libvirt]
virt_type = qemu
cpu_mode = none
connection_uri = {libvirt}
rbd_user = cinder
rbd_secret_uuid = {secret_uuid}
inject_partition = -2
[vnc]
enabled = false
[oslo_concurrency]
lock_path = {dir}/locks
[oslo_messaging_notifications]
driver = noop
"""

PLACEMENT_CONF = """\
[api]
auth_strategy = keystone
[placement_database]
connection = {database}
"""

#: What Nova asks of Neutron for servers without networks.
NETWORK = """\
import json


def application(environ, start_response):
    path = environ['PATH_INFO'].rstrip('/').rpartition('/')[2]
    found = {'': {'versions': [{'id': 'v2.0', 'status': 'CURRENT',
                                'links': []}]},
             'quotas': {'quota': {}}}.get(path, {path.replace('-', '_'): []})
    body = json.dumps(found).encode()
    start_response('200 OK', [('Content-Type', 'application/json'),
                              ('Content-Length', str(len(body)))])
    return [body]
"""

SECRET = """\
<secret ephemeral="no" private="no">
  <uuid>{uuid}</uuid>
  <usage type="ceph"><name>client.cinder secret</name></usage>
</secret>
"""


def uri(lab: Lab) -> str:
    socket = lab.root / 'libvirt/run/libvirt-sock'
    return f'qemu+unix:///system?socket={socket}'


def configure(lab: Lab) -> None:
    folder = lab.root / 'nova'
    for name in ['instances', 'locks']:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write(folder / 'api-paste.ini', packages.data_file(
        lab.venv, 'etc/nova/api-paste.ini'))
    privileges.configure(lab, 'nova')
    as_nova = keystone.options(lab.account('nova'))
    values: dict[str, Any] = {
        'dir': folder, 'host': HOST, 'report': REPORT, 'down': DOWN,
        'rabbitmq': lab.state['ports']['rabbitmq'],
        'rabbitmq_password': lab.state['rabbitmq_password'],
        'database': lab.database('nova'),
        'api_database': lab.database('nova_api'),
        'glance': lab.url('glance'), 'cinder': lab.url('cinder-api'),
        'network': lab.url('network'), 'placement': lab.url('placement'),
        'neutron': as_nova, 'as_nova': as_nova, 'libvirt': uri(lab),
        'secret_uuid': lab.state['secret_uuid']}
    write(folder / 'nova.conf', CONF.format(**values)
          + lab.account('nova') + barbican.CLIENT.format(**lab.shared))
    write(folder / 'extra/nova.conf', '')
    write(lab.root / 'placement/placement.conf', PLACEMENT_CONF.format(
        database=lab.database('placement')) + lab.account('placement'))
    write(lab.root / 'network/network.py', NETWORK)


def tell(lab: Lab) -> dict[str, str]:
    """What tests want to know."""
    return {'compute': lab.state['nova'], 'host': HOST, 'libvirt': uri(lab),
            'conf': str(lab.root / 'nova/nova.conf'),
            'extra_conf': str(lab.root / 'nova/extra/nova.conf'),
            'instances': str(lab.root / 'nova/instances')}


def manage(lab: Lab, *words: str) -> None:
    lab.run('nova-manage', lab.venv / 'bin/nova-manage', '--config-file',
            lab.root / 'nova/nova.conf', *words)


def make_tables(lab: Lab) -> None:
    lab.run('placement-manage', lab.venv / 'bin/placement-manage',
            '--config-file', lab.root / 'placement/placement.conf', 'db',
            'sync')
    manage(lab, 'api_db', 'sync')
    manage(lab, 'cell_v2', 'map_cell0', '--database_connection',
           lab.database('nova_cell0'))
    manage(lab, 'db', 'sync')
    manage(lab, 'cell_v2', 'create_cell', '--name', 'cell1')


def start_placement(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'placement',
              'placement.wsgi.api:application', lab.listen('placement'), {
                  **lab.environment, 'OS_PLACEMENT_CONFIG_DIR':
                  str(lab.root / 'placement')}, 4)


def check_placement(lab: Lab) -> None:
    web.request('GET', lab.url('placement') + '/').close()


def start_network(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'network', 'network:application',
              lab.listen('network'), {
                  **lab.environment, 'PYTHONPATH': str(lab.root / 'network')},
              2)


def check_network(lab: Lab) -> None:
    web.request('GET', lab.url('network') + '/').close()


def libvirt(lab: Lab, verb: str) -> None:
    """up, restart, reboot or down, as tools/libvirt says."""
    lab.run('libvirt', LIBVIRT, verb, lab.root / 'libvirt')


def start_libvirt(lab: Lab) -> None:
    libvirt(lab, 'up')
    keep_ceph_key(lab)


def host(lab: Lab, verb: str) -> None:
    """Do what happens to a host: restart (of libvirtd), or reboot."""
    libvirt(lab, verb)
    check_libvirt(lab)


def end_guests(root: Path) -> None:
    """End libvirtd and the servers, which are no processes of the lab's."""
    if (root / 'libvirt').exists():
        subprocess.run([LIBVIRT, 'down', root / 'libvirt'], check=True,
                       capture_output=True)


def keep_ceph_key(lab: Lab) -> None:
    """Give libvirt what QEMU connects to Ceph with, as operators do."""
    folder = lab.root / 'nova'
    text = (lab.root / 'ceph/ceph.client.cinder.keyring').read_text()
    key = text.partition('key = ')[2].split()[0]
    base64.b64decode(key, validate=True)
    write(folder / 'secret.xml', SECRET.format(uuid=lab.state['secret_uuid']))
    write(folder / 'secret', key)
    for words in (['secret-define', folder / 'secret.xml'],
                  ['secret-set-value', lab.state['secret_uuid'], '--file',
                   folder / 'secret']):
        lab.run('libvirt', 'virsh', '-q', '-c', uri(lab), *words)
    (folder / 'secret').unlink()


def check_libvirt(lab: Lab) -> None:
    told = subprocess.run(['virsh', '-q', '-c', uri(lab), 'version'],
                          capture_output=True, text=True)
    if told.returncode:
        raise Failed(told.stderr)


def start_api(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'nova-api',
              'nova.wsgi.osapi_compute:application', lab.listen('nova-api'), {
                  **lab.environment,
                  'OS_NOVA_CONFIG_DIR': str(lab.root / 'nova')}, 8)


def check_api(lab: Lab) -> None:
    web.request('GET', f'{lab.url("nova-api")}/v2.1/limits',
                token=lab.token()).close()


def start_daemon(lab: Lab, name: str, *before: str | Path,
                 program: list[str] | None = None) -> None:
    conf = ['--config-file', lab.root / 'nova/nova.conf', '--config-file',
            lab.root / 'nova/extra/nova.conf']
    words = program or [str(lab.venv / f'bin/{name}')]
    process.start(lab.root, name, *before, lab.venv / 'bin/python', *words,
                  *conf, env={**lab.environment, 'SPT_NOENV': '1'},
                  cwd=lab.root / 'nova', log=lab.log(name))


def start_conductor(lab: Lab) -> None:
    start_daemon(lab, 'nova-conductor')


def start_scheduler(lab: Lab) -> None:
    start_daemon(lab, 'nova-scheduler')


def start_compute(lab: Lab) -> None:
    start_daemon(lab, 'nova-compute', *privileges.with_ceph(lab),
                 program=COMPUTES[lab.state['nova']])


def _up(lab: Lab, binary: str) -> None:
    """Look for a sign of life since the start."""
    born = process.born(lab.root, binary)
    found = web.ask('GET', f'{lab.url("nova-api")}/v2.1/os-services?binary='
                    + binary, token=lab.token())['services']
    for service in found or [{'state': 'unknown', 'updated_at': None}]:
        seen = service['updated_at']
        if service['state'] != 'up' or not seen or (
                datetime.datetime.fromisoformat(seen).replace(
                    tzinfo=datetime.timezone.utc).timestamp() < born):
            raise Failed('no sign of life yet')


def check_conductor(lab: Lab) -> None:
    _up(lab, 'nova-conductor')


def check_scheduler(lab: Lab) -> None:
    _up(lab, 'nova-scheduler')


def check_compute(lab: Lab) -> None:
    """Let it be one that the scheduler gives servers to."""
    _up(lab, 'nova-compute')
    if not web.ask('GET', f'{lab.url("nova-api")}/v2.1/os-hypervisors',
                   token=lab.token())['hypervisors']:
        raise Failed('its host is in no cell yet')
