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

"""A cluster, a libvirt daemon and a key manager for the encryptors."""

from __future__ import annotations

import json
import logging

from castellan.common.objects import opaque_data
from castellan.common.objects import passphrase as passphrases
from castellan.common.objects import symmetric_key
import fixtures
from os_brick.initiator import linuxrbd
from oslo_config import cfg
import testtools

from os_brick_rbd_luks.encryptors import luks
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests import connections
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import libvirt
from os_brick_rbd_luks.tests import units

VOLUME = "6d5b8a9e-3a53-4c45-a3a9-8a7d0a6f1c0e"
NAME = f"volumes/volume-{VOLUME}"

KEY_ID = "5d0e2a8c-0f0a-4b66-9b0a-0d6c6a0e4f11"
KEY = bytes(range(224, 256))
HEX = KEY.hex().encode()
NEW_KEY_ID = "b3c1f1a0-8a3f-43f4-93cd-6c9c7b0dd7aa"
NEW_KEY = bytes(range(32))
NEW_HEX = NEW_KEY.hex().encode()

XTS = formatting.Options(key_bytes=32)
CBC = formatting.Options(cipher_spec="aes-cbc-plain64", key_bytes=16)

METADATA = {"provider": "luks", "control_location": "front-end",
            "cipher": "aes-xts-plain64", "key_size": 128}


class EncryptorsTestCase(testtools.TestCase):
    """Everything around an encryptor, in memory; nothing leaks a secret."""

    release = 16

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.ceph = self.useFixture(ceph.Ceph("volumes", "volumes/space",
                                              release=self.release))
        self.daemon = self.useFixture(libvirt.Daemon())
        self.addCleanup(keymanager.SECRETS.clear)
        keymanager.SECRETS.update({
            KEY_ID: symmetric_key.SymmetricKey("AES", 256, KEY),
            NEW_KEY_ID: symmetric_key.SymmetricKey("AES", 256, NEW_KEY)})
        self.addCleanup(self._check_log)

    def config(self, **values):
        """Set options of ours in the service's configuration."""
        opts.options()
        for name, value in values.items():
            cfg.CONF.set_override(name, value, opts.GROUP)
            self.addCleanup(cfg.CONF.clear_override, name, opts.GROUP)

    # images

    def make_volume(self, passphrase=HEX, options=XTS, size=units.MIB,
                    name=NAME, **store):
        """A volume with one keyslot; what the cluster has of it."""
        pool, _slash, image = name.rpartition("/")
        with self.ceph.pools[pool].create(image, size + 4 * units.MIB,
                                          **store) as made:
            formatting.format_new(made, passphrase, options)
        return self.ceph.content(name)

    def make_image(self, size=5 * units.MIB, data=b"", name=NAME, **store):
        """An image without a header."""
        pool, _slash, image = name.rpartition("/")
        with self.ceph.pools[pool].create(image, size, **store) as made:
            if data:
                made.write(0, data)
        return self.ceph.content(name)

    def rekey(self, content, old=HEX, new=NEW_HEX):
        """Replace the passphrase of a volume."""
        keyslots.replace(images.MemoryImage(content), old, new)

    def opens(self, content, passphrase):
        return unlocking.unlock(images.MemoryImage(content, True), passphrase)

    # attachments

    def data(self, name=NAME, **more):
        """Connection properties as Cinder's RBD driver gives them."""
        return connections.properties(
            name, VOLUME, **more)

    def connection(self, **more):
        return {"driver_volume_type": "rbd", "data": self.data(**more)}

    def handle(self, name=NAME):
        """os-brick's own handle on an image."""
        pool, _slash, image = name.rpartition("/")
        client = linuxrbd.RBDClient("cinder", pool, conffile="")
        return linuxrbd.RBDVolumeIOWrapper(linuxrbd.RBDImageMetadata(
            linuxrbd.RBDVolume(client, image), pool, "cinder", "conf"))

    def encryptor(self, info, cls=luks.RBDLuksEncryptor, key_id=KEY_ID,
                  **metadata):
        """As ``get_volume_encryptor`` makes it."""
        return cls("sudo", info, keymanager.MemoryKeyManager(None), None,
                   **{**METADATA, "encryption_key_id": key_id, **metadata})

    #: whoever asks
    context = object()

    # secrets

    def secrets(self):
        """Every form in which a test's secrets could be seen."""
        for value in (KEY, NEW_KEY, HEX, NEW_HEX):
            yield repr(value)[2:-1]
            yield value.hex()

    def assert_no_secret(self, text):
        for form in self.secrets():
            self.assertNotIn(form, text)

    def _check_log(self):
        self.assert_no_secret(self.log.output)

    def fails(self, expected, call, *args, **kwargs):
        """*call* fails without telling any secret; the error."""
        error = self.assertRaises(expected, call, *args, **kwargs)
        seen = error
        while seen is not None:
            self.assert_no_secret(f"{seen} {seen!r} {vars(seen)}")
            seen = seen.__cause__ or seen.__context__
        return error


class AttachmentTestCase(EncryptorsTestCase):
    """A test case attaches by ``self.info``."""

    def attach(self, **options):
        self.encryptor(self.info, **options).attach_volume(self.context)

    def detach(self):
        """By another object than the one that attached, as Nova does."""
        self.encryptor(self.info).detach_volume()

    def extend(self):
        return self.encryptor(self.info).extend_volume(self.context)


class HypervisorTestCase(AttachmentTestCase):
    """Has a connection, as Nova attaches by it; see what is left."""

    def setUp(self):
        super().setUp()
        self.info = self.connection()
        self.before = json.dumps(self.info)
        self.addCleanup(self._all_closed)

    def _all_closed(self):
        self.assertTrue(self.ceph.nothing_is_open())
        self.assertEqual(0, self.daemon.connections)

    def assert_nothing_left(self):
        self.assertEqual(self.before, json.dumps(self.info))
        self.assertEqual({}, self.daemon.volumes())

    def refused(self, expected, **options):
        error = self.fails(expected, self.attach, **options)
        self.assertIn(VOLUME, str(error))
        self.assert_nothing_left()
        return error


def passphrase_secret(value):
    return passphrases.Passphrase(value)


def opaque_secret(value):
    return opaque_data.OpaqueData(value)
