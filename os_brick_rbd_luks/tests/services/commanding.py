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
"""The operator's command, beside the services whose volumes it works on."""

from __future__ import annotations

import json
import os
import subprocess

from os_brick_rbd_luks.tests.services import attaching

#: Seconds that a run may take on a busy machine.
LIMIT = 600


class Commands:
    """Cinder's user may do in the users' project what its members may.

    :ivar stderr: what the last run has said there
    """

    def setUp(self):
        super().setUp()
        admin = self.admin.identity
        grant = (admin.find_project("user"), admin.find_user("cinder"),
                 admin.find_role("member"))
        admin.assign_project_role_to_user(*grant)
        self.addCleanup(admin.unassign_project_role_from_user, *grant)

    def program(self, *arguments):
        """What starts the command as the volume service is started."""
        folder = self.lab.folder
        files = [f"{folder}/cinder/{name}.conf"
                 for name in ("cinder", "cinder-volume")]
        return [
            "unshare", "--mount", "sh", "-ec",
            'mount --bind "$0" /etc/ceph; exec "$@"', f"{folder}/cinder/ceph",
            os.path.join(os.path.dirname(self.lab.about["python"]),
                         "cinder-rbd-luks"),
            *[f"--config-file={file}" for file in files], *arguments]

    def run_program(self, *arguments, code=0):
        """Run it, which has to exit so; its rows."""
        done = subprocess.run(self.program(*arguments), capture_output=True,
                              text=True, timeout=LIMIT)
        self.stderr = done.stderr
        self.assertEqual(code, done.returncode, done.stdout + done.stderr)
        for passphrase in self.passphrases.values():
            self.assertNotIn(passphrase.decode(), done.stdout + done.stderr)
        return json.loads(done.stdout or "[]")


class CommandTestCase(Commands, attaching.AttachTestCase):
    """Has volumes that are attached to nothing real."""
