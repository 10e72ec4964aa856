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

"""Servers that an unmodified Nova has started, and ours goes on with.

Their secrets have a uuid that nobody can find again, are on libvirtd's disk,
and anybody who may use libvirt can read them.
"""

from __future__ import annotations

import functools
import itertools
import os

import ddt
import fixtures
from nova import objects
from nova.virt.libvirt import driver as upstream
from nova.virt.libvirt import utils as libvirt_utils
from oslo_serialization import jsonutils

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import base

#: What begins with one definition and ends with another.
VERBS = ("resume", "unrescue", "soft")


class AdoptedTestCase(base.NovaTestCase):

    def setUp(self):
        super().setUp()
        #: secrets' uuids that libvirt had when upstream's did its part
        self.seen = []
        for name in ("resume", "rescue", "unrescue", "_hard_reboot",
                     "_soft_reboot"):
            self.useFixture(fixtures.MockPatchObject(
                upstream.LibvirtDriver, name, functools.wraps(
                    getattr(upstream.LibvirtDriver, name))(
                        lambda *_arguments, **_options: self.upstream_s())))
        self.useFixture(fixtures.MockPatch(
            "nova.objects.BlockDeviceMappingList.get_by_instance_uuid",
            lambda _context, _uuid: [records.BlockDevice(
                is_volume=True,
                connection_info=jsonutils.dumps(self.old_info))]))

    def upstream_s(self):
        self.seen.append(set(self.host.secrets))
        return True

    def adopt(self, provider="luks"):
        """Neither a mark, nor a secret of ours."""
        self.old = self.make(provider)
        self.old_info = self.info(self.old)
        self.kept = self.host.keep(self.old.id, self.old.passphrase)
        self.instance = self.boot(self.old_info)
        path = libvirt_utils.get_instance_path(self.instance)
        os.makedirs(path, exist_ok=True)
        self.unrescue_xml = os.path.join(path, "unrescue.xml")

    def present(self):
        return self.host.find(fake.VIR_SECRET_USAGE_TYPE_VOLUME, self.old.id)

    def devices(self):
        return {"block_device_mapping": [{"connection_info": self.old_info}]}

    def begin(self, verb):
        """As Nova's manager does."""
        who = (self.context, self.instance)
        if verb == "resume":
            self.driver.resume(*who, [], self.devices())
        elif verb == "unrescue":
            self.driver.unrescue(*who)
        elif verb == "soft":
            self.driver.reboot(*who, [], "SOFT", self.devices())
        else:
            self.driver.reboot(*who, [], "HARD", self.devices())

    def rescue(self, **properties):
        # As upstream's does.
        with open(self.unrescue_xml, "w", encoding="utf-8") as file:
            file.write(self.definition()[0])
        self.driver.rescue(
            self.context, self.instance, [], objects.ImageMeta.from_dict(
                {"properties": properties}), None, self.devices())

    def keep_definition(self, verb):
        """Have the server in a state that *verb* ends."""
        if verb == "resume":
            self.domain.save()
        elif verb == "unrescue":
            self.rescue(hw_rescue_device="disk")


@ddt.ddt
class KeptDefinitionTest(AdoptedTestCase):

    @ddt.data(*itertools.product(VERBS, (0, 1), (0, 1)))
    @ddt.unpack
    def test_its_secret_is_there(self, verb, before, after):
        """Under its uuid, whenever libvirtd had lost it."""
        self.adopt()
        if before:
            self.host.secrets.pop(self.kept.uuid)
        self.keep_definition(verb)
        if after:
            self.host.secrets.pop(self.kept.uuid, None)
        for _again in range(2):
            self.begin(verb)
            self.assertIn(self.kept.uuid, self.seen[-1])
            self.assertEqual(self.old.passphrase, self.present().value)
            # What was in memory only has gone then.
            self.host.restart()

    @ddt.data(*VERBS)
    def test_another_has_been_made_of_it(self, verb):
        """As by a release that did not look at the definition."""
        self.adopt()
        self.keep_definition(verb)
        self.host.secrets.pop(self.kept.uuid, None)
        self.driver._connect_volume(self.context, self.info(self.old), None)
        self.assertEqual(secrets.uuid_of(self.old.id), self.present().uuid)
        self.begin(verb)
        self.assertIn(self.kept.uuid, self.seen[-1])

    @ddt.data(*VERBS)
    def test_not_started_with_another(self, verb):
        """Of a suspended server, libvirt would drop the memory."""
        self.adopt()
        self.keep_definition(verb)
        self.host.secrets.pop(self.kept.uuid, None)
        self.driver._connect_volume(self.context, self.info(self.old), None)
        self.break_keys()
        self.seen.clear()
        self.assertRaises(exception.PassphraseUnavailable, self.begin, verb)
        self.assertEqual([], self.seen)

    def test_saved_is_not_what_is_defined(self):
        self.adopt()
        self.domain.save()
        for secret in self.domain.config.iterfind(".//encryption/secret"):
            secret.set("uuid", "another")
        self.host.secrets.pop(self.kept.uuid)
        self.begin("resume")
        self.assertIn(self.kept.uuid, self.seen[-1])

    def test_saved_cannot_be_read(self):
        """The definition says it, too."""
        self.adopt()
        self.domain.save()
        self.host.secrets.pop(self.kept.uuid)
        self.host.fail("managedSaveGetXMLDesc")
        self.begin("resume")
        self.assertIn(self.kept.uuid, self.seen[-1])

    def test_resumed_by_the_engine_that_it_has(self):
        """What the operator wants now is of what is made anew."""
        self.adopt()
        self.domain.save()
        self.set_option("luks1_engine", "librbd")
        self.host.qemu = 6_000_000
        self.begin("resume")
        self.assertEqual("qemu", attachment.read(self.old_info).engine)


@ddt.ddt
class ConversionTest(AdoptedTestCase):
    """A secret is taken off the disk when the server runs, and not before."""

    def upstream_s(self):
        self.seen.append(self.present().ephemeral)
        return True

    def test_by_a_hard_reboot(self):
        self.adopt()
        self.begin("hard")
        self.assertEqual([False], self.seen)
        # The definition names it.
        self.assertEqual((self.kept.uuid, True, True), (
            self.present().uuid, self.present().ephemeral,
            self.present().private))
        self.assertEqual({self.ceph_uuid}, self.host.files)

    @ddt.data(*VERBS)
    def test_by_nothing_else(self, verb):
        self.adopt()
        self.keep_definition(verb)
        self.begin(verb)
        self.assertEqual((self.kept.uuid, False),
                         (self.present().uuid, self.present().ephemeral))
        self.host.restart()
        self.assertEqual(self.kept.uuid, self.present().uuid)

    def test_not_by_who_may_not_read_the_key(self):
        """He starts the server nevertheless."""
        self.adopt()
        self.break_keys()
        self.begin("hard")
        self.assertEqual([False], self.seen)
        self.assertEqual((self.kept.uuid, self.old.passphrase),
                         (self.present().uuid, self.present().value))
        self.assertIn("on this host's disk", self.log.output)

    def test_not_where_they_are_to_be_on_disk(self):
        self.set_option("libvirt_secrets", "persistent")
        self.adopt()
        self.begin("hard")
        self.assertFalse(self.present().ephemeral)
        self.assertTrue(self.present().private)
        self.assertNotIn("undefine", self.host.calls)

    @ddt.data(*range(0, 40, 3))
    def test_killed(self, call):
        """Until the server runs, the secret is there at any moment."""
        self.adopt()
        self.host.faults[len(self.host.calls) + call] = SystemExit()
        self.useFixture(fixtures.MockPatchObject(secrets.Secrets, "_undo"))
        try:
            self.begin("hard")
        except SystemExit:
            if not self.seen:
                self.host.restart()
                self.assertEqual(self.kept.uuid, self.present().uuid)
