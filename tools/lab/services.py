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

"""The lab's services in their order, and what can be done with them."""

from __future__ import annotations

import concurrent.futures
import functools
from pathlib import Path
import secrets
import shutil
import signal
import time
from typing import Callable
import uuid

from lab import barbican, catalog, ceph, cinder, glance, install, keystone
from lab import mariadb, process, rabbitmq
from lab.folder import claim, empty, Failed, lock, note
from lab.site import Lab, MARKER

DRIVER = 'os_brick_rbd_luks.volume.driver.RBDLuksDriver'
THREADS = 4
# Seconds for one service to answer; it may run and never do so.
PATIENCE = 180


def start_keystone(lab: Lab) -> None:
    keystone.start(lab.root, lab.shared, lab.listen('keystone'),
                   lab.environment, THREADS)


def start_barbican(lab: Lab) -> None:
    barbican.start(lab.root, lab.shared, lab.listen('barbican'),
                   lab.environment, THREADS)


def check_keystone(lab: Lab) -> None:
    lab.tokens.clear()
    lab.token()


def check_barbican(lab: Lab) -> None:
    barbican.check(lab.url('barbican'), lab.token())


# How each is started, and a question that it answers once it is ready.
SERVICES: dict[str, tuple[Callable[[Lab], None], Callable[[Lab], None]]] = {
    'rabbitmq': (rabbitmq.start, rabbitmq.check),
    'mariadb': (mariadb.start, mariadb.check),
    'keystone': (start_keystone, check_keystone),
    'barbican': (start_barbican, check_barbican),
    'glance': (glance.start, glance.check),
    'cinder-api': (cinder.start_api, cinder.check_api),
    'cinder-scheduler': (cinder.start_scheduler, cinder.check_scheduler),
    'cinder-volume': (cinder.start_volume, cinder.check_volume),
    'cinder-backup': (cinder.start_backup, cinder.check_backup),
}
# What the others need when they start.
BELOW = ['mariadb', 'rabbitmq']
CINDER = [name for name in SERVICES if name.startswith('cinder')]
WEB = ['keystone', 'barbican', 'glance', 'cinder-api']


def launch(lab: Lab, *names: str) -> None:
    for name in names:
        SERVICES[name][0](lab)


def wait(lab: Lab, *names: str) -> None:
    for name in names:
        check = functools.partial(SERVICES[name][1], lab)
        process.wait(lab.root, name, check, min(
            lab.deadline, time.monotonic() + PATIENCE), lab.log(name))


def wrong(lab: Lab, name: str) -> str | None:
    """Return why a service does not answer, None if it does."""
    # Another program may listen on the port of one that has ended.
    if not process.find(lab.root, name):
        return 'it does not run'
    try:
        (ceph.check if name == 'ceph' else SERVICES[name][1])(lab)
    except process.NO_ANSWER as error:
        return str(error)
    return None


def begin(lab: Lab, driver: str) -> None:
    """Clear what an earlier run has left and choose names and passwords."""
    empty(lab.root, MARKER, *[lab.venv.name] * (lab.venv.parent == lab.root))
    lab.state.update(
        driver=driver, switched=False, backup='ceph',
        kek=keystone.random_key(),
        secret_uuid=str(uuid.uuid4()),
        rabbitmq_password=secrets.token_hex(16),
        passwords={name: secrets.token_hex(16)
                   for name in [*catalog.CLOUDS, 'cinder', 'glance']})
    note(lab.root / MARKER, lab.state)
    for name in ['log', 'tmp']:
        (lab.root / name).mkdir()


def configure(lab: Lab) -> None:
    for name in WEB:
        lab.choose_port(name)
    rabbitmq.configure(lab)
    mariadb.configure(lab)
    keystone.configure(lab.root, lab.database('keystone'))
    barbican.configure(lab.root, lab.shared, lab.database('barbican'))
    glance.configure(lab)
    cinder.configure(lab)
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
            about = lab.root, lab.shared, lab.environment, lab.deadline
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

        below = [pool.submit(database), pool.submit(messages),
                 pool.submit(ceph.start, lab)]
        above = [pool.submit(identity),
                 pool.submit(service, 'glance', glance.make_tables, 'glance'),
                 pool.submit(service, 'cinder', cinder.make_tables, *CINDER)]
        try:
            for step in concurrent.futures.as_completed([*below, *above]):
                step.result()
        except BaseException:
            process.stop(lab.root)  # what the other threads wait for
            raise
    wait(lab, 'cinder-api')
    catalog.make_types(lab)
    wait(lab, *SERVICES)


def open_lab(root: Path, deadline: float) -> Lab:
    """Lock a lab that is complete, for the commands that need one."""
    if not (root / MARKER).exists():
        raise Failed(f'No lab in {root}: start it with "up"')
    lock(root, deadline)
    lab = Lab(root, claim(root / MARKER), deadline)
    if not lab.state.get('ready'):
        raise Failed(f'The lab in {root} is not complete: start it with "up"')
    return lab


def up(root: Path, deadline: float, venv: str | None, driver: str | None,
       objectstore: str, ceph_size: str) -> int:
    lock(root, deadline)
    lab = Lab(root, claim(root / MARKER), deadline)
    lab.state.update(venv=venv or lab.state.get('venv', str(root / 'venv')),
                     objectstore=objectstore, ceph_size=ceph_size)
    install.install(lab)
    if lab.state.get('ready') and not wrong(lab, 'ceph'):
        repair(lab, driver)
    else:
        process.stop(root, signals=[signal.SIGKILL])
        begin(lab, install.find_driver(lab, driver or DRIVER))
        try:
            configure(lab)
            build(lab)
        except BaseException:
            process.stop(root)
            raise
    catalog.tell(lab)
    note(root / MARKER, {**lab.state, 'ready': True})
    print(f'The lab runs; {root}/lab.json describes it.\nTry: '
          f'OS_CLIENT_CONFIG_FILE={root}/clouds.yaml '
          f'{lab.venv}/bin/openstack --os-cloud user volume type list')
    return 0


def repair(lab: Lab, driver: str | None) -> None:
    if driver and driver != lab.state['driver']:
        lab.state['driver'] = install.find_driver(lab, driver)
        process.stop(lab.root, 'cinder-volume')
    configure(lab)
    for names in [BELOW, [name for name in SERVICES if name not in BELOW]]:
        ended = [name for name in names if not process.find(lab.root, name)]
        launch(lab, *ended)
        for name in names:
            if name not in ended and wrong(lab, name):
                process.stop(lab.root, name)
                launch(lab, name)
            wait(lab, name)


def down(root: Path, deadline: float) -> int:
    if (root / MARKER).exists():
        lock(root, deadline)
        venv = Path(claim(root / MARKER).get('venv', root / 'venv'))
        process.stop(root, signals=[signal.SIGKILL])
        if root in venv.parents and (venv / MARKER).exists():
            shutil.rmtree(venv)
        empty(root, MARKER)
        (root / MARKER).unlink()  # last: what fails above can be repeated
        root.rmdir()
    else:
        # Somebody may have removed DIR under them.
        process.stop(root, signals=[signal.SIGKILL])
    print(f'No lab is left in {root}.')
    return 0


def status(root: Path, deadline: float) -> int:
    if not (root / MARKER).exists():
        print(f'No lab in {root}.')
        return 3
    lab = Lab(root, claim(root / MARKER), deadline)
    result = 0
    for name in ['ceph', *SERVICES]:
        why = wrong(lab, name)
        pids = ' '.join(map(str, sorted(process.find(root, name))))
        print(f'{name:17} {why or "answers"}' + (pids and f' (pid {pids})'))
        result = 3 if why else result
    return result


def start(root: Path, deadline: float, service: str) -> None:
    lab = open_lab(root, deadline)
    if not process.find(root, service):
        launch(lab, service)
    wait(lab, service)


def stop(root: Path, deadline: float, service: str, signal: int) -> None:
    open_lab(root, deadline)
    process.stop(root, service, signals=[signal])


def restart(root: Path, deadline: float, service: str, signal: int) -> None:
    again(open_lab(root, deadline), service, signal)


def again(lab: Lab, service: str, number: int = signal.SIGTERM) -> None:
    process.stop(lab.root, service, signals=[number])
    launch(lab, service)
    wait(lab, service)


def switch(root: Path, deadline: float, to: str) -> None:
    """Do what an operator does to leave upstream's driver, or ours."""
    lab = open_lab(root, deadline)
    lab.state['switched'] = to == 'ours'
    note(root / MARKER, lab.state)
    cinder.configure(lab)
    catalog.tell(lab)
    again(lab, 'cinder-volume')


def backup(root: Path, deadline: float, driver: str) -> None:
    lab = open_lab(root, deadline)
    lab.state['backup'] = driver
    note(root / MARKER, lab.state)
    cinder.configure_backup(lab)
    catalog.tell(lab)
    again(lab, 'cinder-backup')
