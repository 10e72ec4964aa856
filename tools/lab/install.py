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

"""What a lab needs installed: Debian packages, a venv, this checkout in it."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from typing import Iterator

from lab import packages, process
from lab.folder import claim, Failed, lock, note
from lab.site import CHECKOUT, Lab, MARKER

REQUIREMENTS = [
    'bindep', 'cinder', 'keystone', 'barbican', 'glance', 'gunicorn',
    'PyMySQL', 'python-openstackclient', 'python-barbicanclient']
NOVA = ['nova', 'openstack-placement', 'lxml']
# OpenStack's own tests of its APIs, which are no part of the services.
TEMPEST = ['tempest', 'cinder-tempest-plugin']
TOOLS = CHECKOUT / 'tools'
FIND = ('import importlib.util, sys; '
        'sys.exit(not importlib.util.find_spec(sys.argv[1]))')


def install(lab: Lab) -> None:
    """Install what is missing; after the first time this is soon done."""
    if os.geteuid():
        raise Failed('Only root can start a lab')
    have_venv = subprocess.run(['/usr/bin/python3', '-c', 'import ensurepip'],
                               capture_output=True)
    if have_venv.returncode:
        with installing_debian(lab, 'python3-venv'):
            pass
    make_venv(lab, REQUIREMENTS[:1])
    told = subprocess.run(
        [lab.venv / 'bin/bindep', '-b', '-f', CHECKOUT / 'bindep.txt', 'lab'],
        capture_output=True, text=True)
    if told.returncode and not told.stdout:
        raise Failed(told.stderr)
    with installing_debian(lab, *told.stdout.split()):
        make_venv(lab, REQUIREMENTS + (
            NOVA if lab.state.get('nova') else []))
    if lab.state.get('nova'):
        packages.make_venv(lab.tempest / MARKER, TEMPEST, lab.log('install'),
                           lab.deadline)
    install_checkout(lab)


@contextlib.contextmanager
def installing_debian(lab: Lab, *names: str) -> Iterator[None]:
    """Install Debian packages beside what is done meanwhile.

    Nothing ends apt half-way: it is waited for whatever happens.
    """
    log = lab.log('install-debian')
    log.parent.mkdir(exist_ok=True)
    with log.open('ab') as out:
        command = [str(TOOLS / 'apt-install'), *names] if names else ['true']
        # In a session of its own: Ctrl-C is for us.
        apt = subprocess.Popen(command, stdout=out, stderr=out,
                               stdin=subprocess.DEVNULL,
                               start_new_session=True)
    try:
        yield
    finally:
        apt.wait()
    if apt.returncode:
        raise Failed('Debian packages could not be installed', log)


def make_venv(lab: Lab, requirements: list[str]) -> None:
    packages.make_venv(lab.venv / MARKER, requirements, lab.log('install'),
                       lab.deadline)


def install_checkout(lab: Lab) -> None:
    """Let the services import this checkout, and the bindings of Ceph."""
    fd = lock(lab.venv, lab.deadline)
    marker, log = lab.venv / MARKER, lab.log('install')
    state = claim(marker)
    # What is written into the venv; the modules themselves stay where they
    # are.
    wanted = [str(CHECKOUT), *(
        hashlib.sha256((CHECKOUT / name).read_bytes()).hexdigest()
        for name in ['setup.cfg', 'requirements.txt'])]
    if state.get('checkout') != wanted:
        process.run(log, lab.deadline, TOOLS / 'link-bindings', lab.venv,
                    env=os.environ)
        packages.install(lab.venv, ['-e', f'{CHECKOUT}[os-brick,barbican]'],
                         log, lab.deadline)
        note(marker, {**state, 'checkout': wanted})
    os.close(fd)


def find_driver(lab: Lab, driver: str) -> str:
    """Return a driver that is there: cinder-volume would run without it."""
    told = subprocess.run(
        [lab.venv / 'bin/python', '-c', FIND, driver.rpartition('.')[0]],
        stderr=subprocess.DEVNULL)
    if told.returncode:
        raise Failed(f'There is no driver {driver} in {lab.venv}: '
                     'choose another with --driver')
    return driver
