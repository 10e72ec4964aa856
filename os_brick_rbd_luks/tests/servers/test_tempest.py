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

"""Tempest's own tests of servers with encrypted volumes.

Those that look into a guest by SSH are not here, since the lab's servers have
no network: of cinder-tempest-plugin ``test_boot_cloned_encrypted_volume``, and
all of barbican-tempest-plugin.
"""

from __future__ import annotations

import configparser
import os
import subprocess

from os_brick_rbd_luks.tests.servers import base

_ATTACH = ("tempest.scenario.test_encrypted_cinder_volumes."
           "TestEncryptedCinderVolumes.test_encrypted_cinder_volumes_")
_BOOT = ("tempest.scenario.test_volume_boot_pattern.TestVolumeBootPattern."
         "test_boot_server_from_encrypted_volume_")
_EXTEND = ("tempest.api.volume.admin.test_encrypted_volumes_extend."
           "EncryptedVolumesExtendAttachedTest."
           "test_extend_attached_encrypted_volume_")
_PLUGIN = ("cinder_tempest_plugin.scenario.test_volume_encrypted."
           "TestEncryptedCinderVolumes.test_attach_cloned_encrypted_volume")
#: Tempest skips the second of LUKS2 where the protocol is said to be "ceph".
TESTS = (f"{_ATTACH}luks", f"{_ATTACH}resize_revert", f"{_BOOT}luks",
         f"{_BOOT}luksv2", f"{_EXTEND}luksv1", _PLUGIN)
#: They give LUKS2 volumes to servers that run.
PLUGGING = (f"{_ATTACH}luksv2", f"{_EXTEND}luksv2")
#: Seconds for all of them.
LIMIT = 800


class TempestTest(base.ServerTestCase):

    def setUp(self):
        super().setUp()
        # Its volume types name no backend.
        self.addCleanup(self.lab.tool, "switch", "upstream")
        self.lab.tool("switch", "ours")

    def test_encrypted_volumes(self):
        tests = TESTS + (PLUGGING if self.plugs_luks2() else ())
        self.configure_tempest()
        done = subprocess.run(
            [self.nova["tempest"], "-m", "unittest", *tests],
            capture_output=True, text=True, timeout=LIMIT, cwd=self.temp,
            env={"PATH": "/usr/bin:/bin", "HOME": self.temp,
                 "LANG": "C.UTF-8", "PYTHONWARNINGS": "ignore",
                 "TEMPEST_CONFIG_DIR": self.temp})
        said = done.stdout + done.stderr
        self.assertEqual(0, done.returncode, said)
        # It says there, too, how many were skipped.
        self.assertRegex(said, rf"(?m)^Ran {len(tests)} tests in .*\n\nOK$")

    def configure_tempest(self):
        image = self.small_image()
        for each in (image.id, image.kernel_id, image.ramdisk_id):
            self.admin.image.update_image(each, visibility="public")
        account = self.lab.cloud("admin").config.config["auth"]
        parser = configparser.ConfigParser()
        parser.read_dict({
            "DEFAULT": {"log_file": os.path.join(self.temp, "tempest.log")},
            "oslo_concurrency": {"lock_path": self.temp},
            "auth": {
                "admin_username": account["username"],
                "admin_password": account["password"],
                "admin_project_name": account["project_name"],
                "admin_domain_name": "Default",
                "create_isolated_networks": "false",
                "tempest_roles": "member,creator"},
            "identity": {"uri_v3": account["auth_url"],
                         "auth_version": "v3"},
            "service_available": {"neutron": "true", "swift": "false",
                                  "nova": "true", "cinder": "true",
                                  "glance": "true"},
            "compute": {"image_ref": image.id, "image_ref_alt": image.id,
                        "flavor_ref": self.flavor().id,
                        "flavor_ref_alt": self.flavor().id,
                        "min_compute_nodes": "1",
                        "build_timeout": base.base.PATIENCE},
            "compute-feature-enabled": {"attach_encrypted_volume": "true",
                                        "resize": "true"},
            "volume": {"storage_protocol": "rbd",
                       "catalog_type": "block-storage",
                       "build_timeout": base.base.PATIENCE,
                       "min_microversion": "3.0",
                       "max_microversion": "latest"},
            "volume-feature-enabled": {
                "extend_attached_volume": "true",
                "extend_attached_encrypted_volume": "true"},
            "validation": {"run_validation": "false"}})
        path = os.path.join(self.temp, "tempest.conf")
        with open(path, "w") as stream:
            parser.write(stream)
