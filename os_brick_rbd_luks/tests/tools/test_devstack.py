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

"""``devstack/``: what each phase does to a host, with devstack's functions
played by ``devstack.sh``.
"""

from __future__ import annotations

import ast
import configparser
import os
import pathlib
import subprocess

import ddt
import fixtures
import testtools

import os_brick_rbd_luks
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.volume import driver_opts

ROOT = pathlib.Path(os_brick_rbd_luks.__file__).parent.parent
STAND_INS = pathlib.Path(__file__).parent / "devstack.sh"

#: The steps of stack.sh, and those of the other scripts.
STACK = ("settings", "stack/pre-install", "stack/install", "stack/post-config",
         "stack/extra", "stack/test-config")
UNSTACK = ("settings", "unstack/")
CLEAN = ("settings", "clean/")

#: Services of a host that has all, of its second one, and of a third.
CONTROLLER = "key,barbican,c-api,c-sch,c-vol,c-bak,n-api,n-cpu"
SUBNODE = "c-vol,n-cpu"
COMPUTE = "n-cpu"

PLUGINS = ",barbican,devstack-plugin-ceph,os-brick-rbd-luks"

#: What devstack and the plugins before ours have written.
CINDER_CONF = """\
[DEFAULT]
enabled_backends = ceph,lvmdriver-1
backup_driver = cinder.backup.drivers.ceph.CephBackupDriver

[key_manager]
backend = {backend}

[ceph]
volume_backend_name = ceph
volume_driver = cinder.volume.drivers.rbd.RBDDriver

[lvmdriver-1]
volume_driver = cinder.volume.drivers.lvm.LVMVolumeDriver
"""
NOVA_CONF = """\
[key_manager]
backend = {backend}

[libvirt]
rbd_user = cinder
"""

DRIVER = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"
BACKUP_DRIVER = "os_brick_rbd_luks.backup.drivers.ceph.RBDLuksBackupDriver"
KEY_MANAGER = "os_brick_rbd_luks.services.barbican.BarbicanKeyManager"


def parsed(path):
    """An INI file; systemd's may have an option twice."""
    parser = configparser.RawConfigParser()
    parser.read_string(path.read_text())
    return parser


class DevstackTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.dest = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.drop_in = (self.dest / "systemd/devstack@n-cpu.service.d"
                        / "rbd-luks.conf")
        (self.dest / "systemd").mkdir()

    def prepare(self, services):
        """Be a host of a cloud as it is before the phase post-config."""
        backend = ("barbican" if "barbican" in services
                   else "cinder.keymgr.conf_key_mgr.ConfKeyManager")
        for part, name, text in (("c-", "cinder", CINDER_CONF),
                                 ("n-", "nova", NOVA_CONF)):
            if part in services:
                path = self.dest / "etc" / name / f"{name}.conf"
                path.parent.mkdir(parents=True)
                path.write_text(text.format(backend=backend))

    def run_steps(self, *steps, services=CONTROLLER, fails=False, **settings):
        """Run some steps in one shell; what they print."""
        done = subprocess.run(
            ["bash", STAND_INS, ROOT / "devstack", *steps],
            env={"PATH": os.environ["PATH"], "DEST": str(self.dest),
                 "ENABLED_SERVICES": services, "DEVSTACK_PLUGINS": PLUGINS,
                 **settings},
            capture_output=True, text=True, timeout=60)
        self.assertFalse((self.dest / "refused").exists(), done.stderr)
        self.assertEqual(fails, done.returncode != 0, done.stderr)
        return done.stdout + done.stderr

    def stack(self, services=CONTROLLER, **settings):
        self.prepare(services)
        self.run_steps(*STACK, services=services, **settings)

    def calls(self, beginning):
        lines = (self.dest / "calls").read_text().splitlines()
        return [line for line in lines if line.startswith(beginning)]

    def files(self):
        """All that is left on the host, without this test's own."""
        return {path.relative_to(self.dest): path.read_text()
                for path in self.dest.rglob("*") if path.is_file()
                and path.name not in ("calls", "names", "leaked")}

    def conf(self, name):
        return parsed(self.dest / "etc" / name / f"{name}.conf")


@ddt.ddt
class StackTest(DevstackTestCase):

    def test_cinder_of_a_controller(self):
        self.stack()
        conf = self.conf("cinder")
        self.assertEqual(DRIVER, conf["ceph"]["volume_driver"])
        self.assertEqual(BACKUP_DRIVER, conf["DEFAULT"]["backup_driver"])
        self.assertEqual(KEY_MANAGER, conf["key_manager"]["backend"])
        self.assertNotIn("rbd_luks_key_readers", conf["ceph"])

    def test_all_else_of_cinder_is_left(self):
        self.stack()
        found = self.conf("cinder")
        expected = configparser.RawConfigParser()
        expected.read_string(CINDER_CONF)
        for section, option in (("ceph", "volume_driver"),
                                ("DEFAULT", "backup_driver"),
                                ("key_manager", "backend")):
            for one in (found, expected):
                one.remove_option(section, option)
        self.assertEqual(expected, found)

    def test_nova_compute_is_ours(self):
        self.stack()
        commands = []
        # systemd reads the unit first; an empty one takes away all before.
        for line in ("ExecStart=/bin/nova-compute --config-file nova-cpu.conf",
                     *self.drop_in.read_text().split("\n")):
            name, _equals, value = line.partition("=")
            if name == "ExecStart":
                commands = [*commands, value] if value else []
        self.assertEqual(
            [f"{self.dest}/data/venv/bin/rbd-luks-nova-compute --config-file "
             f"{self.dest}/etc/nova/nova-cpu.conf"], commands)
        self.assertEqual(["systemctl daemon-reload"], self.calls("systemctl"))

    def test_nova_is_told_nothing_else(self):
        self.stack()
        self.assertEqual(NOVA_CONF.format(backend="barbican"),
                         (self.dest / "etc/nova/nova.conf").read_text())

    @ddt.data((CONTROLLER, "False", ["cinder,nova,barbican"]),
              (SUBNODE, "True", ["cinder,nova,barbican"]),
              (SUBNODE, "False", ["cinder,nova"]),
              (COMPUTE, "False", ["nova"]),
              ("key,c-api", "False", ["cinder"]),
              ("key,barbican,n-api", "False", []))
    @ddt.unpack
    def test_extras(self, services, remote, extras):
        self.stack(services, RBD_LUKS_REMOTE_BARBICAN=remote)
        self.assertEqual(
            [f"pip install -e os-brick-rbd-luks[{one}]" for one in extras],
            self.calls("pip"))

    def test_volume_types(self):
        self.stack()
        for name in ("luks", "luks2"):
            self.assertEqual(
                {f"encryption-provider {name}",
                 "encryption-cipher aes-xts-plain64",
                 "encryption-key-size 256",
                 "encryption-control-location front-end",
                 "property rbd_luks=<is> True",
                 f"property rbd_luks_formats={name}"},
                set((self.dest / "types" / name).read_text().splitlines()))

    def test_chosen_volume_types(self):
        self.stack(RBD_LUKS_VOLUME_TYPES="luks2")
        self.assertEqual(["volume type create luks2"], self.calls("volume"))

    def test_type_that_is_there(self):
        (self.dest / "types").mkdir()
        (self.dest / "types/luks").write_text("somebody's")
        self.stack()
        self.assertEqual(["volume type create luks2"], self.calls("volume"))

    @ddt.data(CONTROLLER, SUBNODE, COMPUTE, "key,c-api", "key,n-api")
    def test_twice_is_once(self, services):
        settings = {"services": services, "RBD_LUKS_NOVA_READS_KEYS": "True"}
        self.stack(**settings)
        once = self.files()
        self.run_steps(*STACK, **settings)
        self.assertEqual(once, self.files())
        # And in one shell, where the functions are there already.
        self.run_steps(*STACK, *STACK, **settings)
        self.assertEqual(once, self.files())

    def test_keys_for_nova(self):
        self.stack(RBD_LUKS_NOVA_READS_KEYS="True")
        self.assertEqual("id-of-nova",
                         self.conf("cinder")["ceph"]["rbd_luks_key_readers"])
        self.assertEqual("True", self.conf("nova")["rbd_luks"][
            "key_access_by_service_user"])
        self.assertNotIn("rbd_luks_key_readers",
                         self.conf("cinder")["lvmdriver-1"])

    def test_no_user_for_keys(self):
        self.prepare(CONTROLLER)
        said = self.run_steps(*STACK, fails=True, NOVA_USER="",
                              RBD_LUKS_NOVA_READS_KEYS="True")
        self.assertIn("Keystone does not tell the id", said)

    def test_order_of_plugins(self):
        said = self.run_steps(
            *STACK, fails=True,
            DEVSTACK_PLUGINS=",devstack-plugin-ceph,os-brick-rbd-luks,barbican")
        self.assertIn("plugin barbican before os-brick-rbd-luks", said)
        self.assertEqual([], self.calls("pip"))

    @ddt.data(",os-brick-rbd-luks", ",os-brick-rbd-luks,my-barbican",
              ",barbican,os-brick-rbd-luks,designate")
    def test_orders_that_are_right(self, plugins):
        self.run_steps("settings", "stack/pre-install",
                       DEVSTACK_PLUGINS=plugins)

    def test_other_plugins_are_required(self):
        self.run_steps("settings")
        self.assertEqual(
            ["define_plugin os-brick-rbd-luks",
             "plugin_requires os-brick-rbd-luks barbican",
             "plugin_requires os-brick-rbd-luks devstack-plugin-ceph"],
            self.calls(""))

    def test_backend_without_ceph(self):
        self.prepare(CONTROLLER)
        said = self.run_steps(*STACK, fails=True,
                              CINDER_ENABLED_BACKENDS="lvm:lvmdriver-1")
        self.assertIn("enable the plugin devstack-plugin-ceph", said)

    @ddt.data("ceph:ceph,lvm:lvmdriver-1", "lvm:lvmdriver-1,ceph")
    def test_backends_of_others(self, backends):
        self.stack(CINDER_ENABLED_BACKENDS=backends)
        conf = self.conf("cinder")
        self.assertEqual(DRIVER, conf["ceph"]["volume_driver"])
        self.assertIn("LVM", conf["lvmdriver-1"]["volume_driver"])

    def test_backup_driver_of_others(self):
        self.prepare(CONTROLLER)
        path = self.dest / "etc/cinder/cinder.conf"
        theirs = "cinder.backup.drivers.swift.SwiftBackupDriver"
        path.write_text(path.read_text().replace(
            "cinder.backup.drivers.ceph.CephBackupDriver", theirs))
        self.run_steps(*STACK)
        self.assertEqual(theirs,
                         self.conf("cinder")["DEFAULT"]["backup_driver"])


@ddt.ddt
class DisabledTest(DevstackTestCase):

    def test_barbican(self):
        """devstack's fixed key stays, in Cinder as in Nova."""
        self.stack("key,c-api,c-vol,n-cpu")
        for name in ("cinder", "nova"):
            self.assertIn("ConfKeyManager",
                          self.conf(name)["key_manager"]["backend"])

    def test_barbican_is_elsewhere(self):
        self.stack(SUBNODE, RBD_LUKS_REMOTE_BARBICAN="True")
        self.assertEqual(KEY_MANAGER,
                         self.conf("cinder")["key_manager"]["backend"])
        self.assertEqual("barbican",
                         self.conf("nova")["key_manager"]["backend"])

    def test_cinder(self):
        self.stack(COMPUTE)
        self.assertFalse((self.dest / "etc/cinder").exists())
        self.assertEqual([], self.calls("volume"))
        self.assertTrue(self.drop_in.exists())

    def test_volume_service(self):
        """The API has the key manager all the same: it copies keys."""
        self.stack("key,barbican,c-api,c-sch")
        conf = self.conf("cinder")
        self.assertEqual(KEY_MANAGER, conf["key_manager"]["backend"])
        self.assertIn("RBDDriver", conf["ceph"]["volume_driver"])

    def test_api(self):
        """Whoever has the API makes the types."""
        self.stack(SUBNODE)
        self.assertEqual([], self.calls("volume"))

    def test_backup_service(self):
        self.stack("key,c-api,c-vol")
        self.assertIn("CephBackupDriver",
                      self.conf("cinder")["DEFAULT"]["backup_driver"])

    @ddt.data({"services": "key,barbican,c-api,c-vol,n-api"},
              {"RBD_LUKS_NOVA": "False"}, {"VIRT_DRIVER": "fake"})
    def test_our_nova_compute(self, settings):
        self.stack(**settings)
        self.assertFalse(self.drop_in.parent.exists())
        self.assertNotIn("nova", self.calls("pip")[0])

    def test_our_nova_compute_from_now_on(self):
        self.stack()
        self.run_steps(*STACK, RBD_LUKS_NOVA="False")
        self.assertFalse(self.drop_in.parent.exists())

    def test_own_virtual_environments(self):
        """With USE_VENV, Nova's programs are not where ours are."""
        self.prepare(COMPUTE)
        said = self.run_steps("settings", "stack/post-config", fails=True,
                              services=COMPUTE)
        self.assertIn("USE_VENV is not supported", said)


class UnstackTest(DevstackTestCase):

    def test_drop_in_is_taken_away(self):
        self.stack()
        before = self.files()
        self.run_steps(*UNSTACK)
        del before[self.drop_in.relative_to(self.dest)]
        self.assertEqual(before, self.files())
        self.assertFalse(self.drop_in.parent.exists())
        self.assertEqual(["systemctl daemon-reload"] * 2,
                         self.calls("systemctl"))

    def test_twice_and_clean(self):
        self.stack()
        self.run_steps(*UNSTACK)
        self.run_steps(*UNSTACK)
        self.run_steps(*CLEAN)
        self.assertEqual(2, len(self.calls("systemctl")))

    def test_of_a_host_that_was_never_stacked(self):
        self.run_steps(*UNSTACK)
        self.run_steps(*CLEAN)

    def test_drop_in_of_others(self):
        self.stack()
        other = self.drop_in.with_name("other.conf")
        other.write_text("[Service]\n")
        self.run_steps(*CLEAN)
        self.assertTrue(other.exists())
        self.assertFalse(self.drop_in.exists())

    def test_again_after_it(self):
        self.stack()
        before = self.files()
        self.run_steps(*UNSTACK)
        self.run_steps(*STACK)
        self.assertEqual(before, self.files())


@ddt.ddt
class NamesTest(testtools.TestCase):
    """What is written into configuration files is what this package has."""

    @ddt.data(DRIVER, BACKUP_DRIVER, KEY_MANAGER)
    def test_classes(self, path):
        module, _dot, name = path.rpartition(".")
        text = (ROOT / module.replace(".", "/")).with_suffix(".py").read_text()
        self.assertIn(name, [node.name for node in ast.parse(text).body
                             if isinstance(node, ast.ClassDef)])

    def test_options(self):
        known = {option.name for found in (opts, driver_opts)
                 for _group, options in found.list_opts()
                 for option in options}
        self.assertLessEqual(
            {"rbd_luks_key_readers", "key_access_by_service_user"}, known)

    @ddt.data("debs", "rpms")
    def test_packages(self, folder):
        """devstack looks for a file of the plugin's name."""
        lines = (ROOT / "devstack/files" / folder
                 / "os-brick-rbd-luks").read_text().split()
        self.assertEqual(sorted(lines), lines)
        self.assertLessEqual({"python3-rados", "python3-rbd"}, set(lines))
