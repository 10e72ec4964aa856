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

"""An attachment as Cinder and Nova make it, on real Ceph and libvirt."""

from __future__ import annotations

import os
import shutil
import tempfile

from os_brick import encryptors
from oslo_config import cfg

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.libvirt import xml
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests.ceph.attach import guest
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.ceph import host
from os_brick_rbd_luks.tests import connections
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests import units

LUKS2_PROVIDER = "os_brick_rbd_luks.encryptors.luks.RBDLuks2Encryptor"
PROVIDER = "os_brick_rbd_luks.encryptors.luks.RBDLuksEncryptor"
SIZE = 64 * units.MIB


class Refused:
    """The ``execute`` of an encryptor that must run no process."""

    def __call__(self, *arguments, **_options):
        raise AssertionError(f"a process was started: {arguments}")


class AttachmentTestCase(base.FunctionalTestCase):
    """Has a volume, its key, and what Cinder says of both."""

    #: Whether the test has a host of its own, ``self.host``, which it may
    #: restart at any moment.
    own_host = False

    def setUp(self):
        super().setUp()
        folder = os.environ.get("RBD_LUKS_TEST_LIBVIRT")
        if not folder:
            if not shutil.which("libvirtd", path="/usr/sbin:/sbin"):
                self.skipTest("libvirt (libvirtd) is not installed")
            self.fail("no libvirtd: run these by tools/test")
        if self.own_host:
            self.host = self.useFixture(host.Host())
            folder = self.host.folder
        with open(os.path.join(folder, "uri")) as stream:
            self.uri = stream.read().strip()
        opts.options()
        self.set_option("libvirt_uri", self.uri)
        self.set_option("ceph_conf", self.conf)
        self.key = os.urandom(32)
        self.manager = keymanager.MemoryKeyManager(None)
        self.key_id = self.keep(self.key)
        with cluster.connect(self.conf, "cinder") as handle:
            self.monitors = handle.monitors()

    def set_option(self, name, value, group=opts.GROUP):
        cfg.CONF.set_override(name, value, group)
        self.addCleanup(cfg.CONF.clear_override, name, group)

    def keep(self, key):
        """Put a key into the key manager; its id."""
        from castellan.common.objects import symmetric_key
        key_id = f"key-{os.urandom(8).hex()}"
        keymanager.SECRETS[key_id] = symmetric_key.SymmetricKey(
            "AES", len(key) * 8, key)
        self.addCleanup(keymanager.SECRETS.pop, key_id, None)
        return key_id

    def forget(self, key_id):
        """Let the key manager have a key no more."""
        del keymanager.SECRETS[key_id]

    @property
    def passphrase(self):
        return self.key.hex().encode()

    def volume(self, size=SIZE, header="luks1"):
        """Make an encrypted volume; its id."""
        name = self.name()
        creating.create(self.pool, name, size, self.passphrase,
                        formatting.Options(type=header))
        return name

    def connection_info(self, name, **data):
        """What Cinder's ``initialize_connection`` gives."""
        return connections.info(f"volumes/{name}", name,
                                monitors=self.monitors, **data)

    def metadata(self, **changes):
        """What Cinder's ``volume_encryption_metadata_get`` gives."""
        return {"provider": PROVIDER, "control_location": "front-end",
                "cipher": "aes-xts-plain64", "key_size": 256,
                "encryption_key_id": self.key_id, **changes}

    def encryptor(self, connection_info, **changes):
        """Our encryptor, as os-brick gives it to a service."""
        return encryptors.get_volume_encryptor(
            root_helper="false", connection_info=connection_info,
            keymgr=self.manager, execute=Refused(),
            **self.metadata(**changes))

    def attach(self, connection_info, **changes):
        metadata = self.metadata(**changes)
        self.encryptor(connection_info, **changes).attach_volume(
            "context", **metadata)

    def libvirt(self):
        """A connection; errors that tests provoke are not printed."""
        import libvirt
        libvirt.registerErrorHandler(lambda *_arguments: None, None)
        connection = libvirt.open(self.uri)
        self.addCleanup(connection.close)
        return connection

    def secrets(self, usage):
        """The secrets of a volume that libvirt has."""
        return [secret for secret in self.libvirt().listAllSecrets()
                if secret.usageID() == usage]

    def ceph_secret(self, uuid=None):
        """A libvirt secret with the Ceph user's key, as Nova needs it.

        :param uuid: that it gets; by default a new one
        """
        if self.own_host:
            # As operators define it: one that a restart does not end.
            return self.define_ceph_secret(uuid, "no").UUIDString()
        secret = self.define_ceph_secret(uuid)
        self.addCleanup(secret.undefine)
        return secret.UUIDString()

    def define_ceph_secret(self, uuid=None, ephemeral="yes"):
        path = os.path.join(self.folder, "ceph.client.cinder.keyring")
        with open(path) as stream:
            return guest.ceph_secret(self.libvirt(), stream.read(), self.id(),
                                     uuid, ephemeral)

    def disk(self, info):
        """The XML of an attached volume, as a guest's disk."""
        data = info["data"]
        return xml.disk(
            data["name"], list(zip(data["hosts"], data["ports"])),
            attachment.read(info), user=data["auth_username"],
            secret_uuid=self.ceph_secret())

    def find_again(self, booted):
        """Let a guest be asked by a connection that a restart left whole."""
        booted.domain = self.libvirt().lookupByUUIDString(booted.uuid)

    def guest(self, disk, script):
        """Boot a guest, which ends with the test."""
        folder = tempfile.mkdtemp(dir=self.temp)
        booted = guest.Guest(self.libvirt(), folder, disk, script)
        self.addCleanup(booted.destroy)
        return booted
