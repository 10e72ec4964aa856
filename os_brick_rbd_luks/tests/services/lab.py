#    Licensed under the Apache License, Version 2.0 (the "License"); you may
#    not use this file except in compliance with the License. You may obtain
#    a copy of the License at
#
#         http://www.apache.org/licenses/LICENSE-2.0
#
#    Unless required by applicable law or agreed to in writing, software
#    distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
#    WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
#    License for the specific language governing permissions and limitations
#    under the License.

"""The private OpenStack that tools/cinder-lab has started."""

from __future__ import annotations

import functools
import json
import os
import pathlib
import subprocess
import sys

from openstack import config
from openstack import connection

TOOL = pathlib.Path(__file__).parents[3] / "tools/cinder-lab"

#: Cinder's newest microversion that every call of the tests is made with:
#: 3.42 extends a volume in use, 3.64 tells the key's id, 3.70 transfers an
#: encrypted volume.
MICROVERSION = "3.70"

#: Nova's: 2.37 makes servers without networks, 2.67 names a volume's type,
#: 2.84 tells what went wrong in an action, 2.93 rebuilds a server's volume.
COMPUTE_MICROVERSION = "2.93"


class Lab:
    """Its folder, and what it says of itself."""

    def __init__(self, folder):
        self.folder = folder
        self.tell()

    def tell(self):
        """Read again what is in the lab."""
        with open(os.path.join(self.folder, "lab.json")) as stream:
            self.about = json.load(stream)
        self.ceph_conf = self.about["ceph_conf"]
        self.pools = self.about["pools"]

    @functools.lru_cache(None)  # noqa: B019
    def cloud(self, name):
        """A connection of one of the users."""
        found = config.OpenStackConfig(
            config_files=[self.about["clouds"]],
            load_envvars=False).get_one(
                name, block_storage_default_microversion=MICROVERSION,
                compute_default_microversion=COMPUTE_MICROVERSION)
        return connection.Connection(config=found)

    @functools.lru_cache(None)  # noqa: B019
    def operator(self, name):
        """An administrator who may read the keys of a user's project.

        Barbican shows a secret to nobody from another project, and Cinder
        asks for it in the name of whoever makes the request.
        """
        admin = self.cloud("admin").identity
        project = admin.find_project(name)
        admin.assign_project_role_to_user(
            project, admin.find_user("admin"), admin.find_role("admin"))
        found = config.OpenStackConfig(
            config_files=[self.about["clouds"]],
            load_envvars=False).get_one(
                "admin", block_storage_default_microversion=MICROVERSION,
                compute_default_microversion=COMPUTE_MICROVERSION,
                auth={"project_name": name})
        return connection.Connection(config=found)

    def tool(self, verb, *arguments):
        """Let tools/cinder-lab do something with the services."""
        done = subprocess.run(
            [sys.executable, TOOL, verb, self.folder, *arguments],
            capture_output=True, text=True)
        if done.returncode:
            raise AssertionError(done.stderr)
        self.tell()

    def pids(self, service):
        """Ids of a service's processes."""
        done = subprocess.run(
            [sys.executable, TOOL, "status", self.folder, "--json"],
            capture_output=True, text=True)
        return json.loads(done.stdout)[service]["pids"]

    def host(self, backend):
        """Cinder's name for a backend's only pool."""
        return self.about["backends"][backend]["host"]
