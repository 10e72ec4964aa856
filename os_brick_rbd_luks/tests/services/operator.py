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
"""An operator, who types what a page of the documentation says."""

from __future__ import annotations

import os
import re
import shlex
import stat
import subprocess

from os_brick_rbd_luks.tests import pages
from os_brick_rbd_luks.tests.services import commanding


class Operator(commanding.Commands):
    """Only names are others than those of the page.

    :cvar page_name: without the suffix
    :ivar names: what the reader's own cloud calls something, by the page's
        name
    """

    page_name = ""

    def setUp(self):
        super().setUp()
        self.page = pages.read(self.page_name)
        programs = os.path.join(self.temp, "bin")
        os.mkdir(programs)
        for name, words in {
                "cinder-rbd-luks": self.program(),
                **{name: [os.path.join(os.path.dirname(
                    self.lab.about["python"]), name)]
                   for name in ("cinder", "openstack", "rbd-luks")}}.items():
            path = os.path.join(programs, name)
            with open(path, "w") as stream:
                stream.write(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            os.chmod(path, stat.S_IRWXU)
        self.environment = {
            "PATH": f"{programs}:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.temp, "LANG": "C.UTF-8", "COLUMNS": "250",
            "PYTHONWARNINGS": "ignore", "CEPH_CONF": self.lab.ceph_conf}
        self.names = {"/srv": os.path.join(self.temp, "srv"),
                      "/etc/rbd-luks": os.path.join(self.temp, "etc")}

    def signed_in(self, name):
        """What tells OpenStack's clients who asks."""
        account = self.lab.cloud(name).config.config["auth"]
        return {"OS_IDENTITY_API_VERSION": "3", "OS_REGION_NAME": "RegionOne",
                **{f"OS_{option.upper()}": account[option]
                   for option in ("auth_url", "username", "password",
                                  "project_name", "user_domain_id",
                                  "project_domain_id")}}

    def type(self, section, beginning, by="admin", code=0, **names):
        """Let somebody type the command of a section that begins so.

        It has to answer what the page shows.

        :param names: that the page has in capitals, in lower case here
        :returns: what it writes
        """
        command, answer = self.page[section].take(beginning)
        for word, name in {**self.names, **{
                word.upper(): name for word, name in names.items()}}.items():
            command = re.sub(rf"(?<![\w@-]){re.escape(word)}(?![\w.-])", name,
                             command)
        done = subprocess.run(
            ["bash", "-c", command], capture_output=True, text=True,
            cwd=self.temp, timeout=commanding.LIMIT,
            env={**self.environment, **self.signed_in(by)})
        said = f"{command}\n{done.stdout}{done.stderr}"
        self.assertEqual(code, done.returncode, said)
        for passphrase in self.passphrases.values():
            self.assertNotIn(passphrase.decode(), said)
        if answer is not None:
            written = done.stdout + done.stderr
            for word, name in self.names.items():
                if word.startswith("/"):
                    written = written.replace(name, word)
            self.assertEqual(pages.compared(answer),
                             pages.compared(written.splitlines()), said)
        return done.stdout
