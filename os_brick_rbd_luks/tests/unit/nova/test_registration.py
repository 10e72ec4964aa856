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

"""Loading and unloading our side, and the start of the service."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
import textwrap
import types

import ddt
import fixtures
from nova.compute import utils as compute_utils
from nova.conf import service_token
from nova.objects import instance as objects_instance
from nova import virt
from nova.virt import driver as virt_driver
from nova.virt import libvirt
from nova.virt.libvirt import config
from nova.virt.libvirt import driver as theirs
from nova.virt.libvirt import guest
from nova.virt.libvirt import host
from os_brick import encryptors
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import command
from os_brick_rbd_luks.nova import libvirt_driver
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.tests.fakes import modules

#: As an operator starts it, up to where the service would run: it reads the
#: configuration, and loads its driver. What was read of it before is told.
SERVICE = textwrap.dedent("""\
    import json
    import sys

    from oslo_config import cfg

    early, get = set(), cfg.ConfigOpts._get

    def noting(self, name, group=None, namespace=None):
        early.add(f"{getattr(group, 'name', group)}.{name}")
        return get(self, name, group, namespace)

    cfg.ConfigOpts._get = noting
    ours = sys.argv.pop(1) == "ours"
    if not ours:
        sys.argv[0] = "nova-compute"
    from nova.cmd import compute

    def stopped():
        cfg.ConfigOpts._get = get
        from nova import config
        config.parse_args(sys.argv)
        from nova.virt import driver as loader
        from nova.virt import virtapi
        found = loader.load_compute_driver(virtapi.VirtAPI())
        from nova.virt.libvirt import driver
        print(json.dumps([sys.argv, type(found).__name__,
                          driver.VOLUME_DRIVERS["rbd"], sorted(early),
                          _limits()]))

    def _limits():
        from nova.privsep import qemu
        limits = getattr(qemu, "QEMU_IMG_LIMITS", None)
        return limits and [limits.cpu_time, limits.address_space]

    compute.main = stopped
    if ours:
        from os_brick_rbd_luks.nova import command
        command.main()
    else:
        stopped()
    """)

#: What an operator has in nova.conf.
CONFIGURATION = textwrap.dedent("""\
    [DEFAULT]
    compute_driver = {}
    [libvirt]
    virt_type = qemu
    connection_uri = qemu:///none
    images_cpu_time_limit = 600
    images_address_space_limit = 8
    """)


def state():
    """All that is changed."""
    return (libvirt.LibvirtDriver, dict(theirs.VOLUME_DRIVERS),
            config.LibvirtConfigGuestDiskEncryption,
            dict(encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP),
            dict(encryptors.LEGACY_PROVIDER_CLASS_TO_FORMAT_MAP))


class RegistrationTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(loading.unregister)

    def test_there_and_back(self):
        before = state()
        loading.register()
        first = state()
        loading.register()
        self.assertEqual(first, state())
        self.assertIs(libvirt_driver.RBDLuksLibvirtDriver, first[0])
        changed = {name for name, path in first[1].items()
                   if before[1][name] != path}
        self.assertEqual({"rbd"}, changed)
        loading.unregister()
        self.assertEqual(before, state())
        loading.unregister()
        self.assertEqual(before, state())

    def test_what_another_put_there_stays(self):
        loading.register()
        self.addCleanup(setattr, libvirt, "LibvirtDriver",
                        theirs.LibvirtDriver)
        libvirt.LibvirtDriver = "another"
        loading.unregister()
        self.assertEqual("another", libvirt.LibvirtDriver)

    def test_as_nova_loads_a_compute_driver(self):
        loading.register()
        self.assertTrue(issubclass(virt.libvirt.LibvirtDriver,
                                   virt_driver.ComputeDriver))

    def test_service_in_this_process(self):
        """Also by the package's name, as ``python -m`` runs it."""
        self.addCleanup(loading.unregister)
        seen, load = [], virt_driver.load_compute_driver
        # Upstream's own, which decide how threads are run when they are
        # loaded, cannot be loaded once others of Nova's are.
        package = types.ModuleType("nova.cmd")
        package.compute = types.SimpleNamespace(main=lambda: seen.append(
            (sys.argv[:], libvirt.LibvirtDriver,
             virt_driver.load_compute_driver is not load)))
        self.useFixture(modules.Module("nova.cmd", package))
        self.useFixture(fixtures.MonkeyPatch("sys.argv", ["x", "--debug"]))
        command.main()
        runpy.run_module("os_brick_rbd_luks.nova", run_name="__main__")
        # Loaded when Nova loads its driver, and not before.
        self.assertEqual([(["nova-compute", "--debug"], theirs.LibvirtDriver,
                           True)] * 2, seen)

    def service(self, who="ours", compute_driver="libvirt.LibvirtDriver"):
        path = f"{self.useFixture(fixtures.TempDir()).path}/nova.conf"
        with open(path, "w") as stream:
            stream.write(CONFIGURATION.format(compute_driver))
        return subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SERVICE, who,
             "--config-file", path], check=False, capture_output=True,
            encoding="utf-8")

    def loaded(self, who="ours"):
        done = self.service(who)
        self.assertEqual(0, done.returncode, done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    def test_service(self):
        arguments, name, path, early, limits = self.loaded()
        self.assertEqual(["nova-compute", "--config-file"], arguments[:2])
        self.assertEqual("RBDLuksLibvirtDriver", name)
        self.assertEqual(loading.VOLUME_DRIVER, path)
        # And nothing of the configuration is another than upstream's.
        theirs = self.loaded("theirs")
        self.assertEqual("LibvirtDriver", theirs[1])
        self.assertEqual(theirs[3:], [early, limits])

    def test_driver_by_another_path(self):
        """It would be upstream's, with half of ours."""
        done = self.service(compute_driver="libvirt.driver.LibvirtDriver")
        self.assertNotEqual(0, done.returncode)
        self.assertIn("WrongComputeDriver", done.stderr)
        self.assertIn("compute_driver = libvirt.driver.LibvirtDriver",
                      done.stderr)

    def test_another_driver(self):
        """It is none of our business."""
        done = self.service(compute_driver="fake.FakeDriver")
        self.assertEqual(0, done.returncode, done.stderr)
        self.assertEqual("FakeDriver", json.loads(
            done.stdout.splitlines()[-1])[1])


@ddt.ddt
class UpstreamTest(testtools.TestCase):
    """A release of Nova that is another than those that are known."""

    def setUp(self):
        super().setUp()
        self.addCleanup(loading.unregister)

    def refused(self):
        before = state()
        error = self.assertRaises(exception.UnsupportedNova, loading.register)
        self.assertEqual(before, state())
        return str(error)

    @ddt.data("_attach_encryptor", "_detach_encryptor", "resume",
              "pre_live_migration", "_get_volume_config",
              "_resize_attached_volume")
    def test_method_is_gone(self, name):
        owner = next(each for each in theirs.LibvirtDriver.__mro__
                     if name in vars(each))
        method = vars(owner)[name]
        delattr(owner, name)
        self.addCleanup(setattr, owner, name, method)
        # Where an older class has one of that name, its signature tells.
        self.assertIn(f"LibvirtDriver.{name} ", self.refused())

    @ddt.data(
        ("_attach_encryptor",
         lambda self, context, connection_info, encryption, instance: None),
        ("_attach_encryptor",
         lambda self, connection_info, context, encryption: None),
        ("swap_volume", lambda self, context, old, new, instance: None),
        ("_disconnect_volume", lambda self, connection_info: None))
    @ddt.unpack
    def test_signature_is_another(self, name, method):
        self.useFixture(fixtures.MockPatchObject(
            theirs.LibvirtDriver, name, method))
        self.assertIn(f"LibvirtDriver.{name} takes ", self.refused())

    @ddt.data(
        (guest.Guest, "get_xml_desc", lambda self, inactive=False: ""),
        (compute_utils, "add_instance_fault_from_exc",
         lambda context, instance, error: None),
        (host.Host, "list_guests", lambda self: []),
        (objects_instance.InstanceList, "get_by_host",
         lambda context, host: []),
        (guest.Guest, "__init__", lambda self, domain: None),
        (guest.BlockDevice, "__init__", lambda self, guest, disk: None),
        (theirs.LibvirtDriver, "__init__", lambda self, virtapi: None))
    @ddt.unpack
    def test_what_else_is_called(self, owner, name, function):
        self.useFixture(fixtures.MockPatchObject(owner, name, function))
        said = {"get_xml_desc": "get_xml_desc takes (self, inactive=False)",
                "__init__": " is not there"}
        self.assertIn(said.get(name, f"{name} takes ("), self.refused())

    def test_values(self):
        for owner, name, value, said in (
                (config, "LibvirtConfigGuestDisk", types.SimpleNamespace,
                 "LibvirtConfigGuestDisk has another name"),
                (theirs, "VOLUME_DRIVERS", {}, 'VOLUME_DRIVERS["rbd"]'),
                (service_token, "SERVICE_USER_GROUP", None,
                 "SERVICE_USER_GROUP")):
            with fixtures.MockPatchObject(owner, name, value):
                if value is None:
                    del service_token.SERVICE_USER_GROUP
                self.assertIn(said, self.refused())

    def test_name_of_ours_is_theirs_now(self):
        theirs.LibvirtDriver._settle = lambda self: None
        self.addCleanup(delattr, theirs.LibvirtDriver, "_settle")
        self.assertIn("LibvirtDriver._settle is there", self.refused())

    def test_another_argument_at_the_end(self):
        """As ``share_info`` came: ours hand on what they do not know."""
        def resume(self, context, instance, network_info,
                   block_device_info=None, share_info=None, more=None):
            pass

        self.useFixture(fixtures.MockPatchObject(
            theirs.LibvirtDriver, "resume", resume))
        loading.register()
