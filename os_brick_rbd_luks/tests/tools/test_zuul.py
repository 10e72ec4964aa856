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

"""``.zuul.yaml``: what it names is what others define.

The lists below are of July and August 2026. Zuul itself is not run.
"""

from __future__ import annotations

import functools
import pathlib
import re

import ddt
import testtools
import yaml

import os_brick_rbd_luks

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent

#: Source: .zuul.yaml of openstack/devstack-plugin-ceph.
JOBS = ("devstack-plugin-ceph-tempest-py3",
        "devstack-plugin-ceph-multinode-tempest-py3")

#: Plugins of devstack by the name that their repository has. Source: the
#: folder ``devstack`` of each; openstack/devstack-plugin-ceph defines no name.
PLUGINS = ("barbican", "devstack-plugin-ceph", "os-brick-rbd-luks")

#: Source: setup.cfg or pyproject.toml of each (``tempest.test_plugins``).
TEMPEST_PLUGINS = ("barbican-tempest-plugin", "cinder-tempest-plugin")

#: Source: .zuul.yaml of openstack/devstack (``devstack_services``), and
#: devstack/settings of openstack/barbican.
SERVICES = ("barbican", "c-bak", "horizon")

#: Variables of local.conf, and where they are read.
SETTINGS = {
    "CEPH_MIN_CLIENT_VERSION": "openstack/devstack-plugin-ceph lib/cephadm",
    "TEMPEST_EXTEND_ATTACHED_ENCRYPTED_VOLUME":
        "openstack/devstack lib/tempest",
    **{f'SYSTEMD_ENV_VARS["{service}"]': "openstack/devstack functions-common"
       for service in ("c-api", "c-sch", "c-vol", "c-bak", "n-cpu")}}

#: Source: openstack/cinder .zuul.yaml, openstack/nova nova/monkey_patch.py.
NATIVE_THREADS = {"c": "OS_CINDER_DISABLE_EVENTLET_PATCHING=true",
                  "n": "OS_NOVA_DISABLE_EVENTLET_PATCHING=true"}

_ENCRYPTED = "tempest.scenario.test_encrypted_cinder_volumes." \
             "TestEncryptedCinderVolumes.test_encrypted_cinder_volumes"

#: Tests that have to run. Source: openstack/tempest,
#: openstack/cinder-tempest-plugin, openstack/barbican-tempest-plugin. Tempest
#: writes a test's id and attributes behind its name.
TESTS = (
    f"{_ENCRYPTED}_luks[compute,id-79165fb4,image,slow,volume]",
    f"{_ENCRYPTED}_luksv2[compute,id-7abec0a3,image,slow,volume]",
    f"{_ENCRYPTED}_resize_revert[compute,id-d653af24,image,slow,volume]",
    "tempest.scenario.test_volume_boot_pattern.TestVolumeBootPattern."
    "test_boot_server_from_encrypted_volume_luks[slow]",
    "tempest.scenario.test_volume_boot_pattern.TestVolumeBootPattern."
    "test_boot_server_from_encrypted_volume_luksv2[slow]",
    "tempest.api.volume.admin.test_encrypted_volumes_extend."
    "EncryptedVolumesExtendAttachedTest."
    "test_extend_attached_encrypted_volume_luksv2[id-381a2a3a]",
    "tempest.api.volume.test_volumes_backup.VolumesBackupsTest."
    "test_bootable_volume_backup_and_restore",
    "tempest.api.volume.admin.test_volume_types.VolumeTypesTest."
    "test_volume_type_encryption_create_get_update_delete",
    "cinder_tempest_plugin.scenario.test_volume_encrypted."
    "TestEncryptedCinderVolumes.test_boot_cloned_encrypted_volume",
    "cinder_tempest_plugin.scenario.test_encrypted_volume_transfer."
    "TransferEncryptedVolumeTest.test_create_accept_volume_transfer",
    "cinder_tempest_plugin.api.volume.test_volume_backup.VolumesBackupsTest."
    "test_incremental_backup",
    "barbican_tempest_plugin.tests.scenario.test_volume_encryption."
    "VolumeEncryptionTest.test_encrypted_cinder_volumes_luks")

#: And some that have not: what no RBD volume can be, and what has nothing to
#: do with them.
OTHERS = (
    f"{_ENCRYPTED}_cryptsetup[compute,id-cbc752ed,image,slow,volume]",
    "barbican_tempest_plugin.tests.scenario.test_volume_encryption."
    "VolumeEncryptionTest.test_encrypted_cinder_volumes_cryptsetup",
    "tempest.api.volume.admin.test_volume_types.VolumeTypesTest."
    "test_volume_crud_with_volume_type_and_extra_specs[id-c03cc62c]",
    "tempest.api.network.test_ports.PortsTestJSON.test_show_port",
    "cinder_tempest_plugin.rbac.v3.test_backups.ProjectAdminTests33."
    "test_list_backups",
    "barbican_tempest_plugin.tests.scenario.test_image_signing."
    "ImageSigningTest.test_signed_image_upload_and_boot")


@functools.cache
def loaded():
    return yaml.safe_load((ROOT / ".zuul.yaml").read_text())


def jobs():
    return {item["job"]["name"]: item["job"] for item in loaded()
            if "job" in item}


def merged(name):
    """A job's variables with those of its parents here, as Zuul merges them.

    Source: Zuul's reference, "job.vars": dictionaries are merged deeply.
    """
    def into(base, more):
        both = {**base, **more}
        for key in base.keys() & more.keys():
            if isinstance(base[key], dict):
                both[key] = into(base[key], more[key])
        return both

    job = jobs()[name]
    base = merged(job["parent"]) if job["parent"] in jobs() else {}
    return into(base, job.get("vars", {}))


@ddt.ddt
class ZuulTest(testtools.TestCase):

    def test_parents(self):
        for name, job in jobs().items():
            self.assertIn(job["parent"], (*JOBS, *jobs()), name)

    def test_pipelines_run_what_is_defined(self):
        (project,) = (item["project"] for item in loaded()
                      if "project" in item)
        named = [next(iter(job)) if isinstance(job, dict) else job
                 for pipeline in project.values() for job in pipeline["jobs"]]
        concrete = {name for name, job in jobs().items()
                    if not job.get("abstract")}
        self.assertEqual(concrete, set(named))

    @ddt.data(*jobs())
    def test_names_of_others(self, name):
        found = merged(name)
        self.assertEqual(sorted(PLUGINS), sorted(found["devstack_plugins"]))
        self.assertEqual(sorted(TEMPEST_PLUGINS), found["tempest_plugins"])
        self.assertLessEqual(set(found["devstack_services"]), set(SERVICES))
        self.assertLessEqual(set(found["devstack_localrc"]), set(SETTINGS))

    @ddt.data(*jobs())
    def test_what_is_used_is_required(self, name):
        """Zuul brings no repository by itself but that of the change."""
        job = jobs()[name]
        while "required-projects" not in job:
            job = jobs()[job["parent"]]
        wanted = {*TEMPEST_PLUGINS, *PLUGINS} - {"os-brick-rbd-luks"}
        self.assertEqual({f"openstack/{one}" for one in wanted},
                         set(job["required-projects"]))

    def test_plugin_has_our_name(self):
        settings = (ROOT / "devstack/settings").read_text()
        self.assertIn("\ndefine_plugin os-brick-rbd-luks\n", settings)

    def test_settings_of_the_second_host(self):
        group = jobs()["os-brick-rbd-luks-tempest-mn-aa"]["group-vars"]
        self.assertEqual({"barbican": False},
                         group["subnode"]["devstack_services"])
        settings = (ROOT / "devstack/settings").read_text()
        for setting in group["subnode"]["devstack_localrc"]:
            self.assertIn(f"\n{setting}=", settings)

    def test_native_threads(self):
        found = merged("os-brick-rbd-luks-tempest-threading")[
            "devstack_localrc"]
        for setting, value in found.items():
            service = re.fullmatch(r'SYSTEMD_ENV_VARS\["(.)-\w+"\]', setting)
            if service:
                self.assertEqual(NATIVE_THREADS[service[1]], value)

    def test_cluster(self):
        """Source: cinder-plugin-ceph-tempest-mn-aa of openstack/cinder."""
        found = merged("os-brick-rbd-luks-tempest-mn-aa")
        self.assertEqual(
            {"DEFAULT": {"cluster": "ceph"}},
            found["devstack_local_conf"]["post-config"]["$CINDER_CONF"])

    @ddt.data(*jobs())
    def test_tests(self, name):
        found = merged(name)
        chosen, left_out = (re.compile(found[f"tempest_{kind}_regex"])
                            for kind in ("test", "exclude"))
        for test in TESTS:
            self.assertTrue(chosen.search(test) and not left_out.search(test),
                            test)
        for test in OTHERS:
            self.assertFalse(chosen.search(test) and not left_out.search(test),
                             test)

    @ddt.data(*jobs())
    def test_luks2_is_not_skipped(self, name):
        """Tempest skips it where the protocol is "ceph"."""
        config = merged(name)["devstack_local_conf"]["test-config"]
        self.assertNotEqual(
            "ceph", config["$TEMPEST_CONFIG"]["volume"]["storage_protocol"])

    def test_changes_that_matter(self):
        job = jobs()["os-brick-rbd-luks-tempest-base"]
        irrelevant = re.compile("|".join(job["irrelevant-files"]))
        for path in ("devstack/plugin.sh", "os_brick_rbd_luks/plugin.py",
                     "setup.cfg", "requirements.txt", ".zuul.yaml"):
            self.assertIsNone(irrelevant.search(path), path)
        for path in ("README.rst", "doc/source/conf.py", "debian/rules",
                     "os_brick_rbd_luks/tests/units.py"):
            self.assertIsNotNone(irrelevant.search(path), path)
        for path in job["irrelevant-files"]:
            folder = re.match(r"\^([\w/]+)/", path)
            if folder:
                self.assertTrue((ROOT / folder[1]).is_dir(), path)
