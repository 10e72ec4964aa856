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

"""Attachments that the hypervisor decrypts: marks and libvirt secrets."""

from __future__ import annotations

import json
import os

import fixtures

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.ceph.attach import base


class HypervisorTest(base.AttachmentTestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger())

    def assert_nothing_left(self, info):
        self.assertNotIn(attachment.KEY, info["data"])
        self.assertEqual([], self.secrets(info["serial"]))

    def test_attach_marks_and_detach_undoes(self):
        name = self.volume()
        info = self.connection_info(name)
        before = json.dumps(info, sort_keys=True)
        self.attach(info)
        self.assertEqual(
            {"format": "luks", "engine": "qemu", "data_offset": 4 << 20,
             "size": base.SIZE, "discard": False,
             "secrets": [{"type": "volume", "id": name}]},
            json.loads(json.dumps(info))["data"][attachment.KEY])
        secret, = self.secrets(name)
        self.assertIn("private='yes'", secret.XMLDesc())
        self.assertIn("ephemeral='yes'", secret.XMLDesc())
        self.encryptor(info).detach_volume(**self.metadata())
        self.assert_nothing_left(info)
        self.assertEqual(before, json.dumps(info, sort_keys=True))
        self.assertNotIn(self.passphrase.decode(), self.log.output)

    def test_twice(self):
        info = self.connection_info(self.volume())
        self.attach(info)
        first, = self.secrets(info["serial"])
        self.attach(info)
        second, = self.secrets(info["serial"])
        self.assertEqual(first.UUIDString(), second.UUIDString())
        for _time in range(2):
            self.encryptor(info).detach_volume(**self.metadata())
            self.assert_nothing_left(info)

    def test_detach_by_another_process_after_a_crash(self):
        """The mark was lost with the process, the secret was not."""
        name = self.volume()
        self.attach(self.connection_info(name))
        fresh = self.connection_info(name)
        self.encryptor(fresh).detach_volume(**self.metadata())
        self.assert_nothing_left(fresh)

    def test_rekeyed_volume_gets_its_new_passphrase(self):
        name = self.volume()
        info = self.connection_info(name)
        self.attach(info)
        old, self.key = self.passphrase, os.urandom(32)
        self.key_id = self.keep(self.key)
        with self.pool.open(name) as image:
            keyslots.replace(image, old, self.passphrase)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        # A guest that starts now is the proof: see test_guest.
        self.assertEqual(1, len(self.secrets(name)))

    def test_a_secret_of_nova_s_becomes_private_and_ephemeral(self):
        name = self.volume()
        persistent = self.libvirt().secretDefineXML(
            "<secret ephemeral='no' private='no'><usage type='volume'>"
            f"<volume>{name}</volume></usage></secret>")
        persistent.setValue(b"stale")
        info = self.connection_info(name)
        folder = os.path.join(os.environ["RBD_LUKS_TEST_LIBVIRT"],
                              "etc/secrets")
        # Ephemeral not before its server runs, so that no kill loses it.
        for converts, files in ((False, 2), (True, 0)):
            encryptor = self.encryptor(info)
            encryptor.converts = converts
            encryptor.attach_volume("context", **self.metadata())
            secret, = self.secrets(name)
            self.assertEqual(persistent.UUIDString(), secret.UUIDString())
            self.assertIn("private='yes'", secret.XMLDesc())
            self.assertEqual(converts, "ephemeral='yes'" in secret.XMLDesc())
            self.assertEqual(files, len(os.listdir(folder)))
        self.encryptor(info).detach_volume()
        self.assert_nothing_left(info)

    def test_wrong_key_leaves_nothing(self):
        info = self.connection_info(self.volume())
        self.key_id = self.keep(os.urandom(32))
        error = self.assertRaises(exception.WrongPassphrase, self.attach,
                                  info)
        self.assertIn(info["serial"], str(error))
        self.assert_nothing_left(info)

    def test_missing_key_names_volume_and_key(self):
        info = self.connection_info(self.volume())
        error = self.assertRaises(
            exception.PassphraseUnavailable, self.attach, info,
            encryption_key_id="no-such-key")
        self.assertIn(info["serial"], str(error))
        self.assertIn("no-such-key", str(error))
        self.assert_nothing_left(info)

    def test_libvirt_down_leaves_nothing(self):
        info = self.connection_info(self.volume())
        self.set_option("libvirt_uri",
                        "qemu+unix:///system?socket=/nowhere/socket")
        self.libvirt()
        error = self.assertRaises(exception.LibvirtError, self.attach, info)
        self.assertIn("/nowhere/socket", str(error))
        self.assertNotIn(attachment.KEY, info["data"])

    def test_blank_image_is_formatted(self):
        name = self.name()
        self.pool.create(name, base.SIZE).__exit__()
        info = self.connection_info(name)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        with self.pool.open(name) as image:
            unlocking.unlock(image, self.passphrase)
        self.assertIn("was blank", self.log.output)

    def test_image_with_data_is_refused(self):
        name = self.name()
        with self.pool.create(name, base.SIZE) as image:
            image.write(base.SIZE - 512, b"precious")
        info = self.connection_info(name)
        error = self.assertRaises(exception.OperationRefused, self.attach,
                                  info)
        self.assertIn("holds data", str(error))
        self.assert_nothing_left(info)
        with self.pool.open(name) as image:
            self.assertEqual(bytes(4096), image.read(0, 4096))

    def test_blank_image_for_reading_only_is_refused(self):
        name = self.name()
        self.pool.create(name, base.SIZE).__exit__()
        info = self.connection_info(name, access_mode="ro")
        self.assertRaises(exception.ImageReadOnly, self.attach, info)
        self.assert_nothing_left(info)

    def test_missing_image(self):
        info = self.connection_info(self.name())
        self.assertRaises(exception.ImageNotFound, self.attach, info)
        self.assert_nothing_left(info)

    def test_extended_volume(self):
        info = self.connection_info(self.volume())
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        with self.pool.open(info["serial"]) as image:
            image.resize(image.size() + base.SIZE)
        self.assertEqual(2 * base.SIZE, self.encryptor(info).extend_volume(
            "context", **self.metadata()))
        self.assertEqual(2 * base.SIZE, attachment.read(info).size)

    def test_key_of_libvirt_s_where_there_is_no_keyring(self):
        """A compute host that only attaches volumes has none."""
        info = self.connection_info(self.volume(),
                                    secret_uuid=self.ceph_secret())
        conf = self.file(b"[global]\nkeyring = /nowhere/keyring\n",
                         "ceph.conf")
        self.set_option("ceph_conf", conf)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        self.assertEqual(base.SIZE, attachment.read(info).size)

    def test_no_keyring_anywhere(self):
        info = self.connection_info(self.volume())
        conf = self.file(b"[global]\nkeyring = /nowhere/keyring\n",
                         "ceph.conf")
        self.set_option("ceph_conf", conf)
        error = self.assertRaises(exception.NoKeyring, self.attach, info)
        self.assertIn("client.cinder", str(error))
        self.assert_nothing_left(info)

    def test_keyring_that_came_along_goes_to_no_file(self):
        """cinderlib sends one."""
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            keyring = stream.read()
        conf = self.file(b"[global]\nkeyring = /nowhere/keyring\n",
                         "ceph.conf")
        self.set_option("ceph_conf", conf)
        info = self.connection_info(self.volume(), keyring=keyring)
        self.attach(info)
        self.addCleanup(self.encryptor(info).detach_volume)
        self.assertEqual(base.SIZE, attachment.read(info).size)
