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

"""The lab's Ceph: a cluster of tools/ceph-cluster with a pool for each use."""

from __future__ import annotations

import subprocess

from lab.folder import Failed
from lab.site import CHECKOUT, Lab

# A pool for each backend of Cinder, for Glance and for the backups.
POOLS = {'ours': 'volumes', 'ours2': 'volumes2', 'upstream': 'upstream',
         'glance': 'images', 'backup': 'backups'}
TOOL = CHECKOUT / 'tools/ceph-cluster'


def start(lab: Lab) -> None:
    pools = [word for pool in ['volumes2', 'upstream', 'backups']
             for word in ('--pool', pool)]
    lab.run('ceph', '/usr/bin/python3', TOOL, 'up', lab.root / 'ceph',
            '--objectstore', lab.state['objectstore'], '--size',
            lab.state['ceph_size'], '--watch-timeout', '5', *pools)


def check(lab: Lab) -> None:
    told = subprocess.run(['/usr/bin/python3', TOOL, 'status',
                           lab.root / 'ceph'], capture_output=True, text=True)
    if told.returncode:
        raise Failed(told.stdout or told.stderr)
