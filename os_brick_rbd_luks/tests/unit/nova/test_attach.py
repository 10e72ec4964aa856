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

"""Attach, detach and power: secrets in libvirt, the disk's XML, the mark."""

from __future__ import annotations

import dataclasses
import itertools

from castellan.common.objects import symmetric_key
import ddt
import fixtures
import libvirt
from nova import exception as nova_exception
from nova import objects
from oslo_serialization import jsonutils
from testtools import matchers

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.image import capabilities
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.nova import provider as ours
from os_brick_rbd_luks import plugin
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import libvirt as fake
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests.unit.nova import base
from os_brick_rbd_luks.tests import units

ALL = tuple(records.HEADERS)

#: What starts a guest without connecting its volumes.
VERBS = ("resume", "rescue", "unrescue")


@ddt.ddt
class ConnectTest(base.NovaTestCase):

    @ddt.data(*ALL)
    def test_boot_and_delete(self, provider):
        volume = self.make(provider)
        info = self.connect(volume)
        self.assertEqual({volume.id: volume.passphrase}, self.host.volumes())
        secret = self.host.find(fake.VIR_SECRET_USAGE_TYPE_VOLUME, volume.id)
        self.assertTrue(secret.private and secret.ephemeral)
        disk = self.config(info)
        self.assertEqual("ignore", disk.driver_discard)
        element = disk.format_dom().find("encryption")
        self.assertEqual({"luks1": ("luks", None), "luks2": (
            "luks2", "librbd")}[volume.header],
            (element.get("format"), element.get("engine")))
        self.boot(info)
        self.assertEqual(base.SIZE, self.domain.disks["vda"].size)
        self.disconnect(info)
        self.assert_nothing_left(info)
        self.assertTrue(self.ceph.nothing_is_open())

    def test_plain_volume_is_as_upstream_has_it(self):
        volume = self.make("")
        info = self.connect(volume)
        self.assertEqual({}, self.host.volumes())
        disk = self.config(info)
        self.assertEqual("unmap", disk.driver_discard)
        loading.unregister()
        self.assertEqual(disk.to_xml(), self.config(info).to_xml())
        self.disconnect(info)
        self.assert_nothing_left(info)

    def test_on_the_host_is_upstream_s_business(self):
        """A volume of rbd with a device has nothing of ours."""
        volume = self.make("luks")
        info = self.info(volume, device_path="/dev/rbd0")
        self.host.keep(volume.id, b"as Nova's")
        self.driver._connect_volume(self.context, info, None)
        self.disconnect(info)
        self.assert_nothing_left(info)

    @ddt.data("luks", "luks2")
    def test_re_keyed_volume(self, provider):
        """Upstream's goes on with the secret that there is."""
        volume = self.make(provider)
        self.connect(volume)
        old = volume.passphrase
        volume.key_id, volume.passphrase = self.new_key()
        with self.pool.open(volume.id) as image:
            keyslots.replace(image, old, volume.passphrase)
        self.boot(self.connect(volume))
        self.assertEqual({volume.id: volume.passphrase}, self.host.volumes())

    def test_mark_of_another_host_is_not_believed(self):
        volume = self.make("luks2")
        info = self.info(volume)
        attachment.mark(info, dataclasses.replace(
            attachment.native("luks1", 0, 1, volume.id),
            secrets=(attachment.Secret(volume.id, "of another host"),)))
        self.driver._connect_volume(self.context, info, None)
        self.boot(info)
        self.assertEqual(base.SIZE, attachment.read(info).size)

    @ddt.data("define", "setValue")
    def test_libvirt_refuses_the_secret(self, call):
        volume = self.make("luks2")
        info = self.info(volume)
        self.host.fail(call)
        error = self.assertRaises(
            exception.LibvirtError, self.driver._connect_volume,
            self.context, info, None)
        self.assertIn("something broke", str(error))
        self.assert_nothing_left(info)

    @ddt.data("luks", "luks2")
    def test_refused_where_it_has_a_secret(self, provider):
        """It may be that of a server that runs."""
        volume = self.make(provider)
        before = self.connect(volume)
        present = self.host.volumes()
        self.set_option("luks1_engine", "librbd")
        self.host.qemu = 6_000_000
        for info, mark in ((self.info(volume), None),
                           (before, dict(before["data"][attachment.KEY]))):
            self.assertRaises(exception.UnsupportedHypervisor,
                              self.driver._connect_volume, self.context,
                              info, None)
            self.assertEqual(mark, info["data"].get(attachment.KEY))
            self.assertEqual(present, self.host.volumes())
        # Who may not read the key can start it again, where it can be done.
        self.host.qemu = 10_000_000
        self.break_keys()
        self.boot(self.connect(volume))

    def test_refused_and_libvirt_fails(self):
        """What was refused says more."""
        volume = self.make("luks2")
        self.host.qemu = 6_000_000
        self.host.fail("undefine")
        self.assertRaises(exception.UnsupportedHypervisor, self.connect,
                          volume)
        self.assertIn(f"volume {volume.id}: its libvirt secrets stay",
                      self.log.output)

    def test_image_has_gone_and_the_secret_has_not(self):
        """It is somebody's to remove it, with the volume."""
        volume = self.make()
        self.connect(volume)
        self.pool.remove(volume.id)
        self.assertRaises(exception.ImageNotFound, self.connect, volume)
        self.assertEqual([volume.id], list(self.host.volumes()))

    def test_image_has_gone(self):
        volume = self.make()
        info = self.info(volume)
        self.pool.remove(volume.id)
        self.assertRaises(exception.ImageNotFound,
                          self.driver._connect_volume, self.context, info,
                          None)
        self.assert_nothing_left(info)
        self.assertTrue(self.ceph.nothing_is_open())


@ddt.ddt
class HotplugTest(base.NovaTestCase):

    def setUp(self):
        super().setUp()
        self.start("")

    def attach(self, info):
        self.driver.attach_volume(self.context, info, self.instance,
                                  "/dev/vdb", disk_bus="virtio")

    def detach(self, info):
        self.driver.detach_volume(self.context, info, self.instance,
                                  "/dev/vdb")

    @ddt.data(*ALL)
    def test_there_and_back(self, provider):
        info = self.info(self.make(provider))
        self.attach(info)
        self.assertEqual(base.SIZE, self.domain.disks["vdb"].size)
        for defined in (False, True):
            self.assertEqual(info["data"]["name"], self.domain.source(
                "vdb", defined=defined))
        self.detach(info)
        self.assert_unchanged()
        self.assert_nothing_left(info)

    @ddt.data("luks", "luks2")
    def test_qemu_does_not_open_it(self, provider):
        volume = self.make(provider)
        info = self.info(volume)
        # The image has been removed since the header was read.
        self.host.before["attachDeviceFlags"] = (
            lambda: self.pool.remove(volume.id))
        error = self.assertRaises(fake.libvirtError, self.attach, info)
        self.assertIn("No such file", str(error))
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_disk_before_its_secret(self):
        """libvirt 9.0 names a secret to QEMU that it adds afterwards."""
        self.host.version = 9_000_000
        self.host.fail("attachDeviceFlags", message=(
            "internal error: unable to execute QEMU command 'blockdev-add': "
            "No secret with id 'libvirt-2-format-encryption-secret0'"))
        info = self.info(self.make("luks2"))
        error = self.assertRaises(exception.NoHotplug, self.attach, info)
        self.assertIn("9.0.0", str(error))
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_name_in_the_guest_is_taken(self):
        first, second = self.make(), self.make("luks2")
        self.attach(self.info(first))
        info = self.info(second)
        self.assertRaises(libvirt.libvirtError, self.attach, info)
        self.assert_nothing_left(info)
        self.assertEqual([first.id], list(self.host.volumes()))
        self.assertEqual(f"volumes/{first.id}", self.domain.source("vdb"))

    @ddt.data("luks2", "clone")
    def test_too_old_a_host(self, kind):
        """Nothing is left of what was published before that is known."""
        volume = self.make("luks2")
        if kind == "clone":
            self.useFixture(fixtures.MockPatch(
                "os_brick_rbd_luks.layers.attaching.facts",
                lambda image, header, usage, *_engine: attachment.native(
                    "luks2", header.data_offset, image.size(), usage,
                    clone=True)))
        else:
            self.host.version = 7_000_000
        info = self.info(volume)
        self.assertRaises((exception.UnsupportedHypervisor,
                           exception.UnsupportedCeph), self.attach, info)
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_configuration_is_refused(self):
        """Upstream undoes only what fails after that."""
        info = self.info(self.make("luks2"))
        self.useFixture(fixtures.MockPatch(
            "os_brick_rbd_luks.nova.rbd_volume.requirements.check",
            side_effect=[None, exception.UnknownMark(what="broken")]))
        self.assertRaises(exception.UnknownMark, self.attach, info)
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_libvirt_is_away_as_well(self):
        """Who asked is told the first reason; the log has the other."""
        info = self.info(self.make("luks2"))
        self.useFixture(fixtures.MockPatch(
            "os_brick_rbd_luks.nova.rbd_volume.requirements.check",
            side_effect=[None, exception.UnknownMark(what="broken")]))
        self.useFixture(fixtures.MockPatchObject(
            self.driver, "_disconnect_volume",
            side_effect=fake.libvirtError("away", 38)))
        self.assertRaises(exception.UnknownMark, self.attach, info)
        self.assertIn("could not be disconnected", self.log.output)

    @ddt.data("luks", "luks2")
    def test_control_location(self, provider):
        """Upstream's does not look at it where QEMU decrypts."""
        metadata = self.cinder.get_volume_encryption_metadata
        self.useFixture(fixtures.MockPatchObject(
            self.cinder, "get_volume_encryption_metadata",
            lambda *arguments: {**metadata(*arguments),
                                "control_location": "back-end"}))
        info = self.info(self.make(provider))
        self.attach(info)
        self.assertEqual(base.SIZE, self.domain.disks["vdb"].size)
        self.detach(info)
        self.assert_nothing_left(info)

    def test_key_is_missing(self):
        volume = self.make("luks2")
        del keymanager.SECRETS[volume.key_id]
        info = self.info(volume)
        self.assertRaises(exception.PassphraseUnavailable, self.attach, info)
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_detach_of_what_is_not_there(self):
        """Nova lets go of it nevertheless; the secret, too."""
        info = self.connect(self.make("luks2"))
        self.detach(info)
        self.assert_unchanged()
        self.assert_nothing_left(info)

    def test_guest_does_not_let_it_go(self):
        volume = self.make("luks2")
        info = self.info(volume)
        self.attach(info)
        self.host.fail("detachDeviceFlags", libvirt.VIR_ERR_OPERATION_FAILED)
        self.assertRaises(libvirt.libvirtError, self.detach, info)
        # It needs its secret when it starts again.
        self.assertEqual([volume.id], list(self.host.volumes()))
        self.assertTrue(attachment.read(info))


@ddt.ddt
class SavedTest(base.NovaTestCase):
    """A guest's definition that was kept while libvirtd was restarted.

    Upstream starts the guest by it, and connects no volume.
    """

    #: of an image to rescue by, so that the guest has the volumes
    properties = {"hw_rescue_device": "disk"}

    def setUp(self):
        super().setUp()
        self.seen = []
        for name in VERBS:
            self.useFixture(fixtures.MockPatch(
                f"nova.virt.libvirt.driver.LibvirtDriver.{name}",
                lambda *_arguments: self.seen.append(self.host.volumes())))
        self.useFixture(fixtures.MockPatch(
            "nova.objects.BlockDeviceMappingList.get_by_instance_uuid",
            lambda _context, _uuid: self.known))
        self.known = []

    def begin(self, verb):
        """Do it, as Nova's manager calls its driver."""
        if verb == "unrescue":
            self.driver.unrescue(self.context, self.instance)
            return
        disks = {"block_device_mapping": [{"connection_info": info}
                                          for info in self.infos]}
        if verb == "rescue":
            self.driver.rescue(
                self.context, self.instance, [], objects.ImageMeta.from_dict(
                    {"properties": self.properties}), None, disks)
        else:
            self.driver.resume(self.context, self.instance, [], disks)

    def serve(self, *providers):
        """A server with such volumes; libvirtd is restarted."""
        volumes = [self.make(provider) for provider in providers]
        self.infos = [self.connect(volume) for volume in volumes]
        self.instance = self.boot(self.infos[0])
        self.uuids = {usage: self.host.find(
            fake.VIR_SECRET_USAGE_TYPE_VOLUME, usage).uuid
            for usage in self.host.volumes()}
        self.known = [records.BlockDevice(
            is_volume=True, connection_info=jsonutils.dumps(info))
            for info in self.infos] + [
            records.BlockDevice(is_volume=False, connection_info=None)]
        self.host.restart()
        return {volume.id: volume.passphrase for volume in volumes
                if volume.provider}

    @ddt.data(*itertools.product(VERBS, ("luks", "luks2")))
    @ddt.unpack
    def test_its_secrets_are_there_before_it_starts(self, verb, provider):
        expected = self.serve(provider, "", provider)
        self.begin(verb)
        self.assertEqual([expected], self.seen)
        # And by the uuids that it names.
        self.assertEqual(self.uuids, {usage: self.host.find(
            fake.VIR_SECRET_USAGE_TYPE_VOLUME, usage).uuid
            for usage in expected})

    @ddt.data(*VERBS)
    def test_not_started_without_them(self, verb):
        """What was saved stays saved."""
        self.serve("luks2")
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.begin, verb)
        self.assertEqual([], self.seen)

    def test_legacy_rescue(self):
        """Its guest has none of the volumes."""
        self.properties = {}
        expected = self.serve("luks2")
        self.break_keys()
        self.begin("rescue")
        self.assertEqual([{}], self.seen)
        self.assertIn("rescued without the secrets", self.log.output)
        self.assertRaises(exception.PassphraseUnavailable, self.begin,
                          "unrescue")
        self.restore_keys()
        self.begin("unrescue")
        self.assertEqual([{}, expected], self.seen)

    @ddt.data(*VERBS)
    def test_nothing_is_needed_while_they_are_there(self, verb):
        expected = self.serve("luks")
        self.driver._connect_volume(self.context, self.infos[0], None)
        self.break_keys()
        self.begin(verb)
        self.assertEqual([expected], self.seen)


@ddt.ddt
class PowerTest(base.NovaTestCase):

    def power_off(self):
        self.domain.stop()
        self.disconnect(self.old_info, destroy_secrets=False)

    @ddt.data("luks", "luks2")
    def test_power_cycle(self, provider):
        self.start(provider)
        self.power_off()
        self.assertEqual(self.before[1], self.host.volumes())
        self.boot(self.connect(self.old))
        self.assertEqual(self.before[1], self.host.volumes())

    @ddt.data(*itertools.product(("luks", "luks2"), (True, False)))
    @ddt.unpack
    def test_while_the_key_manager_is_down(self, provider, known):
        """What the host has is enough, also of a connection without mark."""
        self.start(provider)
        self.power_off()
        self.break_keys()
        if not known:
            self.forget_keyslot()
        info = self.connect(self.old)
        self.boot(info)
        self.assertEqual(base.SIZE, attachment.read(info).size)
        self.assertEqual(
            not known,
            "secret that this host has for the volume" in self.log.output)

    @ddt.data("luks", "luks2")
    def test_nobody_is_asked_for_what_is_here(self, provider):
        """A service that does not answer would hold up the start."""
        self.start(provider)
        self.power_off()
        asked = []
        for owner, name in (
                (keymanager.MemoryKeyManager, "get"),
                (self.cinder, "get_volume_encryption_metadata")):
            self.useFixture(fixtures.MockPatchObject(
                owner, name, lambda *arguments: asked.append(arguments)))
        for info in (self.old_info, self.info(self.old)):
            self.driver._connect_volume(self.context, info, None)
            self.boot(info)
        self.assertEqual([], asked)
        self.assertEqual(self.before[1], self.host.volumes())

    def test_what_is_here_outlives_libvirtd(self):
        """When the operator has wanted that since, no key is needed."""
        self.start("luks2")
        self.power_off()
        self.set_option("libvirt_secrets", "persistent")
        self.break_keys()
        self.connect(self.old)
        self.host.restart()
        self.boot(self.connect(self.old))
        self.assertEqual(self.before[1], self.host.volumes())

    def test_key_manager_has_another_key(self):
        """The host's secret opens the volume, and that is all there is."""
        self.start("luks2")
        self.power_off()
        self.forget_keyslot()
        keymanager.SECRETS[self.old.key_id] = symmetric_key.SymmetricKey(
            "AES", 256, b"another" * 4)
        self.boot(self.connect(self.old))
        self.assertEqual(self.before[1], self.host.volumes())
        self.assertIn("copy what the volume holds", self.log.output)

    def test_key_manager_has_another_key_and_so_has_the_host(self):
        self.start("luks2")
        keymanager.SECRETS[self.old.key_id] = symmetric_key.SymmetricKey(
            "AES", 256, b"another" * 4)
        self.host.restart()
        error = self.assertRaises(exception.WrongPassphrase, self.connect,
                                  self.old)
        self.assertEqual({}, self.host.volumes())
        # The operator's log has the image, the server's owner the volume.
        self.assertIn(f"volumes/{self.old.id}", str(error))
        self.assertThat(error.format_message(), matchers.StartsWith(
            f"volume {self.old.id}: "))

    def test_libvirt_was_restarted_while_the_key_manager_is_down(self):
        """An ephemeral secret is gone then: nobody can start the server."""
        self.start("luks2")
        self.power_off()
        self.host.restart()
        self.break_keys()
        error = self.assertRaises(exception.PassphraseUnavailable,
                                  self.connect, self.old)
        self.assertIn(self.old.key_id, str(error))
        self.assertEqual({}, self.host.volumes())

    def forget_keyslot(self):
        """The secret does not say what it opens, as an unmodified Nova's."""
        for kept in self.host.secrets.values():
            kept.description = None

    @ddt.data(*itertools.product(("luks", "luks2"), (True, False),
                                 (True, False)))
    @ddt.unpack
    def test_while_cinder_is_down(self, provider, marked, known):
        """Upstream's asks it for nothing as long as there is a secret."""
        self.start(provider)
        self.power_off()
        self.break_cinder()
        if not known:
            self.forget_keyslot()
        info = self.old_info if marked else self.info(self.old)
        self.driver._connect_volume(self.context, info, None)
        self.boot(info)
        self.assertEqual(self.before[1], self.host.volumes())
        self.assertEqual(base.SIZE, attachment.read(info).size)
        self.assertEqual(not known,
                         "Cinder does not tell" in self.log.output)

    def test_while_cinder_is_down_and_libvirt_was_restarted(self):
        self.start("luks2")
        self.power_off()
        self.host.restart()
        self.break_cinder()
        self.assertRaises(nova_exception.CinderConnectionFailed,
                          self.driver._connect_volume, self.context,
                          self.old_info, None)
        self.assertEqual({}, self.host.volumes())

    def break_cinder(self):
        self.useFixture(fixtures.MockPatchObject(
            self.cinder, "get_volume_encryption_metadata",
            side_effect=nova_exception.CinderConnectionFailed(reason="down")))

    def test_libvirt_was_restarted(self):
        self.start("luks2")
        self.power_off()
        self.host.restart()
        self.boot(self.connect(self.old))
        self.assertEqual(self.before[1], self.host.volumes())

    def test_secret_has_gone(self):
        """No raw image for the guest."""
        volume = self.make("luks2")
        info = self.connect(volume)
        self.host.restart()
        error = self.assertRaises(exception.MissingSecret, self.config, info)
        self.assertIn(volume.id, str(error))

    def test_neither_mark_nor_secret(self):
        volume = self.make()
        error = self.assertRaises(exception.NotMarked, self.config,
                                  self.info(volume))
        self.assertIn(volume.id, str(error))

    def test_no_mark_but_upstream_s_secret(self):
        """A server that an unmodified Nova has started."""
        volume = self.make()
        kept = self.host.keep(volume.id, volume.passphrase)
        element = self.config(self.info(volume)).format_dom()
        self.assertEqual(kept.uuid, element.find(
            "encryption/secret").get("uuid"))

    @ddt.data(("format", "luks3"), ("engine", "other"), ("secrets", []))
    @ddt.unpack
    def test_mark_of_a_newer_release(self, member, value):
        info = self.connect(self.make())
        info["data"][attachment.KEY][member] = value
        self.assertRaises(exception.UnknownMark, self.config, info)

    @ddt.data("format", "engine", "size", "secrets")
    def test_mark_without_a_member(self, member):
        volume = self.make()
        info = self.connect(volume)
        del info["data"][attachment.KEY][member]
        error = self.assertRaises(exception.UnknownMark, self.config, info)
        self.assertIn(member, str(error))
        self.assertIn(volume.id, str(error))

    def test_too_old_for_what_the_mark_says(self):
        info = self.connect(self.make("luks2"))
        self.host.version = 7_000_000
        self.assertRaises(exception.UnsupportedHypervisor, self.config, info)


@ddt.ddt
class ExtensionTest(base.NovaTestCase):

    LARGER = 3 * base.SIZE

    def extend(self):
        """Cinder has made the image larger, Nova is told."""
        content = self.pool.contents[self.old.id]
        content.resize(content.size + self.LARGER - base.SIZE)
        self.driver.extend_volume(self.context, self.old_info, self.instance,
                                  self.LARGER)

    @ddt.data("", *ALL)
    def test_guest_sees_it(self, provider):
        self.start(provider)
        self.extend()
        self.assertEqual(self.LARGER, self.domain.disks["vda"].size)
        # Nothing was cut off, or added.
        self.assertEqual(self.LARGER, self.decrypted_size(self.old))
        if provider:
            self.assertEqual(self.LARGER, attachment.read(self.old_info).size)

    def test_mark_was_lost(self):
        """As of a server that an unmodified Nova has started."""
        self.start("luks")
        attachment.unmark(self.old_info)
        self.extend()
        self.assertEqual(self.LARGER, self.domain.disks["vda"].size)

    def test_libvirt_does_not_do_it(self):
        self.start("luks2")
        self.host.fail("blockResize")
        self.assertRaises(libvirt.libvirtError, self.extend)
        self.assertEqual(base.SIZE, self.domain.disks["vda"].size)
        self.assertEqual(self.LARGER, self.decrypted_size(self.old))

    def test_another_provider_is_upstream_s_business(self):
        """Upstream asks qemu-img for LUKS1, and the encryptor for others."""
        self.start("")
        self.old.provider = "plain"
        self.old_info["data"]["encrypted"] = True
        self.driver._get_volume_encryptor = self._encryptor
        self.extend()
        self.assertEqual(self.LARGER, self.domain.disks["vda"].size)

    def _encryptor(self, *_arguments):
        return self

    def extend_volume(self, _context, **_metadata):
        return self.LARGER


class NewerCephExtensionTest(ExtensionTest):
    """librbd counts the header itself from 18 on."""

    release = 18


@ddt.ddt
class OtherLibrbdTest(base.NovaTestCase):
    """A running QEMU has the librbd of before an upgrade, or another's."""

    release, installed = 16, 18

    @ddt.data(base.SIZE, 32 * units.MIB)
    def test_nothing_is_cut(self, more):
        """Also where it grows by less than a header, and twice."""
        self.start("luks2")
        self.useFixture(fixtures.MockPatch(
            "os_brick_rbd_luks.image.releases.installed",
            lambda: capabilities.Librbd(self.installed)))
        content = self.pool.contents[self.old.id]
        offset = content.size - base.SIZE
        end = content.size - 512
        content.write(end, b"guest")
        for size in (base.SIZE + more, base.SIZE + 2 * more):
            content.resize(offset + size)
            for _twice in range(2):
                self.driver.extend_volume(self.context, self.old_info,
                                          self.instance, size)
                self.assertEqual(size, self.domain.disks["vda"].size)
                self.assertEqual(size, self.decrypted_size(self.old))
                self.assertEqual(b"guest", content.read(end, 5))
            end = content.size - 512
            content.write(end, b"guest")


class OlderLibrbdTest(OtherLibrbdTest):
    """As in a container of its own."""

    release, installed = 18, 16


@ddt.ddt
class WhoseTest(base.NovaTestCase):
    """Our encryptor of a volume, or none."""

    def encryptor(self, provider, **data):
        volume = self.make(provider)
        return ours.encryptor(
            self.driver, self.info(volume, **data),
            self.cinder.get_volume_encryption_metadata(None, volume.id))

    @ddt.data(*ALL)
    def test_ours(self, provider):
        self.assertIsInstance(self.encryptor(provider),
                              attachment.NativeEncryptor)
        self.assertEqual({}, self.host.volumes())

    def test_plain(self):
        self.assertIsNone(self.encryptor(""))

    def test_with_a_device(self):
        self.assertIsNone(self.encryptor("luks", device_path="/dev/rbd0"))

    def test_somebody_has_registered_another_since(self):
        self.useFixture(fixtures.MonkeyPatch(
            "os_brick.encryptors.FORMAT_TO_FRONTEND_ENCRYPTOR_MAP",
            {"luks": "os_brick.encryptors.nop.NoOpEncryptor"}))
        self.assertIsNone(self.encryptor("luks"))


class NoInstanceTest(base.NovaTestCase):

    def test_extension_of_a_server_that_has_gone(self):
        self.start("luks2")
        self.domain.stop()
        del self.host.domains[self.domain.uuid]
        self.assertRaises(nova_exception.InstanceNotFound,
                          self.driver.extend_volume, self.context,
                          self.old_info, self.instance, base.SIZE)

    def test_providers_of_volume_types(self):
        self.assertLess(set(plugin.ENCRYPTORS.values()), set(ALL))
