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

"""Glance: images in RBD, and two other stores to compare with.

Locations are shown: from them Cinder learns that it can clone an image.
"""

from __future__ import annotations

from lab import barbican, packages, web
from lab.ceph import POOLS
from lab.folder import write
from lab.site import Lab

CONF = """\
[DEFAULT]
log_file = {log}
enabled_backends = rbd:rbd, file:file, http:http
show_image_direct_url = true
show_multiple_locations = true
worker_self_reference_url = {url}
image_cache_dir = {dir}/cache
[database]
connection = {database}
[paste_deploy]
flavor = keystone
config_file = {dir}/paste.ini
[glance_store]
default_backend = rbd
[rbd]
store_description = the pool beside the volumes
rbd_store_pool = {pool}
rbd_store_user = glance
rbd_store_ceph_conf = {conf}
rbd_thin_provisioning = true
[file]
filesystem_store_datadir = {dir}/images
[http]
store_description = read only, by location
[import_filtering_opts]
# Glance would not fetch from the machine it runs on.
allowed_hosts = [127.0.0.1]
allowed_ports = []
[os_glance_staging_store]
filesystem_store_datadir = {dir}/staging
[os_glance_tasks_store]
filesystem_store_datadir = {dir}/tasks
[oslo_concurrency]
lock_path = {dir}/locks
"""


def configure(lab: Lab) -> None:
    folder = lab.root / 'glance'
    for name in ['images', 'staging', 'tasks', 'cache', 'locks']:
        (folder / name).mkdir(parents=True, exist_ok=True)
    write(folder / 'paste.ini', packages.data_file(
        lab.venv, 'etc/glance/glance-api-paste.ini'))
    write(folder / 'glance-api.conf', CONF.format(
        dir=folder, log=lab.log('glance'), url=lab.url('glance'),
        database=lab.database('glance'), pool=POOLS['glance'],
        conf=lab.root / 'ceph/ceph.conf')
        # It deletes the key of an encrypted image.
        + barbican.CLIENT.format(**lab.shared)
        + lab.account('glance'))


def make_tables(lab: Lab) -> None:
    lab.run('glance-manage', lab.venv / 'bin/glance-manage', '--config-file',
            lab.root / 'glance/glance-api.conf', 'db_sync')


def start(lab: Lab) -> None:
    web.serve(lab.root, lab.venv, 'glance', 'glance.wsgi.api:application',
              lab.listen('glance'), {
                  **lab.environment,
                  'OS_GLANCE_CONFIG_DIR': str(lab.root / 'glance')}, 8)


def check(lab: Lab) -> None:
    web.request('GET', lab.url('glance') + '/v2/images?limit=1',
                token=lab.token()).close()
