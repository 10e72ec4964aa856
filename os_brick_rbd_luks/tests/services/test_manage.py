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

"""Images that Cinder did not make, and volumes that it is to let go."""

from __future__ import annotations

import os
import sys

from openstack import exceptions

from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.services import moving
from os_brick_rbd_luks.tests.services import reader
from os_brick_rbd_luks.tests import units

_CASTELLAN = """\
[key_manager]
backend = barbican
auth_type = keystone_password
auth_url = {auth_url}
username = {username}
password = {password}
project_name = {project_name}
user_domain_name = Default
project_domain_name = Default
[barbican]
auth_endpoint = {auth_url}
barbican_endpoint = {barbican}
"""


@selection.full
class ManageTest(moving.MoveTestCase):
    """What to do where Cinder's API refuses, or gives no key (fault M6)."""

    def command(self, verb, target, *arguments, stdin=b""):
        """Run ``rbd-luks`` as an operator, with the user's keys."""
        conf = os.path.join(self.temp, "castellan.conf")
        with open(conf, "w") as stream:
            stream.write(_CASTELLAN.format(
                barbican=self.lab.about["urls"]["barbican"],
                **self.user.config.get_auth_args()))
        script = os.path.join(os.path.dirname(sys.executable), "rbd-luks")
        return functional.run(
            script, *verb.split(), target, *arguments, "--id", "admin",
            "--config-file", conf, stdin=stdin,
            env={**os.environ, "CEPH_CONF": self.lab.ceph_conf})

    def rbd(self, *arguments):
        """Run Ceph's own command."""
        return functional.run("rbd", "-c", self.lab.ceph_conf, "--id",
                              "admin", *arguments)

    def test_unmanage_is_refused(self):
        volume = self.create("ours-luks")
        proxy = self.admin.block_storage
        answer = proxy.post(f"/volumes/{volume.id}/action",
                            json={"os-unmanage": {}})
        self.assertEqual(400, answer.status_code, answer.text)
        self.check(volume, [])

    def test_a_plain_image_becomes_an_encrypted_volume(self):
        self.rbd("create", "volumes/found", "--size", "1G")
        reader.Disk(self.lab.ceph_conf, "volumes", "found", None, None,
                    self.temp).write(reader.filling())
        answer = self.admin.block_storage.post(
            "/os-volume-manage", json={"volume": {
                "host": self.lab.host("ours"), "volume_type": "ours",
                "ref": {"source-name": "found"}}})
        exceptions.raise_from_response(answer)
        volume = self.admin.block_storage.get_volume(
            answer.json()["volume"]["id"])
        self.addCleanup(self.delete, volume, self.admin)
        self.ready(volume, cloud=self.admin)
        self.user = self.admin
        self.retype(volume, "ours-luks")
        self.check(volume)

    def test_an_encrypted_image_becomes_a_volume(self):
        """Somebody's image takes the place of an empty volume's."""
        self.command("create", "volumes/found", "--size", "1G",
                     "--passphrase-file", "-", stdin=b"somebody's")
        found = reader.Disk(self.lab.ceph_conf, "volumes", "found", "luks",
                            b"somebody's", self.temp)
        found.write(reader.filling())

        volume = self.create("ours-luks")
        name = self.image_name(volume)
        self.command("rekey", "volumes/found", "--passphrase-file", "-",
                     "--new-key-id", self.key_id(volume),
                     stdin=b"somebody's")
        self.rbd("rm", f"volumes/{name}")
        self.rbd("rename", "volumes/found", f"volumes/{name}")

        self.check(volume)
        self.assertFalse(self.disk(volume, passphrase=b"somebody's").opens())
        clone = self.create("ours-luks", source_volume_id=volume.id)
        self.check(clone)

    def test_an_encrypted_volume_is_let_go(self):
        """Under another name, with a passphrase of its new owner's."""
        volume = self.filled("ours-luks")
        key_id = self.key_id(volume)
        self.rbd("deep", "cp", f"volumes/{self.image_name(volume)}",
                 "volumes/kept")
        self.addCleanup(self.rbd, "rm", "volumes/kept")
        self.command("rekey", "volumes/kept", "--key-id", key_id,
                     "--new-passphrase-file", "-", stdin=b"new owner's")
        self.delete(volume)
        for passphrase, opens in ((b"new owner's", True),
                                  (self.passphrase(key_id), False)):
            kept = reader.Disk(self.lab.ceph_conf, "volumes", "kept", "luks",
                               passphrase, self.temp)
            self.assertEqual(opens, kept.opens())
            if opens:
                kept.check(units.GIB, reader.filling())
