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

"""Live migration: what the destination sends, and what the source makes of it.

The destination's part is Nova's ``pre_live_migration``; what it sends goes
through Nova's object as RPC would carry it; the source's part is Nova's
``get_updated_guest_xml``, whose result a guest on the other host has to be
able to run with.
"""

from __future__ import annotations

import ddt
import fixtures
import libvirt
from nova import conf
from nova import exception as nova_exception
from nova.virt.libvirt import driver

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.unit.nova import migrating
from os_brick_rbd_luks.tests.unit.nova import moved


@ddt.ddt
class MigrationTest(migrating.MigratedTestCase):

    def setUp(self):
        super().setUp()
        # Operators define it by the same UUID on all hosts.
        self.other_host.secrets[self.ceph_uuid] = (
            self.host.secrets[self.ceph_uuid])

    @ddt.data("luks", "luks2")
    def test_there(self, provider):
        self.start(provider)
        # Of an unmodified Nova, which leaves it to chance.
        self.other_host.keep(self.old.id, b"of a server that was here")
        received = self.prepare()
        element = self.encryption(received)
        self.assertEqual({"luks": None, "luks2": "librbd"}[provider],
                         element.get("engine"))
        secrets = [secret.get("uuid")
                   for secret in element.findall("secret")]
        self.assertEqual(self.uuids(self.other_host, self.old.id), secrets)
        self.assertNotEqual(self.uuids(self.host, self.old.id), secrets)
        # Neither host's own is changed by what the other says.
        self.assert_unchanged()
        self.disconnect(self.old_info)
        self.assert_nothing_left(self.old_info)
        with self.there():
            self.other_driver._disconnect_volume(
                self.context, self.there_info, None)
        self.assertEqual({}, self.other_host.volumes())

    def test_plain_volume(self):
        self.start("")
        self.assertIsNone(self.encryption(self.prepare()))
        self.assertEqual({}, self.other_host.volumes())

    def test_what_was_sent_serves_for_all_that_comes_after_it(self):
        """The manager of the destination goes on with it: an extension."""
        self.start("luks2")
        info = self.prepare().bdms[0].connection_info
        carried = self.uuids(self.other_host, self.old.id)
        self.assertEqual(carried, [
            secret.uuid for secret in attachment.read(info).secrets])
        self.assertEqual(carried, self.found_there(info))
        with self.there():
            self.other_driver._get_volume_encryptor(
                info, self.cinder.get_volume_encryption_metadata(
                    None, self.old.id)).mark_volume()
        self.assertEqual(carried, self.found_there(info))

    def found_there(self, info):
        """Secrets that the other host's disk of a connection names."""
        with self.there():
            disk = swap.disk_config(self.other_driver, self.instance, info,
                                    "vda")
        return [secret.get("uuid") for secret in
                disk.format_dom().findall("encryption/secret")]

    def test_key_manager_is_down_there(self):
        """The source, whose libvirt has the key, is not touched."""
        self.start("luks2")
        self.break_keys()
        self.assertRaises(exception.PassphraseUnavailable, self.prepare)
        self.assertEqual({}, self.other_host.volumes())
        self.assert_unchanged()

    def test_libvirt_is_away_there_as_well(self):
        """The source is told the first reason; the log there has the other."""
        self.start("luks2")
        self.useFixture(fixtures.MockPatchObject(
            driver.LibvirtDriver, "pre_live_migration",
            lambda *arguments: self.failed(*arguments)))
        self.useFixture(fixtures.MockPatchObject(
            self.other_driver, "_detach_encryptor",
            side_effect=libvirt.libvirtError("away")))
        self.assertRaises(nova_exception.MigrationPreCheckError, self.prepare)
        self.assertIn("could not be disconnected", self.log.output)

    def failed(self, nova, context, _instance, _block_device_info,
               *_arguments):
        nova._connect_volume(context, self.there_info, None)
        raise nova_exception.MigrationPreCheckError(reason="full")

    def test_secret_goes_before_it_is_told(self):
        """As when libvirtd of the destination restarts."""
        self.start("luks2")
        connect = self.other_driver._connect_volume

        def connected(*arguments, **options):
            connect(*arguments, **options)
            self.other_host.restart()

        self.other_driver._connect_volume = connected
        error = self.assertRaises(exception.MissingSecret, self.prepare)
        self.assertIn(self.old.id, str(error))
        self.assert_unchanged()

    @ddt.data("_settle", "_carry")
    def test_nothing_is_left_there(self, name):
        """Whatever fails after upstream's part."""
        self.start("luks2")

        def fail(*_arguments):
            self.assertIn(self.old.id, self.other_host.volumes())
            raise exception.MissingSecret(usage="x")

        setattr(self.other_driver, name, fail)
        self.assertRaises(exception.MissingSecret, self.prepare)
        self.assertEqual({}, self.other_host.volumes())
        self.assert_unchanged()

    def test_what_an_unmodified_nova_has_left_there(self):
        """It is not on the disk after that."""
        self.start("luks")
        left = self.other_host.keep(self.old.id, b"of a server that was here")
        self.encryption(self.prepare())
        there = self.other_host.secrets[left.uuid]
        self.assertEqual((self.old.passphrase, True),
                         (there.value, there.ephemeral))

    @ddt.data(("qemu", "librbd", None), ("librbd", "librbd", "librbd"),
              ("librbd", "qemu", None), ("qemu", "qemu", None))
    @ddt.unpack
    def test_engine(self, here, there, expected):
        """What QEMU has begun, it goes on with."""
        opts.compute_options(conf.CONF)
        self.set_option("luks1_engine", here)
        self.start("luks")
        self.set_option("luks1_engine", there)
        element = self.encryption(self.prepare())
        self.assertEqual(("luks", expected),
                         (element.get("format"), element.get("engine")))
        # And at the next start there it is as it is wanted there.
        with self.there():
            self.other_driver._connect_volume(
                self.context, self.there_info, None)
        self.assertEqual(there, attachment.read(self.there_info).engine)


@ddt.ddt
class UnmodifiedDestinationTest(moved.MovedTestCase):
    """The other host knows no mark, and names its own secret of LUKS1."""

    def sent(self, provider):
        """What it sends, when the guest is on a volume of another key."""
        self.prepare("luks", provider)
        self.swap()
        return self.renamed(self.info(self.new), self.old.id)

    def test_after_a_retype(self):
        info = self.sent("luks")
        element = self.config(info).format_dom().find("encryption")
        self.assertEqual(("luks", None),
                         (element.get("format"), element.get("engine")))
        self.assertEqual(
            self.uuid(self.new.id), element.find("secret").get("uuid"))

    def test_of_what_it_cannot_decrypt(self):
        self.assertRaises(exception.NotMarked, self.config,
                          self.sent("luks2"))

    def test_server_does_not_run(self):
        info = self.sent("luks")
        self.domain.stop()
        self.assertRaises(exception.NotMarked, self.config, info)

    def test_another_server_ends_meanwhile(self):
        info = self.sent("luks")
        self.host.fail("XMLDesc", 42, "no domain")
        self.assertRaises(exception.NotMarked, self.config, info)
        self.config(info)
