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

"""What is done about a nova-compute that was killed, when it starts again."""

from __future__ import annotations

import types

import ddt
import fixtures
from lxml import etree

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.libvirt import secrets
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import swapping


class Killed(BaseException):
    """Nothing is undone, and nobody is told."""


def _die(*_arguments):
    raise Killed()


class KilledTestCase(swapping.StartTestCase):

    def starts_again(self):
        """nova-compute; what it says from then on."""
        before = len(self.log.output)
        self.make_driver().init_host("here")
        return self.log.output[before:]

    def killed(self, owner, name, *volumes):
        """Moving a server, where that is called."""
        self.prepare(*volumes)
        with fixtures.MockPatchObject(owner, name, _die):
            self.assertRaises(Killed, self.swap)
        self.assertEqual(f"volumes/{self.new.id}", self.domain.source("vda"))


@ddt.ddt
class MovedTest(KilledTestCase):
    """The guest is on the new volume, and Nova's record says the old one."""

    def assert_told(self, said):
        for text in (self.instance.uuid, f"is on volumes/{self.new.id}",
                     f"says volumes/{self.old.id}", "ERROR", "delete neither",
                     "Do not reboot"):
            self.assertIn(text, said)

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(
            format="%(levelname)s %(message)s"))

    @ddt.data(("luks", "luks"), ("luks", "luks2"), ("luks2", "luks"),
              ("", "luks2"), ("luks2", ""))
    @ddt.unpack
    def test_before_the_definition_is_kept(self, old, new):
        self.killed(blockcopy.BlockCopy, "keep", old, new)
        kept = dict(self.host.volumes())
        self.assert_told(self.starts_again())
        self.assert_defined_on_new()
        # Neither the one that the guest has nor the one that Nova names.
        self.assertEqual(kept, self.host.volumes())
        self.domain.stop()
        self.domain.start()

    def test_before_nova_has_saved_it(self):
        """All else is done; libvirt keeps the definition up to date, too."""
        self.prepare("luks", "luks2")
        self.swap()
        self.assert_told(self.starts_again())
        self.assert_on_new()
        self.assertNotIn("the definition follows", self.log.output)

    def test_guest_has_ended_since(self):
        """It would be started from what Nova's record says."""
        self.prepare("luks", "luks2")
        self.swap()
        self.domain.stop()
        self.assert_told(self.starts_again())

    def test_transient_server(self):
        self.prepare("luks", "luks2")
        self.domain.config = None
        self.swap()
        self.assert_told(self.starts_again())
        self.assertIsNone(self.domain.config)

    def test_plain_volumes(self):
        """Upstream has moved it. Nothing is changed, but it is said."""
        self.prepare("", "")
        # Upstream undefines the server meanwhile; here it need not.
        self.domain.config = None
        self.swap()
        self.assert_told(self.starts_again())

    def test_nova_s_records_are_not_known(self):
        """The definition is libvirt's."""
        self.killed(blockcopy.BlockCopy, "keep", "luks", "luks2")
        with fixtures.MockPatch("nova.objects.InstanceList.get_by_host",
                                side_effect=RuntimeError("no queue")):
            said = self.starts_again()
        self.assert_defined_on_new()
        self.assertIn("records of this host's servers are not known", said)
        # Nor is it known which secrets are needed.
        self.assertIn(self.old.id, self.host.volumes())

    @ddt.data("XMLDesc", "listAllDomains", "defineXML", "list")
    def test_libvirt_fails(self, call):
        """The service starts nevertheless."""
        self.killed(blockcopy.BlockCopy, "keep", "luks", "luks2")
        kept = dict(self.host.volumes())
        self.host.fail(call)
        self.starts_again()
        self.assertEqual(kept, self.host.volumes())
        self.assert_told(self.starts_again())
        self.assert_defined_on_new()

    @ddt.data({"vm_state": "rescued"}, {"task_state": "rescuing"},
              {"task_state": "unrescuing"})
    def test_rescued_server(self, state):
        """Its disks have other names."""
        self.prepare("luks", "luks2")
        self.swap()
        for name, value in state.items():
            setattr(self.instance, name, value)
        self.assertEqual("", self.starts_again())

    def test_all_is_as_it_should_be(self):
        self.prepare("luks", "luks2")
        self.assertEqual("", self.starts_again())
        self.assert_unchanged()
        self.swap()
        self.database.attached(self.instance, self.new_info, self.new.id)
        self.assertEqual("", self.starts_again())
        self.assert_on_new()

    def test_disk_that_no_record_names(self):
        self.start("luks")
        self.database.attached(self.instance, self.old_info, self.old.id,
                               "/dev/vdb")
        self.assertEqual("", self.starts_again())

    def test_volume_outside_ceph(self):
        """The host's path of it is not in the record."""
        self.start("luks")
        for place in (self.domain.live, self.domain.config):
            source = place.find("devices/disk/source")
            source.attrib.clear()
            source.set("dev", "/dev/dm-1")
        self.database.attached(self.instance, {
            "driver_volume_type": "iscsi", "data": {}}, self.old.id)
        self.assertEqual("", self.starts_again())


class OperatorTest(KilledTestCase):
    """A copy that was begun with virsh."""

    def copied(self, old, new):
        self.prepare(old, new)
        if new:
            self.driver._connect_volume(self.context, self.new_info, None)
        self.driver._host.get_guest(self.instance).get_block_device(
            "vda").copy(blockcopy.destination(self.config(self.new_info)),
                        reuse_ext=True, transient=True)

    def test_plain_disk(self):
        self.copied("", "")
        said = self.starts_again()
        self.assertIn("vda", self.domain.jobs)
        self.assertIn(f"is being copied to volumes/{self.new.id}", said)
        self.assertIn("it goes on", said)

    def test_encrypted_disk(self):
        """It cannot be told from ours."""
        self.copied("luks", "")
        self.starts_again()
        self.assertEqual({}, self.domain.jobs)


@ddt.ddt
class SecretsTest(KilledTestCase):
    """Some that nobody needs, and many that somebody may need."""

    def test_attachment_that_was_not_finished(self):
        volume = self.make("luks2")
        self.connect(volume)
        said = self.starts_again()
        self.assertEqual({}, self.host.volumes())
        self.assertIn(volume.id, said)
        self.assertIn("they are removed", said)

    def test_record_without_a_connection(self):
        """As Nova's API makes it, before the host has done anything."""
        self.start("luks")
        volume = self.make("luks2")
        self.connect(volume)
        self.database.volumes[self.instance.uuid].append(records.BlockDevice(
            is_volume=True, volume_id=volume.id, device_name=None,
            connection_info=None))
        self.starts_again()
        self.assertEqual([self.old.id], list(self.host.volumes()))

    def test_old_volume_that_was_not_let_go(self):
        """Nova's record is right already, or was made so."""
        self.killed(swap.Swap, "_let_go", "luks", "luks2")
        self.database.attached(self.instance, self.new_info, self.new.id)
        self.starts_again()
        self.assert_defined_on_new()
        self.assertEqual([self.new.id], list(self.host.volumes()))

    def test_id_that_only_a_lost_mark_had(self):
        """After a migration by Cinder and a new record of Nova's."""
        self.prepare("luks", "luks")
        self.swap()
        info = self.info(self.new)
        info["serial"] = info["data"]["volume_id"] = self.old.id
        self.database.attached(self.instance, info, self.old.id)
        # The guest names it.
        self.starts_again()
        self.assertEqual([self.new.id], list(self.host.volumes()))
        # And when that is gone, the record's own id serves.
        self.domain.stop()
        del self.host.domains[self.instance.uuid]
        self.host.keep(self.old.id, self.new.passphrase)
        self.starts_again()
        self.assertEqual([self.old.id], list(self.host.volumes()))

    @ddt.data("layers", "by usage", "defined", "off")
    def test_guest_that_names_it(self, how):
        """An operator's own, of which Nova knows nothing."""
        self.start("luks2")
        self.database.volumes.clear()
        below = attachment.secret_below(self.old.id, 1)
        secret = self.domain.live.find("devices/disk/encryption/secret")
        secrets.Secrets(self.host.uri).publish({below: b"passphrase"})
        self.addCleanup(self.host.secrets.clear)
        wanted = {self.old.id}
        if how == "layers":
            secret.addnext(_secret(uuid=secrets.uuid_of(below)))
            wanted.add(below)
        elif how == "by usage":
            secret.getparent().replace(secret, _secret(usage=self.old.id))
            self.domain.config = None
        elif how == "defined":
            secret.getparent().remove(secret)
        else:
            self.domain.stop()
        self.starts_again()
        self.assertEqual(wanted, set(self.host.volumes()))

    @ddt.data(("running", True), ("error", True), ("done", True),
              ("completed", False), ("reverted", False))
    @ddt.unpack
    def test_server_on_its_way(self, status, kept):
        """The other host has it in its records, and this one the secret."""
        volume = self.make("luks2")
        info = self.connect(volume)
        server = records.record("0b1c5a5e-3f5e-4d0e-9a57-7e3b52f1d6c4")
        self.database.migrations.append(types.SimpleNamespace(
            instance_uuid=server.uuid, status=status))
        self.database.attached(server, info, volume.id)
        self.starts_again()
        self.assertEqual([volume.id] if kept else [],
                         list(self.host.volumes()))

    def test_rescued_server(self):
        self.start("luks")
        self.domain.stop()
        del self.host.domains[self.instance.uuid]
        self.instance.vm_state = "rescued"
        self.starts_again()
        self.assertEqual([self.old.id], list(self.host.volumes()))

    def test_ids_of_the_mark(self):
        """A definition that was kept may name any of them."""
        self.start("luks")
        former = "7c1f5a5e-3f5e-4d0e-9a57-7e3b52f1d6c4"
        secrets.Secrets(self.host.uri).publish({
            former: self.old.passphrase,
            attachment.secret_below(former, 1): b"passphrase"})
        self.old_info["data"][attachment.KEY]["former"] = [former]
        self.database.attached(self.instance, self.old_info, self.old.id)
        before = self.host.volumes()
        self.starts_again()
        self.assertEqual(before, self.host.volumes())

    def test_others_secrets(self):
        """Nova's own, and what is of no volume."""
        self.host.keep(self.make("luks").id, b"passphrase")
        own = secrets.Secrets(self.host.uri)
        own.publish({"disk of somebody's": b"passphrase"})
        self.starts_again()
        self.assertEqual(2, len(self.host.volumes()))
        self.assertIn(self.ceph_uuid, self.host.secrets)

    @ddt.data("InstanceList.get_by_host", "MigrationList.get_by_filters",
              "BlockDeviceMappingList.bdms_by_instance_uuid")
    def test_nova_does_not_answer(self, name):
        volume = self.make("luks2")
        self.connect(volume)
        with fixtures.MockPatch(f"nova.objects.{name}",
                                side_effect=RuntimeError("no database")):
            said = self.starts_again()
        self.assertEqual([volume.id], list(self.host.volumes()))
        self.assertIn("secrets of volumes", said)

    def test_record_that_cannot_be_read(self):
        self.start("luks")
        volume = self.make("luks2")
        self.connect(volume)
        self.database.volumes[self.instance.uuid][0]["connection_info"] = "{"
        self.starts_again()
        self.assertEqual({self.old.id, volume.id}, set(self.host.volumes()))


def _secret(**attributes):
    return etree.Element("secret", type="passphrase", **attributes)
