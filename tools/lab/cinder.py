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

"""Cinder: configuration, tables, and its four services."""

from __future__ import annotations

import datetime
import os
from pathlib import Path
from typing import Any

from lab import barbican, keystone, packages, privileges, process, web
from lab.ceph import POOLS
from lab.folder import Failed, write
from lab.site import Lab

HOST = 'lab'
# Services that share the backends: each is a host, and both are one cluster.
# The cluster has the name of the first host, and with it the pools' names.
SECOND = 'cinder-volume2'
VOLUME_HOSTS = {'cinder-volume': HOST, SECOND: 'lab2'}
BACKENDS = ['ours', 'ours2', 'upstream']
UPSTREAM = 'cinder.volume.drivers.rbd.RBDDriver'
BACKUPS = {
    'ceph': 'cinder.backup.drivers.ceph.CephBackupDriver',
    'ours': 'os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver',
    'posix': 'cinder.backup.drivers.posix.PosixBackupDriver'}
# Seconds to wait for an answer; the services wait 60 for one another.
TIMEOUT = 70
# Seconds between two signs of life; a service is taken for dead only long
# after the last: two cores may be busy for a while.
REPORT, DOWN = 3, 120

CONF = """\
[DEFAULT]
debug = true
log_options = false
auth_strategy = keystone
transport_url = rabbit://openstack:{rabbitmq_password}@127.0.0.1:{rabbitmq}/
host = {host}
my_ip = 127.0.0.1
state_path = {dir}
image_conversion_dir = {dir}/conversion
api_paste_config = {dir}/api-paste.ini
resource_query_filters_file = {venv}/etc/cinder/resource_filters.json
rootwrap_config = {dir}/rootwrap.conf
enabled_backends = {backends}
default_volume_type = upstream
glance_api_servers = {glance}
enable_force_upload = true
report_interval = {report}
service_down_time = {down}
graceful_shutdown_timeout = 5
periodic_interval = 5
periodic_fuzzy_delay = 1
max_over_subscription_ratio = 1000
quota_volumes = -1
quota_snapshots = -1
quota_gigabytes = -1
quota_backups = -1
quota_backup_gigabytes = -1
quota_groups = -1
backup_ceph_conf = {ceph_conf}
backup_ceph_user = cinder
backup_ceph_pool = {backup_pool}
backup_posix_path = {backup_path}
backup_compression_algorithm = none
backup_driver_stats_polling_interval = 10
[database]
connection = {database}
[coordination]
backend_url = file://{dir}/coordination
[oslo_concurrency]
lock_path = {dir}/locks
[oslo_messaging_notifications]
driver = noop
"""

BACKEND = """\
[{name}]
volume_driver = {driver}
volume_backend_name = {name}
rbd_pool = {pool}
rbd_user = cinder
rbd_ceph_conf = {ceph_conf}
rbd_secret_uuid = {secret_uuid}
rbd_exclusive_cinder_pool = true
rbd_luks_leftovers_interval = 5
report_discard_supported = true
"""

# The service's own account, for each part of Cinder that asks for one.
NOVA = """\
[nova]
interface = internal
region_name = RegionOne
"""

SERVICE_USERS = {'service_user': 'send_service_user_token = true\n',
                 'barbican_service_user': ''}

# What lets Cinder's daemons have threads of the system, not eventlet's; and
# setproctitle, which these use, spare the environment that we know them by.
NATIVE = {'OS_CINDER_DISABLE_EVENTLET_PATCHING': 'true', 'SPT_NOENV': '1'}

BACKUP_CONF = """\
[DEFAULT]
backup_driver = {driver}
"""

VOLUME_CONF = """\
[DEFAULT]
host = {host}
cluster = {cluster}
"""

SUDO = """\
#!/bin/sh
# The services run as root already.
exec "$@"
"""


def configure(lab: Lab) -> None:
    folder = lab.root / 'cinder'
    for name in ['conversion', 'coordination', 'locks', 'backups']:
        (folder / name).mkdir(parents=True, exist_ok=True)
    (lab.root / 'backups').mkdir(exist_ok=True)
    write(lab.root / 'bin/sudo', SUDO)
    (lab.root / 'bin/sudo').chmod(0o700)
    write(folder / 'api-paste.ini', packages.data_file(
        lab.venv, 'etc/cinder/api-paste.ini'))
    privileges.configure(lab, 'cinder')
    (folder / 'ceph').mkdir(exist_ok=True)
    for name in ['ceph.conf', 'ceph.client.cinder.keyring']:
        link = folder / 'ceph' / name
        link.unlink(missing_ok=True)
        link.symlink_to(lab.root / 'ceph' / name)
    write(folder / 'cinder.conf', settings(lab))
    configure_backup(lab)
    configure_volume(lab)


def settings(lab: Lab) -> str:
    ceph_conf = lab.root / 'ceph/ceph.conf'
    authtoken = lab.account('cinder')
    users = [authtoken.replace('keystone_authtoken', name) + more
             for name, more in SERVICE_USERS.items()]
    backends = [BACKEND.format(
        name=name, pool=POOLS[name], ceph_conf=ceph_conf,
        driver=driver(lab, name),
        secret_uuid=lab.state['secret_uuid']) for name in BACKENDS]
    return CONF.format(
        dir=lab.root / 'cinder', venv=lab.venv, host=HOST, report=REPORT,
        down=DOWN, backends=','.join(BACKENDS), glance=lab.url('glance'),
        rabbitmq=lab.state['ports']['rabbitmq'], ceph_conf=ceph_conf,
        rabbitmq_password=lab.state['rabbitmq_password'],
        database=lab.database('cinder'),
        backup_pool=POOLS['backup'], backup_path=lab.root / 'backups',
        ) + ''.join([NOVA + keystone.options(lab.account('nova'))
                     if lab.state.get('nova') else '',
                     barbican.CLIENT.format(**lab.shared),
                     'send_service_user_token = true\n',
                     authtoken, *users, *backends])


def driver(lab: Lab, backend: str) -> str:
    """The class of a backend, as lab.json and Cinder have it."""
    if backend == 'upstream' and not lab.state.get('switched'):
        return UPSTREAM
    return str(lab.state['driver'])


def configure_backup(lab: Lab) -> None:
    write(lab.root / 'cinder/cinder-backup.conf', BACKUP_CONF.format(
        driver=BACKUPS[lab.state['backup']]))


def configure_volume(lab: Lab) -> None:
    cluster = HOST if lab.state.get('volumes') == 2 else ''
    for name, host in VOLUME_HOSTS.items():
        write(lab.root / f'cinder/{name}.conf', VOLUME_CONF.format(
            host=host, cluster=cluster))


def make_tables(lab: Lab) -> None:
    lab.run('cinder-manage', lab.venv / 'bin/cinder-manage', '--config-file',
            lab.root / 'cinder/cinder.conf', 'db', 'sync')


def start_api(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'cinder-api', 'cinder.wsgi.api:application',
              lab.listen('cinder-api'), lab.environment, 8,
              ('--config-file', str(lab.root / 'cinder/cinder.conf')))


def start_daemon(lab: Lab, name: str, *wrapper: str | Path,
                 program: str = '') -> None:
    files = ['cinder.conf', f'{name}.conf']
    threads = NATIVE if lab.state.get('native_threads') else {}
    process.start(
        lab.root, name, *wrapper, lab.venv / 'bin' / (program or name),
        *[f'--config-file={lab.root}/cinder/{file}' for file in files
          if (lab.root / 'cinder' / file).exists()],
        env={**lab.environment, **threads}, cwd=lab.root / 'cinder',
        log=lab.log(name))


def start_scheduler(lab: Lab) -> None:
    start_daemon(lab, 'cinder-scheduler')


def start_volume(lab: Lab) -> None:
    start_daemon(lab, 'cinder-volume', *privileges.with_ceph(lab))


def start_second_volume(lab: Lab) -> None:
    start_daemon(lab, SECOND, *privileges.with_ceph(lab),
                 program='cinder-volume')


def start_backup(lab: Lab) -> None:
    start_daemon(lab, 'cinder-backup', *privileges.with_ceph(lab))


def ask(lab: Lab, path: str) -> Any:
    return web.ask('GET', f'{lab.url("cinder-api")}/v3/{path}',
                   token=lab.token(), timeout=min(lab.left(), TIMEOUT))


def check_api(lab: Lab) -> None:
    ask(lab, 'limits')


def check_scheduler(lab: Lab) -> None:
    """Ask for what only the scheduler knows: every backend's pools."""
    pools = ask(lab, 'scheduler-stats/get_pools')['pools']
    known = {pool['name'].split('#')[0] for pool in pools}
    missing = {f'{HOST}@{name}' for name in BACKENDS} - known
    if missing and process.find(lab.root, 'cinder-volume'):
        raise Failed(f'no report of {", ".join(sorted(missing))} yet')


def check_volume(lab: Lab, host: str = HOST) -> None:
    """Let each backend's own process answer, which it does when it is ready.

    What the database says of it may be as old as the report interval. Only
    when the scheduler knows of it as well can it be given work.
    """
    for name in BACKENDS:
        ask(lab, f'capabilities/{host}@{name}')
    if process.find(lab.root, 'cinder-scheduler'):
        check_scheduler(lab)


def check_second_volume(lab: Lab) -> None:
    check_volume(lab, VOLUME_HOSTS[SECOND])


def check_backup(lab: Lab) -> None:
    """Look for a sign of life since the start: nobody can ask this service.

    Only when the scheduler has heard of it as well can it be given work.
    """
    born = process.born(lab.root, 'cinder-backup')
    for service in ask(lab, 'os-services?binary=cinder-backup')['services']:
        seen = datetime.datetime.fromisoformat(service['updated_at'])
        seen = seen.replace(tzinfo=datetime.timezone.utc)
        if seen.timestamp() < born or service['state'] != 'up':
            raise Failed('no sign of life yet')
    if process.find(lab.root, 'cinder-scheduler') and heard(lab) < born:
        raise Failed('the scheduler has not heard of it yet')


def heard(lab: Lab) -> float:
    """Return when the scheduler last heard that backups can be made.

    It is said in its log, nowhere else.
    """
    with lab.log('cinder-scheduler').open('rb') as log:
        log.seek(max(0, log.seek(0, os.SEEK_END) - (1 << 20)))
        lines = log.read().decode(errors='replace').splitlines()
    for line in reversed(lines):
        if f'backup service update from {HOST}: ' in line:
            if "'backend_state': True" not in line:
                return 0
            return datetime.datetime.fromisoformat(line[:23]).timestamp()
    return 0
