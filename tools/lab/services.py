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

"""The lab's services: how each is started, and a question it answers."""

from __future__ import annotations

import functools
import signal
import time
from typing import Callable, Iterable

from lab import barbican, ceph, cinder, compute, glance, keystone, mariadb
from lab import nova, process, rabbitmq
from lab.site import Lab

THREADS = 4
# Seconds for one service to answer; it may run and never do so.
PATIENCE = 600


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
    cinder.SECOND: (cinder.start_second_volume, cinder.check_second_volume),
    'cinder-backup': (cinder.start_backup, cinder.check_backup),
    'placement': (nova.start_placement, nova.check_placement),
    'network': (nova.start_network, nova.check_network),
    'nova-api': (nova.start_api, nova.check_api),
    'nova-conductor': (nova.start_conductor, nova.check_conductor),
    'nova-scheduler': (nova.start_scheduler, nova.check_scheduler),
}
for _host in compute.HOSTS.values():
    SERVICES[_host.libvirt], SERVICES[_host.service] = (
        (functools.partial(start, host=_host),
         functools.partial(check, host=_host)) for start, check in [
            (compute.start_libvirt, compute.check_libvirt),
            (compute.start_compute, compute.check_compute)])
# What the others need when they start.
BELOW = ['mariadb', 'rabbitmq']
ABOVE = [name for name in SERVICES if name not in BELOW]


def wanted(lab: Lab, names: Iterable[str] = SERVICES) -> list[str]:
    """Return those of the services that this lab has."""
    missing = set()
    if lab.state.get('volumes') != 2:
        missing.add(cinder.SECOND)
    if not lab.state.get('nova'):
        missing.update(nova.SERVICES)
    for host in set(compute.HOSTS.values()) - {*compute.hosts(lab)}:
        missing.update([host.libvirt, host.service])
    return [name for name in names if name not in missing]


def launch(lab: Lab, *names: str) -> None:
    for name in names:
        SERVICES[name][0](lab)


def wait(lab: Lab, *names: str) -> None:
    for name in names:
        check = functools.partial(SERVICES[name][1], lab)
        process.wait(lab.root, name, check, min(
            lab.deadline, time.monotonic() + PATIENCE), lab.log(name))


def again(lab: Lab, name: str, number: int = signal.SIGTERM) -> None:
    process.stop(lab.root, name, signals=[number])
    launch(lab, name)
    wait(lab, name)


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
