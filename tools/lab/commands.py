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

"""What can be done with a lab: the commands of tools/cinder-lab."""

from __future__ import annotations

import json
from pathlib import Path
import signal

from lab import build, catalog, cinder, install, process
from lab import compute as hosts
from lab.folder import claim, empty, Failed, lock, note
from lab.services import ABOVE, again, BELOW, launch, wait, wanted, wrong
from lab.site import Lab, MARKER

DRIVER = 'os_brick_rbd_luks.volume.driver.RBDLuksDriver'


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
       objectstore: str, ceph_size: str, volumes: int,
       native_threads: bool, nova: str | None, computes: int) -> int:
    lock(root, deadline)
    lab = Lab(root, claim(root / MARKER), deadline)
    lab.state.update(venv=venv or lab.state.get('venv', str(root / 'venv')),
                     objectstore=objectstore, ceph_size=ceph_size)
    if not lab.state.get('ready'):
        lab.state.update(volumes=volumes, native_threads=native_threads,
                         nova=nova, kinds={}, computes=computes)
    install.install(lab)
    if lab.state.get('ready') and not wrong(lab, 'ceph'):
        repair(lab, driver)
    else:
        end_all(root)
        build.begin(lab, install.find_driver(lab, driver or DRIVER))
        try:
            build.configure(lab)
            build.build(lab)
        except BaseException:
            end_all(root)
            raise
    catalog.tell(lab)
    note(root / MARKER, {**lab.state, 'ready': True})
    print(f'The lab runs; {root}/lab.json describes it.\nTry: '
          f'OS_CLIENT_CONFIG_FILE={root}/clouds.yaml '
          f'{lab.venv}/bin/openstack --os-cloud user volume type list')
    return 0


def end_all(root: Path) -> None:
    process.stop(root, signals=[signal.SIGKILL])
    # Guests are no services.
    hosts.end_guests(root)


def repair(lab: Lab, driver: str | None) -> None:
    if driver and driver != lab.state['driver']:
        lab.state['driver'] = install.find_driver(lab, driver)
        process.stop(lab.root, 'cinder-volume')
    build.configure(lab)
    for names in [BELOW, wanted(lab, ABOVE)]:
        ended = [name for name in names if not process.find(lab.root, name)]
        launch(lab, *ended)
        for name in names:
            if name in ended:
                wait(lab, name)
            elif wrong(lab, name):
                again(lab, name)


def down(root: Path, deadline: float) -> int:
    if (root / MARKER).exists():
        lock(root, deadline)
        claim(root / MARKER)
        end_all(root)
        empty(root, MARKER)
        (root / MARKER).unlink()  # last: what fails above can be repeated
        root.rmdir()
    else:
        # Somebody may have removed DIR under them.
        end_all(root)
    print(f'No lab is left in {root}.')
    return 0


def status(root: Path, deadline: float, as_json: bool) -> int:
    about = {}
    if (root / MARKER).exists():
        lab = Lab(root, claim(root / MARKER), deadline)
        about = {name: {'wrong': wrong(lab, name),
                        'pids': sorted(process.find(root, name))}
                 for name in ['ceph', *wanted(lab)]}
    if as_json:
        print(json.dumps(about, indent=2))
    else:
        for name, found in about.items():
            print(f'{name:17}', found['wrong'] or 'answers', found['pids'])
    return 0 if about and not any(f['wrong'] for f in about.values()) else 3


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


def switch(root: Path, deadline: float, to: str) -> None:
    """Do what an operator does to leave upstream's driver, or ours."""
    lab = open_lab(root, deadline)
    lab.state['switched'] = to == 'ours'
    note(root / MARKER, lab.state)
    cinder.configure(lab)
    catalog.tell(lab)
    again(lab, 'cinder-volume')


def volumes(root: Path, deadline: float, number: int) -> None:
    """Let one or two services have the backends, two as a cluster."""
    lab = open_lab(root, deadline)
    process.stop(root, *cinder.VOLUME_HOSTS)
    lab.state['volumes'] = number
    note(root / MARKER, lab.state)
    cinder.configure_volume(lab)
    names = wanted(lab, cinder.VOLUME_HOSTS)
    launch(lab, *names)
    wait(lab, *names)


def compute(root: Path, deadline: float, to: str, host: str | None) -> None:
    """Do what an operator does to leave the unmodified nova-compute."""
    lab = open_lab(root, deadline)
    changed = [hosts.find(lab, host)] if host else hosts.hosts(lab)
    lab.state['kinds'].update({each.name: to for each in changed})
    note(root / MARKER, lab.state)
    catalog.tell(lab)
    for each in changed:
        again(lab, each.service)


def host(root: Path, deadline: float, verb: str, host: str) -> None:
    """Restart a compute host's libvirtd, reboot the host, or switch it off."""
    lab = open_lab(root, deadline)
    there = hosts.find(lab, host)
    if verb == 'off':
        process.stop(root, there.service, signals=[signal.SIGKILL])
        hosts.libvirt(lab, there, 'off')
        return
    hosts.libvirt(lab, there, verb)
    hosts.check_libvirt(lab, there)
    if verb == 'reboot':
        again(lab, there.service, signal.SIGKILL)


def backup(root: Path, deadline: float, driver: str) -> None:
    lab = open_lab(root, deadline)
    lab.state['backup'] = driver
    note(root / MARKER, lab.state)
    cinder.configure_backup(lab)
    catalog.tell(lab)
    again(lab, 'cinder-backup')
