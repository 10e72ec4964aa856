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

"""Compute hosts: an address, a folder, a libvirtd and a nova-compute each.

Nova has the servers of every host below the same path. So what runs on a host
sees the host's own folder there, in a mount namespace; and what Nova runs on
another host by ssh and scp, which are scripts of the lab's, sees the other's.
libvirtd is one of tools/libvirt, which the lab's verbs restart, and whose host
they "reboot".
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
from pathlib import Path
import subprocess

from lab import privileges, process, web
from lab.folder import Failed, write
from lab.site import CHECKOUT, Lab

COMPUTES = {'ours': ['-m', 'os_brick_rbd_luks.nova'],
            'upstream': ['-c', 'import sys; sys.argv[0] = "nova-compute"; '
                         'from nova.cmd import compute; compute.main()']}
LIBVIRT = CHECKOUT / 'tools/libvirt'


@dataclasses.dataclass(frozen=True)
class Host:
    """Its name for Nova, its address, and what its services are called."""

    name: str
    address: str
    libvirt: str
    service: str

    def folder(self, lab: Lab) -> Path:
        return lab.root / 'hosts' / self.address

    def uri(self, lab: Lab) -> str:
        return URI.format(root=lab.root, address=self.address)


# All of 127.0.0.0/8 is the machine itself; libvirt receives no guests at
# 127.0.0.1.
HOSTS = {host.name: host for host in [
    Host('lab', '127.0.0.2', 'libvirt', 'nova-compute'),
    Host('lab2', '127.0.0.3', 'libvirt2', 'nova-compute2')]}
SERVICES = [name for host in HOSTS.values()
            for name in [host.libvirt, host.service]]
URI = ('qemu+unix:///system?socket='
       '{root}/hosts/{address}/libvirt/run/libvirt-sock')

CONF = """\
[DEFAULT]
host = {host.name}
my_ip = {host.address}
state_path = {dir}
[libvirt]
connection_uri = {uri}
live_migration_uri = {live_migration_uri}
live_migration_inbound_addr = {host.address}
[oslo_concurrency]
lock_path = {dir}/locks
"""

# What a host's own disk has at the path that all hosts use.
MOUNT = 'mount --bind "$0" "$1"; shift; exec "$@"'

SSH = """\
#!/bin/sh
# ssh [-o OPTION] ADDRESS WORD...: a host is this machine with its own folder.
while [ "$1" = -o ]; do shift 2; done
host=$1
shift
exec unshare --mount sh -ec '{mount}' \\
    "{root}/hosts/$host/instances" {instances} sh -c "$*"
"""

SCP = """\
#!/bin/sh
# scp [-C] -r FROM TO: a file; one of the two is ADDRESS:PATH.
set -e
while [ "${1#-}" != "$1" ]; do shift; done
case $1 in
    *:*) exec ssh "${1%%:*}" cat "'${1#*:}'" >"$2" ;;
    *) exec ssh "${2%%:*}" cat ">'${2#*:}'" <"$1" ;;
esac
"""

SECRET = """\
<secret ephemeral="no" private="no">
  <uuid>{uuid}</uuid>
  <usage type="ceph"><name>client.cinder secret</name></usage>
</secret>
"""


def hosts(lab: Lab) -> list[Host]:
    """Return those that this lab has."""
    return [*HOSTS.values()][:lab.state.get('computes', 1)]


def find(lab: Lab, name: str) -> Host:
    """Return a host of this lab by its name."""
    if HOSTS[name] not in hosts(lab):
        raise Failed(f'This lab has no compute host {name}: '
                     'make one anew, with "up --computes 2"')
    return HOSTS[name]


def kind(lab: Lab, host: Host) -> str:
    """Return whose nova-compute a host has, as COMPUTES names them."""
    return str(lab.state['kinds'].get(host.name, lab.state['nova']))


def shared(lab: Lab) -> Path:
    """Return the path of the servers, which each host sees its own at."""
    return lab.root / 'nova/instances'


def configure(lab: Lab) -> None:
    shared(lab).mkdir(parents=True, exist_ok=True)
    for name, text in [
            ('ssh', SSH.format(root=lab.root, mount=MOUNT,
                               instances=shared(lab))), ('scp', SCP)]:
        write(lab.root / 'bin' / name, text)
        (lab.root / 'bin' / name).chmod(0o700)
    for host in hosts(lab):
        folder = host.folder(lab)
        for name in ['instances', 'locks']:
            (folder / name).mkdir(parents=True, exist_ok=True)
        write(folder / 'nova.conf', CONF.format(
            host=host, dir=folder, uri=host.uri(lab),
            # Nova puts the other's address there.
            live_migration_uri=URI.format(root=lab.root, address='%s')))


def tell(lab: Lab) -> dict[str, dict[str, str]]:
    """What tests want to know of each host."""
    return {host.name: {
        'compute': kind(lab, host), 'service': host.service,
        'libvirt': host.uri(lab),
        'instances': str(host.folder(lab) / 'instances')}
        for host in hosts(lab)}


def on(lab: Lab, host: Host) -> list[str | Path]:
    """Return what a command is run by that is to run on a host."""
    return ['unshare', '--mount', 'sh', '-ec', MOUNT,
            host.folder(lab) / 'instances', shared(lab)]


def libvirt(lab: Lab, host: Host, verb: str) -> None:
    """up, restart, reboot, off or down, as tools/libvirt says."""
    lab.run(host.libvirt, *on(lab, host), LIBVIRT, verb,
            host.folder(lab) / 'libvirt', host.address)


def start_libvirt(lab: Lab, host: Host) -> None:
    libvirt(lab, host, 'up')
    keep_ceph_key(lab, host)


def check_libvirt(lab: Lab, host: Host) -> None:
    told = subprocess.run(['virsh', '-q', '-c', host.uri(lab), 'version'],
                          capture_output=True, text=True)
    if told.returncode:
        raise Failed(told.stderr)


def keep_ceph_key(lab: Lab, host: Host) -> None:
    """Give libvirt what QEMU connects to Ceph with, as operators do."""
    folder = host.folder(lab)
    text = (lab.root / 'ceph/ceph.client.cinder.keyring').read_text()
    key = text.partition('key = ')[2].split()[0]
    base64.b64decode(key, validate=True)
    write(folder / 'secret.xml', SECRET.format(uuid=lab.state['secret_uuid']))
    write(folder / 'secret', key)
    for words in (['secret-define', folder / 'secret.xml'],
                  ['secret-set-value', lab.state['secret_uuid'], '--file',
                   folder / 'secret']):
        lab.run(host.libvirt, 'virsh', '-q', '-c', host.uri(lab), *words)
    (folder / 'secret').unlink()


def end_guests(root: Path) -> None:
    """End libvirtds and the servers, which are no processes of the lab's."""
    for folder in root.glob('hosts/*/libvirt'):
        subprocess.run([LIBVIRT, 'down', folder], check=True,
                       capture_output=True)


def start_compute(lab: Lab, host: Host) -> None:
    conf = [lab.root / 'nova/nova.conf', host.folder(lab) / 'nova.conf',
            lab.root / 'nova/extra/nova.conf']
    process.start(
        lab.root, host.service, *privileges.with_ceph(lab), *on(lab, host),
        lab.venv / 'bin/python', *COMPUTES[kind(lab, host)],
        *[f'--config-file={file}' for file in conf],
        env={**lab.environment, 'SPT_NOENV': '1'}, cwd=lab.root / 'nova',
        log=lab.log(host.service))


def check_compute(lab: Lab, host: Host) -> None:
    """Let it be one that the scheduler gives servers to."""
    check_up(lab, host.service, 'nova-compute', host.name)
    found = web.ask('GET', f'{lab.url("nova-api")}/v2.1/os-hypervisors/detail',
                    token=lab.token())['hypervisors']
    if host.name not in [each['service']['host'] for each in found]:
        raise Failed('its host is in no cell yet')


def check_up(lab: Lab, service: str, binary: str, host: str) -> None:
    """Look for a sign of life of one of Nova's daemons since its start.

    Nova calls it down, too, if an operator has said so.
    """
    born = datetime.datetime.fromtimestamp(process.born(lab.root, service),
                                           datetime.timezone.utc)
    found = web.ask(
        'GET', f'{lab.url("nova-api")}/v2.1/os-services?binary={binary}'
        f'&host={host}', token=lab.token())['services']
    seen = [datetime.datetime.fromisoformat(each['updated_at']).replace(
        tzinfo=datetime.timezone.utc) for each in found if each['updated_at']]
    if not seen or max(seen) < born:
        raise Failed('no sign of life yet')
