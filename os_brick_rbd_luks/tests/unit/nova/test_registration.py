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

import fixtures
from nova import virt
from nova.virt import driver as virt_driver
from nova.virt import libvirt
from nova.virt.libvirt import config
from nova.virt.libvirt import driver as theirs
from os_brick import encryptors
import testtools

from os_brick_rbd_luks.nova import command
from os_brick_rbd_luks.nova import libvirt_driver
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.tests.fakes import modules

#: As an operator starts it, up to where the service would run.
SERVICE = textwrap.dedent("""\
    import json
    import sys

    from nova.cmd import compute

    def stopped():
        from nova.virt import libvirt
        from nova.virt.libvirt import driver
        print(json.dumps([sys.argv, libvirt.LibvirtDriver.__name__,
                          driver.VOLUME_DRIVERS["rbd"]]))

    compute.main = stopped
    from os_brick_rbd_luks.nova import command
    sys.argv = ["rbd-luks-nova-compute", "--config-file", "nova.conf"]
    command.main()
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
        seen = []
        # Upstream's own, which decide how threads are run when they are
        # loaded, cannot be loaded once others of Nova's are.
        package = types.ModuleType("nova.cmd")
        package.compute = types.SimpleNamespace(main=lambda: seen.append(
            (sys.argv[:], libvirt.LibvirtDriver)))
        self.useFixture(modules.Module("nova.cmd", package))
        self.useFixture(fixtures.MonkeyPatch("sys.argv", ["x", "--debug"]))
        command.main()
        runpy.run_module("os_brick_rbd_luks.nova", run_name="__main__")
        self.assertEqual([(["nova-compute", "--debug"],
                           libvirt_driver.RBDLuksLibvirtDriver)] * 2, seen)

    def test_service(self):
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", SERVICE],
                              check=False, capture_output=True,
                              encoding="utf-8")
        self.assertEqual(0, done.returncode, done.stderr)
        arguments, name, path = json.loads(done.stdout.splitlines()[-1])
        self.assertEqual(["nova-compute", "--config-file", "nova.conf"],
                         arguments)
        self.assertEqual("RBDLuksLibvirtDriver", name)
        self.assertEqual(loading.VOLUME_DRIVER, path)
