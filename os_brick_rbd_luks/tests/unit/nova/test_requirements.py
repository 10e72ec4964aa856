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

"""What a host that is too old says."""

from __future__ import annotations

import ddt
import fixtures
import libvirt
from nova import exception as nova_exception
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.nova import requirements


class Host:
    """Nova's, of some releases of libvirt and QEMU."""

    def __init__(self, libvirt_version, qemu_version):
        self._versions = libvirt_version, qemu_version

    def get_connection(self):
        return self

    def getLibVersion(self):
        return self._versions[0]

    def getVersion(self):
        return self._versions[1]


def native(header="luks2", **options):
    return attachment.native(header, 16 << 20, 80 << 20, "v", **options)


@ddt.ddt
class CheckTest(testtools.TestCase):

    def check(self, facts, host, ceph=18):
        self.useFixture(fixtures.MonkeyPatch(
            f"{releases.__name__}.installed",
            lambda: capabilities.Librbd(ceph)))
        requirements.check(host, facts)

    @ddt.data((7_009_000, 6_001_000, 16), (9_000_000, 7_002_000, 16))
    @ddt.unpack
    def test_luks2(self, lv, qemu, ceph):
        self.check(native(), Host(lv, qemu), ceph)

    def test_luks1_needs_nothing(self):
        self.check(native("luks1"), Host(1_000_000, 1_000_000), None)

    @ddt.data((7_008_000, 6_001_000, "libvirt 7.9.0", "7.8.0"),
              (7_009_000, 6_000_000, "QEMU 6.1.0", "6.0.0"))
    @ddt.unpack
    def test_too_old_for_luks2(self, lv, qemu, needed, found):
        error = self.assertRaises(exception.UnsupportedHypervisor, self.check,
                                  native(), Host(lv, qemu))
        self.assertIn(f"needs {needed} or newer", str(error))
        self.assertIn(f"has {found};", str(error))

    @ddt.data((9_002_000, 8_000_000, 18, "libvirt 9.3.0"),
              (9_003_000, 7_002_000, 18, "QEMU 8.0.0"),
              (9_003_000, 8_000_000, 16, "Ceph 18"))
    @ddt.unpack
    def test_too_old_for_layers(self, lv, qemu, ceph, needed):
        for facts in (native(layers=1), native(clone=True)):
            error = self.assertRaises(
                (exception.UnsupportedHypervisor, exception.UnsupportedCeph),
                self.check, facts, Host(lv, qemu), ceph)
            self.assertIn(needed, str(error))

    def test_no_librbd(self):
        self.assertRaises(exception.UnsupportedCeph, self.check, native(),
                          Host(9_003_000, 8_000_000), None)

    @ddt.data(libvirt.libvirtError, nova_exception.VolumeRebaseFailed)
    def test_disk_before_its_secret(self, kind):
        text = "No secret with id 'libvirt-2-format-encryption-secret0'"
        raised = (kind(text) if kind is libvirt.libvirtError
                  else kind(reason=text))

        def attach():
            with requirements.hotplug(Host(9_000_000, 7_002_000)):
                raise raised

        error = self.assertRaises(exception.NoHotplug, attach)
        self.assertIn("libvirt 9.0.0", str(error))
        self.assertIs(raised, error.__cause__)

    def test_other_failures_are_what_they_are(self):
        def attach():
            with requirements.hotplug(Host(9_000_000, 7_002_000)):
                raise nova_exception.VolumeRebaseFailed(reason="other")

        self.assertRaises(nova_exception.VolumeRebaseFailed, attach)
