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

"""What the services offer to whom: users, endpoints, volume types."""

from __future__ import annotations

import json
import subprocess
from typing import Any, Iterator

from lab import ceph, cinder, keystone, nova, people, web
from lab.folder import write
from lab.site import Lab

ENDPOINTS = {'barbican': ('key-manager', ''), 'glance': ('image', ''),
             'cinder-api': ('block-storage', '/v3')}
NOVA = {'nova-api': ('compute', '/v2.1'), 'placement': ('placement', ''),
        'network': ('network', '')}
PROVIDERS = {
    'luks': 'luks', 'luks2': 'luks2',
    'class': 'os_brick_rbd_luks.encryptors.luks.RBDLuksEncryptor'}
PACKAGES = ['cinder', 'keystone', 'barbican', 'glance', 'os-brick',
            'castellan', 'os-brick-rbd-luks']


def endpoints(lab: Lab) -> dict[str, tuple[str, str]]:
    return {**ENDPOINTS, **(NOVA if lab.state.get('nova') else {})}


def make_accounts(lab: Lab) -> None:
    passwords = lab.state['passwords']
    admin = keystone.Administrator(lab.url('keystone'), passwords['admin'])
    projects, roles = people.make(admin, passwords)
    wanted = [admin.find('role', 'admin'), roles['service'],
              roles['creator']]
    for name in ['cinder', 'glance', *nova.ACCOUNTS]:
        user = admin.make('user', name=name, password=passwords[name],
                          domain_id='default')
        admin.grant(projects['service'], user, *wanted)
    for name, (kind, path) in endpoints(lab).items():
        service = admin.make('service', name=name, type=kind)
        for interface in ['public', 'internal', 'admin']:
            admin.make('endpoint', service_id=service, region_id='RegionOne',
                       interface=interface, url=lab.url(name) + path)


def volume_types() -> Iterator[tuple[str, str, str | None]]:
    """Yield the name, the backend and the encryption provider of each type."""
    for backend in cinder.BACKENDS:
        yield backend, backend, None
        for short, provider in PROVIDERS.items():
            if short != 'class' or backend != 'upstream':
                yield f'{backend}-{short}', backend, provider


def make_types(lab: Lab) -> None:
    url, token = f'{lab.url("cinder-api")}/v3/types', lab.token()
    for name, backend, provider in volume_types():
        made = web.ask('POST', url, {'volume_type': {
            'name': name, 'extra_specs': {'volume_backend_name': backend},
            }}, token)['volume_type']
        if provider:
            web.ask('POST', f'{url}/{made["id"]}/encryption', {'encryption': {
                'provider': provider, 'cipher': 'aes-xts-plain64',
                'key_size': 256, 'control_location': 'front-end'}}, token)


def tell(lab: Lab) -> None:
    """Write what clients read; JSON is YAML as well."""
    clouds = {name: {
        'auth': {'auth_url': lab.url('keystone') + '/v3', 'username': name,
                 'password': lab.state['passwords'][name],
                 'project_name': people.project(name),
                 'user_domain_id': 'default',
                 'project_domain_id': 'default'},
        'region_name': 'RegionOne'} for name in people.NAMES}
    write(lab.root / 'clouds.yaml', json.dumps({'clouds': clouds}, indent=2))
    about: dict[str, Any] = {
        'clouds': str(lab.root / 'clouds.yaml'),
        'openstack': str(lab.venv / 'bin/openstack'),
        'python': str(lab.venv / 'bin/python'),
        'ceph_conf': str(lab.root / 'ceph/ceph.conf'),
        'pools': ceph.POOLS,
        'host': cinder.HOST,
        'backends': {name: {
            'host': f'{cinder.HOST}@{name}#{name}', 'pool': ceph.POOLS[name],
            'driver': cinder.driver(lab, name)} for name in cinder.BACKENDS},
        'types': {name: {'backend': backend, 'provider': provider}
                  for name, backend, provider in volume_types()},
        'mariadb_socket': str(lab.root / 'mariadb/socket'),
        'logs': str(lab.root / 'log'),
        'cinder_conf': str(lab.root / 'cinder/cinder.conf'),
        'image_conversion_dir': str(lab.root / 'cinder/conversion'),
        'backup': {'driver': lab.state['backup'],
                   'posix': str(lab.root / 'backups')},
        'urls': {name: lab.url(name)
                 for name in ['keystone', *endpoints(lab)]},
        'nova': nova.tell(lab) if lab.state.get('nova') else None,
        'versions': versions(lab)}
    write(lab.root / 'lab.json', json.dumps(about, indent=2))


def versions(lab: Lab) -> dict[str, str]:
    code = ('import importlib.metadata as m, json, sys; '
            'print(json.dumps({n: m.version(n) for n in sys.argv[1:]}))')
    names = PACKAGES + (['nova'] if lab.state.get('nova') else [])
    told = subprocess.run([lab.venv / 'bin/python', '-c', code, *names],
                          capture_output=True, check=True, text=True)
    found: dict[str, str] = json.loads(told.stdout)
    return found
