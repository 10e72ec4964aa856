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

"""Which backends the scheduler finds for an encrypted volume's type."""

from __future__ import annotations

from unittest import mock

from cinder.scheduler.filters import capabilities_filter
from cinder.volume.drivers import rbd
import ddt
from oslo_serialization import jsonutils

from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.image import releases
from os_brick_rbd_luks.tests.unit.cinder import base
from os_brick_rbd_luks.tests import volumes

#: Extra specs that an operator may ask with, by what they ask for.
OURS = ({"rbd_luks": "<is> True"}, {"capabilities:rbd_luks": "<is> True"})
LUKS2 = ({"rbd_luks_formats": "luks2"}, {"rbd_luks_formats": "<in> luks2"},
         {"capabilities:rbd_luks_formats": "luks2"},
         {"rbd_luks_formats": "<or> luks2"})
LUKS1 = ({"rbd_luks_formats": "luks"},)


@ddt.ddt
class SchedulingTest(base.DriverTestCase):

    def passes(self, backend, extra_specs):
        """Whether the scheduler's filter takes a backend."""
        # As the scheduler hears of it.
        stats = jsonutils.loads(jsonutils.dumps(
            backend.driver.get_volume_stats(True)))
        return capabilities_filter.CapabilitiesFilter().backend_passes(
            mock.Mock(capabilities=stats),
            {"resource_type": {"extra_specs": extra_specs}})

    @ddt.data(*OURS, *LUKS2, *LUKS1)
    def test_never_on_upstreams(self, extra_specs):
        self.assertTrue(self.passes(self.backend, extra_specs))
        theirs = self.make_backend(volumes.UPSTREAMS)
        self.assertFalse(self.passes(theirs, extra_specs))

    @ddt.data(*LUKS2)
    def test_luks2_needs_a_librbd_that_encrypts(self, extra_specs):
        self.mock_object(releases, "installed",
                         return_value=capabilities.Librbd(None))
        self.assertFalse(self.passes(self.backend, extra_specs))
        for others in (*OURS, *LUKS1):
            self.assertTrue(self.passes(self.backend, others))

    def test_all_else_is_upstreams(self):
        ours = dict(self.driver.get_volume_stats(True))
        self.assertIs(True, ours.pop("rbd_luks"))
        self.assertEqual(["luks", "luks2"], ours.pop("rbd_luks_formats"))
        self.assertEqual(self.driver.VERSION, ours.pop("driver_version"))
        rbd.RBDDriver._update_volume_stats(self.driver)
        theirs = dict(self.driver.get_volume_stats())
        del theirs["driver_version"]
        self.assertEqual(theirs, ours)

    def test_what_an_administrator_is_shown(self):
        self.driver.init_capabilities()
        self.assertIs(True, self.driver.capabilities["rbd_luks"])
