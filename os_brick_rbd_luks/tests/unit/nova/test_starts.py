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

"""What starts a server: it is not ended before it can be started again."""

from __future__ import annotations

import inspect

import ddt
import fixtures
from nova.virt.libvirt import driver as upstream

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.tests.unit.nova import base


class StartsTestCase(base.NovaTestCase):
    """Upstream's part is replaced: what it would have met is noted."""

    def setUp(self):
        super().setUp()
        #: secrets that libvirt had when upstream's destroyed the server
        self.destroyed = []
        self.useFixture(fixtures.MockPatchObject(
            upstream.LibvirtDriver, "destroy",
            lambda *_arguments, **_options: self.end()))
        # How it is made anew is upstream's business.
        self.useFixture(fixtures.MockPatch(
            "nova.virt.libvirt.blockinfo.get_disk_info",
            lambda *_arguments, **_options: self.begin_again()))
        self.useFixture(fixtures.MockPatchObject(
            upstream.LibvirtDriver, "_soft_reboot",
            lambda *_arguments: self.shut_down()))

    def end(self):
        self.destroyed.append(self.host.volumes())

    def shut_down(self):
        """A guest that does not listen."""
        return False

    def begin_again(self):
        raise AgainError()

    def devices(self):
        return {"block_device_mapping": [{"connection_info": self.old_info}]}


class AgainError(Exception):
    """Upstream's has come to where it makes the guest anew."""


#: Ways to the same end: what is called, and its arguments after the first.
HARD = ("HARD", "SOFT", "power on", "host")


@ddt.ddt
class RebootTest(StartsTestCase):

    def begin(self, how):
        """As Nova's manager does."""
        driver, who = self.driver, (self.context, self.instance, [])
        if how == "power on":
            driver.power_on(*who, self.devices())
        elif how == "host":
            self.domain.stop()
            driver.resume_state_on_host_boot(
                *who, *self.shares(), self.devices())
        else:
            driver.reboot(*who, how, self.devices())

    @staticmethod
    def shares():
        """What newer releases hand on before the devices."""
        known = inspect.signature(
            upstream.LibvirtDriver.resume_state_on_host_boot).parameters
        return [None] if "share_info" in known else []

    def setUp(self):
        super().setUp()
        self.useFixture(fixtures.MockPatch(
            "nova.compute.utils.add_instance_fault_from_exc"))

    @ddt.data(*HARD)
    def test_not_ended_before_its_secrets_are_there(self, how):
        self.start("luks2")
        self.host.restart()
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.begin, how)
        self.assertEqual([], self.destroyed)
        # Nova does not show it, of a server that runs.
        self.assertIn(f"Server {self.instance.uuid} is left as it is",
                      self.log.output)

    @ddt.data(*HARD)
    def test_ended_when_they_are(self, how):
        self.start("luks2")
        self.host.restart()
        self.assertRaises(AgainError, self.begin, how)
        self.assertEqual([{self.old.id: self.old.passphrase}],
                         self.destroyed)

    def test_not_shut_down_before(self):
        """A guest that listens is started by its definition."""
        self.shut_down = lambda: self.end() or True
        self.start("luks2")
        self.host.restart()
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.begin, "SOFT")
        self.assertEqual([], self.destroyed)

    def test_shut_down_and_started(self):
        self.shut_down = lambda: self.end() or True
        self.start("luks2")
        self.host.restart()
        self.begin("SOFT")
        self.assertEqual([{self.old.id: self.old.passphrase}],
                         self.destroyed)
