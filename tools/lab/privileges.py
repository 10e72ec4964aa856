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

"""What services that run as root in a lab need to run their commands."""

from __future__ import annotations

from pathlib import Path

from lab.folder import write
from lab.site import Lab

ROOTWRAP_CONF = """\
[DEFAULT]
filters_path = {venv}/etc/{service}/rootwrap.d,{dir}/rootwrap.d
exec_dirs = {venv}/bin,/usr/sbin,/usr/bin,/sbin,/bin
use_syslog = false
"""
# The services' own filters want the configuration in /etc and sockets in /tmp.
FILTERS = """\
[Filters]
privsep-helper: CommandFilter, privsep-helper, root
"""


def configure(lab: Lab, service: str) -> None:
    """Write rootwrap's configuration into the folder of a service."""
    folder = lab.root / service
    write(folder / 'rootwrap.conf', ROOTWRAP_CONF.format(
        venv=lab.venv, service=service, dir=folder))
    write(folder / 'rootwrap.d/lab.filters', FILTERS)


def with_ceph(lab: Lab) -> list[str | Path]:
    """Return what a command is run by that finds the keyring of Cinder's user.

    os-brick and Ceph read it in /etc/ceph; only the service and what it
    starts see the lab's folder there.
    """
    return ['unshare', '--mount', 'sh', '-ec',
            'mount --bind "$0" /etc/ceph; exec "$@"',
            lab.root / 'cinder/ceph']
