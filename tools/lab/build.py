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

"""A new lab: its names, its configuration, and its first start."""

from __future__ import annotations

import concurrent.futures
import secrets
from typing import Callable
import uuid

from lab import barbican, catalog, ceph, cinder, glance, keystone, mariadb
from lab import nova, people, process, rabbitmq
from lab.folder import empty, note
from lab.services import launch, SERVICES, wait, wanted
from lab.site import Lab, MARKER

WEB = ['keystone', 'barbican', 'glance', 'cinder-api']


def begin(lab: Lab, driver: str) -> None:
    """Clear what an earlier run has left and choose names and passwords."""
    kept = [MARKER]
    if lab.root in lab.venv.parents:
        kept.append(lab.venv.relative_to(lab.root).parts[0])
    empty(lab.root, *kept)
    lab.state.update(
        ready=False, ports={}, driver=driver, switched=False,
        backup='ceph', kek=keystone.random_key(),
        secret_uuid=str(uuid.uuid4()),
        rabbitmq_password=secrets.token_hex(16),
        passwords={name: secrets.token_hex(16)
                   for name in [*people.NAMES, 'cinder', 'glance',
                                *nova.ACCOUNTS]})
    note(lab.root / MARKER, lab.state)
    for name in ['log', 'tmp']:
        (lab.root / name).mkdir()


def configure(lab: Lab) -> None:
    for name in WEB + (['placement', 'network', 'nova-api']
                       if lab.state.get('nova') else []):
        lab.choose_port(name)
    rabbitmq.configure(lab)
    mariadb.configure(lab)
    keystone.configure(lab.root, lab.database('keystone'))
    barbican.configure(lab.root, lab.shared, lab.database('barbican'))
    glance.configure(lab)
    cinder.configure(lab)
    if lab.state.get('nova'):
        nova.configure(lab)
    note(lab.root / MARKER, lab.state)


def build(lab: Lab) -> None:
    """Start everything for the first time, as much at once as may be."""
    with concurrent.futures.ThreadPoolExecutor(len(SERVICES)) as pool:
        def database() -> None:
            mariadb.prepare(lab)
            launch(lab, 'mariadb')
            wait(lab, 'mariadb')

        def messages() -> None:
            launch(lab, 'rabbitmq')
            wait(lab, 'rabbitmq')

        def identity() -> None:
            below[0].result()
            launch(lab, 'barbican')
            about = (lab.root, lab.shared, lab.marked('keystone-manage'),
                     lab.deadline)
            mariadb.make_tables(lab, 'keystone', lambda: keystone.manage(
                *about, 'db_sync'))
            keystone.bootstrap(*about)
            launch(lab, 'keystone')
            wait(lab, 'keystone')
            catalog.make_accounts(lab)

        def service(name: str, make_tables: Callable[[Lab], None],
                    *names: str) -> None:
            below[0].result()
            mariadb.make_tables(lab, name, lambda: make_tables(lab))
            for step in below:
                step.result()
            launch(lab, *names)

        def compute() -> None:
            below[0].result()
            nova.make_tables(lab)
            for step in [*below, above[0]]:
                step.result()
            launch(lab, *wanted(lab, nova.SERVICES))

        below = [pool.submit(database), pool.submit(messages),
                 pool.submit(ceph.start, lab)]
        above = [pool.submit(identity),
                 pool.submit(service, 'glance', glance.make_tables, 'glance'),
                 pool.submit(service, 'cinder', cinder.make_tables,
                             *[name for name in wanted(lab)
                               if name.startswith('cinder')])]
        if lab.state.get('nova'):
            above.append(pool.submit(compute))
        try:
            for step in concurrent.futures.as_completed([*below, *above]):
                step.result()
        except BaseException:
            process.stop(lab.root)  # what the other threads wait for
            raise
    wait(lab, 'cinder-api')
    catalog.make_types(lab)
    wait(lab, *wanted(lab))
