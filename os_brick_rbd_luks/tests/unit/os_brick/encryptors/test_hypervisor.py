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

"""Attachments that the hypervisor decrypts."""

from __future__ import annotations

import base64
import dataclasses
import json

import ddt
from oslo_config import cfg

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import erase
from os_brick_rbd_luks.luks.luks1 import ondisk
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests import costs
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import modules
from os_brick_rbd_luks.tests.unit.os_brick.encryptors import base
from os_brick_rbd_luks.tests import units


@ddt.ddt
class AttachTest(base.HypervisorTestCase):

    def test_mark_and_secret(self):
        self.make_volume()
        self.attach()
        self.assertEqual(
            attachment.Native("luks", "qemu", 4 * units.MIB, units.MIB,
                              (attachment.Secret(base.VOLUME),)),
            attachment.read(self.info))
        kept, = self.daemon.secrets.values()
        self.assertEqual((base.VOLUME, base.HEX, True, True), (
            kept.usage, kept.value, kept.ephemeral, kept.private))

    def test_cost(self):
        """One look at the header, and one derivation."""
        self.make_volume()
        with costs.Costs() as found:
            self.attach()
        self.assertEqual({"open": 1, "verify": 1, "read_start": 1},
                         found.counts)

    def test_connection_survives_json_and_has_no_secret(self):
        self.make_volume()
        self.attach()
        text = json.dumps(self.info)
        self.assert_no_secret(text)
        self.assertEqual(self.info, json.loads(text))

    def test_nothing_else_is_changed(self):
        self.make_volume()
        self.attach()
        del self.info["data"][attachment.KEY]
        self.assertEqual(self.before, json.dumps(self.info))

    def test_nothing_is_written(self):
        content = self.make_volume()
        content.log.clear()
        self.attach()
        self.assertEqual([], content.log)

    def test_twice(self):
        self.make_volume()
        self.attach()
        once = json.dumps(self.info)
        secrets = {uuid: vars(kept).copy()
                   for uuid, kept in self.daemon.secrets.items()}
        self.attach()
        self.assertEqual(once, json.dumps(self.info))
        self.assertEqual(secrets, {
            uuid: vars(kept) for uuid, kept in self.daemon.secrets.items()})

    def test_rekeyed_meanwhile(self):
        content = self.make_volume()
        self.attach()
        self.rekey(content)
        self.attach(key_id=base.NEW_KEY_ID)
        self.assertEqual({base.VOLUME: base.NEW_HEX}, self.daemon.volumes())

    def test_stale_secret_of_nova(self):
        """It would be given to the guest as it is (upstream's fault H6)."""
        self.make_volume()
        self.daemon.keep(base.VOLUME, b"stale")
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_serial_names_the_volume(self):
        self.make_volume()
        del self.info["data"]["volume_id"]
        self.info["serial"] = base.VOLUME
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_no_name(self):
        self.make_volume()
        del self.info["data"]["volume_id"]
        self.before = json.dumps(self.info)
        error = self.fails(exception.InvalidParameter, self.attach)
        self.assertIn("names no volume", str(error))
        self.assert_nothing_left()

    def test_namespace(self):
        name = f"volumes/space/volume-{base.VOLUME}"
        self.make_volume(name=name)
        self.info["data"]["name"] = name
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_with_a_guest_on_it(self):
        """A volume of many attachments, or a live migration's."""
        self.make_volume()
        handle = self.handle()
        self.attach()
        handle.close()
        handle.rbd_image.client.disconnect()

    def test_upstreams_layout(self):
        """Its payload begins where librbd 18 does not want it."""
        content = self.make_volume()
        sectors = 4040
        content.write(ondisk.OFFSETS["payload_offset"],
                      sectors.to_bytes(4, "big"))
        self.attach()
        facts = attachment.read(self.info)
        self.assertEqual((sectors * 512, 5 * units.MIB - sectors * 512),
                         (facts.data_offset, facts.size))

    def test_options_name_libvirt_and_the_conf_file(self):
        self.make_volume()
        path = self.ceph.keyring_path("client.cinder").partition(",")[2]
        self.config(libvirt_uri="qemu:///session", ceph_conf=path)
        self.attach()
        self.assertEqual(["qemu:///session"], self.daemon.uris)
        self.assertEqual([path], [one.conffile for one in self.ceph.history])


@ddt.ddt
class RefusedTest(base.HypervisorTestCase):

    def test_no_image(self):
        self.assertIn("does not exist",
                      str(self.refused(exception.ImageNotFound)))

    def test_no_pool(self):
        self.info["data"]["name"] = f"nopool/volume-{base.VOLUME}"
        self.before = json.dumps(self.info)
        self.refused(exception.ImageNotFound)

    @ddt.data("name", "hosts", "ports")
    def test_malformed(self, key):
        del self.info["data"][key]
        self.before = json.dumps(self.info)
        self.refused(exception.InvalidParameter)

    def test_malformed_name(self):
        self.info["data"]["name"] = "no pool"
        self.before = json.dumps(self.info)
        self.refused(exception.InvalidParameter)

    def test_wrong_key(self):
        self.make_volume()
        self.refused(exception.WrongPassphrase, key_id=base.NEW_KEY_ID)

    def test_erased(self):
        content = self.make_volume()
        erase.erase(images.MemoryImage(content))
        self.refused(exception.KeyslotNotFound)

    @ddt.data((b"LUKS\xba\xbe\x00\x02", exception.CorruptHeader),
              (b"LUKS\xba\xbe\x00\x03", exception.UnsupportedHeader),
              (b"RBDL\xba\xbe\x00\x01", exception.CorruptHeader),
              (b"LUKS\xba\xbe\x00\x01" + bytes(600),
               exception.HeaderError))
    @ddt.unpack
    def test_other_headers(self, start, expected):
        content = self.make_image(data=start)
        self.refused(expected)
        self.assertEqual(start, content.read(0, len(start)))

    @ddt.data("list", "define", "setValue", "open")
    def test_libvirt_fails(self, call):
        self.make_volume()
        self.daemon.fail(call)
        self.refused(exception.LibvirtError)

    def test_no_libvirt(self):
        self.make_volume()
        self.useFixture(modules.Module("libvirt", None))
        self.refused(exception.MissingDependency)

    @ddt.data("connect", "open_ioctx", "open_image", "read")
    def test_ceph_fails(self, call):
        self.make_volume()
        errors = self.ceph.rados if call in ("connect", "open_ioctx") else (
            self.ceph.rbd)
        self.ceph.faults[call] = errors.Error("down")
        # Or else the monitors that a conf file names are asked.
        self.ceph.default_conf = False
        self.assertIn("down", str(self.refused(exception.ImageError)))

    def test_no_rbd(self):
        self.make_volume()
        self.useFixture(modules.Module("rbd", None))
        self.refused(exception.MissingDependency)

    def test_the_mark_and_secret_of_an_earlier_attachment_stay(self):
        """A guest may be running with them."""
        self.make_volume()
        self.attach()
        once = json.dumps(self.info)
        self.fails(exception.WrongPassphrase, self.attach,
                   key_id=base.NEW_KEY_ID)
        self.assertEqual(once, json.dumps(self.info))
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())


@ddt.ddt
class BlankTest(base.HypervisorTestCase):

    def test_formatted(self):
        content = self.make_image()
        self.attach()
        self.opens(content, base.HEX)
        self.assertEqual(units.MIB, attachment.read(self.info).size)
        self.assertIn("was blank and is formatted now", self.log.output)

    @ddt.data(b"x", bytes(512))
    def test_data(self, data):
        """Zeros that were written are data, too: nobody knows whose."""
        content = self.make_image(data=data)
        error = self.refused(exception.OperationRefused)
        self.assertIn("header restore", str(error))
        self.assertEqual(data, content.read(0, len(data)))

    def test_data_at_the_end(self):
        content = self.make_image(size=20 * units.MIB)
        images.MemoryImage(content).write(20 * units.MIB - 1, b"x")
        self.refused(exception.OperationRefused)
        self.assertEqual(1, len(content.objects))

    def test_read_only(self):
        content = self.make_image()
        self.info["data"]["access_mode"] = "ro"
        self.before = json.dumps(self.info)
        self.refused(exception.ImageReadOnly)
        self.assertFalse(content.objects)

    def test_read_only_volume(self):
        self.make_volume()
        self.info["data"]["access_mode"] = "ro"
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_too_small(self):
        self.make_image(size=4 * units.MIB)
        self.refused(exception.ImageTooSmall)

    def test_open_elsewhere(self):
        content = self.make_image()
        handle = self.handle()
        self.refused(exception.ImageLocked)
        self.assertFalse(content.objects)
        handle.close()
        handle.rbd_image.client.disconnect()

    def test_libvirt_fails_after_it_was_formatted(self):
        """A header with the volume's own key is nothing to take back."""
        content = self.make_image()
        self.daemon.fail("setValue")
        self.refused(exception.LibvirtError)
        self.opens(content, base.HEX)
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_write_fails(self):
        self.make_image()
        planned = faults.Faults(faults.Fault(
            "write", nth=2, error=exception.ImageFull(action="write")))
        pool = self.ceph.pools["volumes"]
        self.ceph.pools["volumes"] = planned.around(pool)
        self.refused(exception.ImageFull)
        planned.assert_happened()


class DetachTest(base.HypervisorTestCase):

    def test_detach(self):
        self.make_volume()
        self.attach()
        self.detach()
        self.assert_nothing_left()

    def test_twice(self):
        self.make_volume()
        self.attach()
        self.detach()
        self.detach()
        self.assert_nothing_left()

    def test_without_attach(self):
        self.detach()
        self.assert_nothing_left()

    def test_after_a_crash(self):
        """The connection comes from the database again, without a mark."""
        self.make_volume()
        self.attach()
        self.info = json.loads(self.before)
        self.detach()
        self.assert_nothing_left()

    def test_secret_is_gone_already(self):
        self.make_volume()
        self.attach()
        self.daemon.secrets.clear()
        self.detach()
        self.assert_nothing_left()

    def test_needs_neither_image_nor_key_manager(self):
        """The volume may be gone, and the key with it."""
        content = self.make_volume()
        self.attach()
        self.ceph.history.clear()
        del content, self.ceph.pools["volumes"]
        self.encryptor(self.info, key_id=None).detach_volume()
        self.assert_nothing_left()
        self.assertEqual([], self.ceph.history)

    def test_fails(self):
        """It can be done again: the mark says that there is a secret."""
        self.make_volume()
        self.attach()
        self.daemon.fail("undefine")
        error = self.fails(exception.LibvirtError, self.detach)
        self.assertIn(base.VOLUME, str(error))
        self.assertIsNotNone(attachment.read(self.info))
        self.detach()
        self.assert_nothing_left()

    def test_attach_again(self):
        self.make_volume()
        self.attach()
        self.detach()
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_secrets_of_other_volumes_stay(self):
        self.make_volume()
        self.daemon.keep("another volume", b"theirs")
        self.attach()
        self.detach()
        self.assertEqual({"another volume": b"theirs"},
                         self.daemon.volumes())


class ExtendTest(base.HypervisorTestCase):

    def test_attached(self):
        content = self.make_volume()
        self.attach()
        content.resize(12 * units.MIB)
        self.assertEqual(8 * units.MIB, self.extend())
        self.assertEqual(8 * units.MIB, attachment.read(self.info).size)

    def test_not_attached(self):
        """As Nova does it with a connection of its own making: no mark."""
        self.make_volume()
        self.assertEqual(units.MIB, self.extend())
        self.assert_nothing_left()

    def test_needs_no_key(self):
        self.make_volume()
        self.assertEqual(units.MIB, self.encryptor(
            self.info, key_id=None).extend_volume(self.context))

    def test_never_formats(self):
        content = self.make_image()
        error = self.fails(exception.NotLuks, self.extend)
        self.assertIn(base.VOLUME, str(error))
        self.assertFalse(content.objects)


@ddt.ddt
class KeyringTest(base.HypervisorTestCase):
    """A compute host without a keyring: libvirt has the user's key."""

    def setUp(self):
        super().setUp()
        self.make_volume()
        self.ceph.keyrings.clear()
        self.ceph.key = "AQBsb25nIGtleQ=="

    def keep(self, value=None, **options):
        kept = self.daemon.keep("client.cinder secret", value
                                or base64.b64decode(self.ceph.key),
                                kind="ceph", **options)
        self.info["data"]["secret_uuid"] = kept.uuid
        self.before = json.dumps(self.info)

    def test_key_of_libvirt(self):
        self.keep()
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())
        self.assertEqual(units.MIB, self.extend())
        self.assertNotIn(self.ceph.key, self.log.output + repr(self.info))

    def test_libvirt_has_none(self):
        error = self.refused(exception.NoKeyring)
        self.assertIn("client.cinder", str(error))

    def test_no_uuid(self):
        del self.info["data"]["secret_uuid"]
        self.before = json.dumps(self.info)
        self.refused(exception.NoKeyring)

    def test_private(self):
        self.keep(private=True)
        self.refused(exception.NoKeyring)

    def test_keyring_of_another_cluster(self):
        """Also of the key before the last; QEMU looks at none of them."""
        self.keep()
        self.ceph.keyrings.add("client.cinder")
        self.ceph.stale["client.cinder"] = "AQBvbGQga2V5ISE="
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    @ddt.data({"secret_uuid": None}, {"auth_enabled": False},
              {"auth_enabled": False, "secret_uuid": None,
               "auth_username": None})
    def test_user_of_the_host(self, properties):
        """As Nova's, where Cinder's connection names no secret."""
        self.keep()
        opts.options()
        for name, value in (
                ("rbd_user", "cinder"),
                ("rbd_secret_uuid", self.info["data"]["secret_uuid"])):
            cfg.CONF.set_override(name, value, opts.GROUP)
            self.addCleanup(cfg.CONF.clear_override, name, opts.GROUP)
        self.info["data"].update(properties)
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())

    def test_wrong_key(self):
        self.keep(b"another key")
        error = self.refused(exception.ImageAccessDenied)
        self.assertNotIn("another key", str(error))

    def test_keyring_in_the_connection(self):
        """As cinderlib sends it; the key is not written anywhere."""
        self.info["data"]["keyring"] = (
            f"[client.cinder]\n\tkey = {self.ceph.key}\n")
        self.attach()
        self.assertEqual({base.VOLUME: base.HEX}, self.daemon.volumes())
        self.assertNotIn(self.ceph.key, self.log.output)


class FormerTest(base.HypervisorTestCase):
    """The mark names the secrets by another id: Cinder migrated the volume.

    A definition that was kept since names that secret by its uuid.
    """

    OTHER = "81d0c1b2-0000-4000-8000-000000000000"

    def setUp(self):
        super().setUp()
        self.make_volume()
        self.info["data"][attachment.KEY] = attachment.native(
            "luks1", 0, 0, self.OTHER).as_dict()

    def test_published_by_both(self):
        self.attach()
        both = {self.OTHER: base.HEX, base.VOLUME: base.HEX}
        self.assertEqual(both, self.daemon.volumes())
        facts = attachment.read(self.info)
        self.assertEqual(((self.OTHER,), (attachment.Secret(base.VOLUME),)),
                         (facts.former, facts.secrets))
        # For ever: the first one's uuid is named still.
        self.daemon.restart()
        self.attach()
        self.assertEqual(both, self.daemon.volumes())

    def test_detached_from_both(self):
        self.attach()
        self.detach()
        self.assertEqual({}, self.daemon.volumes())
        self.assertNotIn(attachment.KEY, self.info["data"])

    def test_extended(self):
        """The names stay: nothing else has changed."""
        self.extend()
        facts = attachment.read(self.info)
        self.assertEqual((attachment.Secret(self.OTHER),), facts.secrets)

    def test_marked_by_the_volume_s_own(self):
        facts = self.encryptor(self.info).mark_volume(base.VOLUME)
        self.assertEqual(((self.OTHER,), (attachment.Secret(base.VOLUME),)),
                         (facts.former, facts.secrets))

    def test_failed(self):
        """Nothing is believed of a mark that is not of this connection."""
        keymanager.SECRETS.clear()
        self.fails(exception.PassphraseUnavailable, self.attach)


class MarkTest(base.HypervisorTestCase):
    """A caller knows that libvirt has the secrets."""

    def test_without_the_key_manager(self):
        self.make_volume()
        keymanager.SECRETS.clear()
        facts = self.encryptor(self.info).mark_volume()
        self.assertEqual(attachment.read(self.info), facts)
        self.assertEqual((attachment.Secret(base.VOLUME),), facts.secrets)
        self.assertEqual({}, self.daemon.volumes())

    def test_no_header(self):
        self.make_image()
        error = self.fails(exception.NotLuks,
                           self.encryptor(self.info).mark_volume)
        self.assertIn(base.VOLUME, str(error))
        self.assert_nothing_left()


class DropFastDiffTest(base.HypervisorTestCase):
    """Before QEMU copies a disk of a running guest."""

    def prepare(self, cls):
        self.ceph.pools["volumes"]._made["features"] = frozenset(
            {"fast-diff", "layering"})
        self.content = self.make_volume(
            size=32 * units.MIB, options=dataclasses.replace(
                base.XTS, type=cls._HEADER_TYPE))
        self.encryptor(self.info, cls).drop_fast_diff()

    def test_librbd_s_holes(self):
        self.prepare(luks.RBDLuks2Encryptor)
        self.assertEqual({"layering"}, self.content.features)
        self.assertIn("fast-diff is off now", self.log.output)
        self.assertTrue(self.ceph.nothing_is_open())

    def test_qemu_s_holes(self):
        self.prepare(luks.RBDLuksEncryptor)
        self.assertIn("fast-diff", self.content.features)

    def test_neither_marks_nor_publishes(self):
        self.prepare(luks.RBDLuks2Encryptor)
        self.assertIsNone(attachment.read(self.info))
        self.assertEqual({}, self.daemon.volumes())
