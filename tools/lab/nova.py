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

"""Nova with Placement, for servers without networks."""

from __future__ import annotations

from typing import Any

from lab import barbican, compute, keystone, packages, privileges, process
from lab import web
from lab.folder import write
from lab.site import Lab

HOST = 'lab'
SERVICES = ['placement', 'network', 'nova-api', 'nova-conductor',
            'nova-scheduler', *compute.SERVICES]
ACCOUNTS = ['nova', 'placement']
DATABASES = ['placement', 'nova_api', 'nova_cell0', 'nova']
REPORT, DOWN = 3, 120

CONF = """\
[DEFAULT]
debug = true
log_options = false
transport_url = rabbit://openstack:{rabbitmq_password}@127.0.0.1:{rabbitmq}/
host = {host}
my_ip = 127.0.0.1
state_path = {dir}
instances_path = {instances}
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
allow_resize_to_same_host = true
block_device_allocate_retries = 240
block_device_allocate_retries_interval = 1
reimage_timeout_per_gb = 240
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
rbd_user = cinder
rbd_secret_uuid = {secret_uuid}
inject_partition = -2
[vnc]
enabled = false
[workarounds]
# Else a host that a server migrates to refuses its kernel, which begins as a
# boot sector does.
disable_deep_image_inspection = true
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
    above, _, path = environ['PATH_INFO'].rstrip('/').rpartition('/')
    if not path:
        found = {'versions': [{'id': 'v2.0', 'status': 'CURRENT',
                               'links': []}]}
    elif above.endswith('/quotas'):
        found = {'quota': {'port': -1}}
    else:
        found = {path.replace('-', '_'): []}
    body = json.dumps(found).encode()
    start_response('200 OK', [('Content-Type', 'application/json'),
                              ('Content-Length', str(len(body)))])
    return [body]
"""

def configure(lab: Lab) -> None:
    folder = lab.root / 'nova'
    (folder / 'locks').mkdir(parents=True, exist_ok=True)
    write(folder / 'api-paste.ini', packages.data_file(
        lab.venv, 'etc/nova/api-paste.ini'))
    privileges.configure(lab, 'nova')
    compute.configure(lab)
    as_nova = keystone.options(lab.account('nova'))
    values: dict[str, Any] = {
        'dir': folder, 'host': HOST, 'report': REPORT, 'down': DOWN,
        'rabbitmq': lab.state['ports']['rabbitmq'],
        'rabbitmq_password': lab.state['rabbitmq_password'],
        'database': lab.database('nova'),
        'api_database': lab.database('nova_api'),
        'glance': lab.url('glance'), 'cinder': lab.url('cinder-api'),
        'network': lab.url('network'), 'placement': lab.url('placement'),
        'neutron': as_nova, 'as_nova': as_nova,
        'instances': compute.shared(lab),
        'secret_uuid': lab.state['secret_uuid']}
    write(folder / 'nova.conf', CONF.format(**values)
          + lab.account('nova') + barbican.CLIENT.format(**lab.shared))
    write(folder / 'extra/nova.conf', '')
    write(lab.root / 'placement/placement.conf', PLACEMENT_CONF.format(
        database=lab.database('placement')) + lab.account('placement'))
    write(lab.root / 'network/network.py', NETWORK)


def tell(lab: Lab) -> dict[str, Any]:
    """What tests want to know."""
    return {'conf': str(lab.root / 'nova/nova.conf'),
            'extra_conf': str(lab.root / 'nova/extra/nova.conf'),
            'hosts': compute.tell(lab),
            'tempest': str(lab.tempest / 'bin/python')}


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


def start_api(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'nova-api',
              'nova.wsgi.osapi_compute:application', lab.listen('nova-api'), {
                  **lab.environment,
                  'OS_NOVA_CONFIG_DIR': str(lab.root / 'nova')}, 8)


def check_api(lab: Lab) -> None:
    web.request('GET', f'{lab.url("nova-api")}/v2.1/limits',
                token=lab.token()).close()


def start_daemon(lab: Lab, name: str) -> None:
    conf = [lab.root / 'nova/nova.conf', lab.root / 'nova/extra/nova.conf']
    process.start(
        lab.root, name, lab.venv / 'bin/python', lab.venv / f'bin/{name}',
        *[f'--config-file={file}' for file in conf],
        env={**lab.environment, 'SPT_NOENV': '1'}, cwd=lab.root / 'nova',
        log=lab.log(name))


def start_conductor(lab: Lab) -> None:
    start_daemon(lab, 'nova-conductor')


def start_scheduler(lab: Lab) -> None:
    start_daemon(lab, 'nova-scheduler')


def check_conductor(lab: Lab) -> None:
    compute.check_up(lab, 'nova-conductor', 'nova-conductor', HOST)


def check_scheduler(lab: Lab) -> None:
    compute.check_up(lab, 'nova-scheduler', 'nova-scheduler', HOST)
