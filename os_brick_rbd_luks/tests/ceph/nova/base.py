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

"""Upstream's libvirt driver in process, with real libvirt, Ceph and keys."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from unittest import mock

from castellan.common.objects import symmetric_key
from castellan.common import utils
from castellan import key_manager
import fixtures
import libvirt
from nova import conf
from nova import objects
from nova import rpc
from nova.virt.libvirt import driver as upstream
from nova.virt import virtapi
from oslo_config import cfg
from oslo_utils import uuidutils

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import resizing
from os_brick_rbd_luks.nova import libvirt_driver
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.tests.ceph.attach import base
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests import nova_volumes
from os_brick_rbd_luks.tests import units

SIZE = base.SIZE

#: From this release of libvirt on, as far as is known, a running guest can be
#: given a volume that librbd decrypts.
HOTPLUG = 11_003_000

#: Nova's ``Host``, of which a process has one: it runs libvirt's event loop.
_HOSTS = {}

#: What :meth:`NovaTestCase.filled` writes at a volume's begin and end.
BEGIN = b"H" * (8 * units.MIB)
END = b"Z" * 512


class NovaTestCase(nova_volumes.Volumes, base.AttachmentTestCase):
    """Has a driver of Nova's, which thinks that Cinder has the volumes."""

    #: Whether our side is loaded in nova-compute.
    loaded = True

    def setUp(self):
        for name in ("RBD_LUKS_TEST_KEYS", "RBD_LUKS_TEST_LIBVIRT"):
            if name not in os.environ:
                self.fail(f"no {name}: run these by tools/test")
        conf.CONF([], project="nova", default_config_files=[os.path.join(
            os.environ["RBD_LUKS_TEST_KEYS"], "key-manager.conf")])
        super().setUp()
        if self.own_host:
            # Where Nova tells others that libvirt is away.
            for name in ("LEGACY_NOTIFIER", "NOTIFIER"):
                self.useFixture(fixtures.MockPatchObject(rpc, name))
        objects.register_all()
        self.context = utils.credential_factory(conf=cfg.CONF)
        self.manager = key_manager.API(cfg.CONF)
        self.cinder = records.Cinder()
        self.ceph_uuid = self.ceph_secret()
        for group, name, value in (
                ("libvirt", "virt_type", "qemu"),
                ("libvirt", "connection_uri", self.uri),
                (None, "state_path", self.temp),
                (None, "instances_path", self.temp)):
            self.set_option(name, value, group)
        os.environ.setdefault("OS_LOCK_PATH", self.temp)
        conf.CONF.set_override("lock_path", self.temp, "oslo_concurrency")
        if self.loaded:
            loading.register()
            self.addCleanup(loading.unregister)
        self.driver = self.make_driver()

    def make_driver(self, events=True):
        """Nova's driver, or ours, as nova-compute makes it.

        :param events: whether it is told what happens in libvirt; never
            in one that is restarted: the thread that asks is the process's
        """
        kind = (libvirt_driver.RBDLuksLibvirtDriver if self.loaded
                else upstream.LibvirtDriver)
        made = kind(virtapi.VirtAPI())
        made._volume_api = self.cinder
        # The database of Nova is no matter of ours.
        made._build_device_metadata = lambda *_arguments: None
        if events and not self.own_host:
            if self.uri not in _HOSTS:
                with _daemons():
                    made._host.initialize()
                _HOSTS[self.uri] = made._host
            made._host = _HOSTS[self.uri]
            # Nova 34 has a part of its own for it.
            getattr(made._host, "_event_handler",
                    made._host)._lifecycle_event_handler = made.emit_event
        return made

    def reboot(self):
        """Reboot the test's own host, and nova-compute with it."""
        self.host.reboot()
        self.driver = self.make_driver()

    # Volumes

    def new_key(self):
        """A new key in Barbican: id and passphrase."""
        key = os.urandom(32)
        key_id = self.manager.store(
            self.context, symmetric_key.SymmetricKey("AES", 256, key))
        self.addCleanup(self.manager.delete, self.context, key_id)
        return key_id, key.hex().encode()

    def break_keys(self):
        """From now on the key manager does not answer."""
        self.set_option("barbican_endpoint", "http://127.0.0.1:9", "barbican")

    def make(self, provider="luks", size=SIZE):
        """A new volume; a plain one without a provider."""
        volume = self.new_volume(self.name(), provider, size)
        self.addCleanup(self.remove_secrets, volume.id)
        return volume

    def filled(self, provider):
        """A new volume with data at its begin and at its end."""
        volume = self.make(provider)
        self.write(volume, 0, BEGIN)
        self.write(volume, volume.size - len(END), END)
        return volume

    def check(self, said, volume):
        """Fail unless a reader has seen all of a filled volume's begin."""
        self.assertEqual(str(volume.size), said["size"])
        self.assertIn(hashlib.sha256(BEGIN).hexdigest(), said["read"])

    def check_end(self, said):
        """Fail unless it has seen the last sector, too."""
        self.assertIn(hashlib.sha256(END).hexdigest(), said["last"])

    def remove_secrets(self, usage):
        for secret in self.secrets(usage):
            secret.undefine()

    def info(self, volume, **data):
        """What Cinder's ``initialize_connection`` gives."""
        return self.connection_info(
            volume.id, encrypted=bool(volume.provider),
            secret_uuid=self.ceph_uuid, **data)

    @contextlib.contextmanager
    def decrypted(self, volume):
        """The image of a volume, decrypted by librbd."""
        with self.pool.open(volume.id) as image:
            if volume.header:
                image.load_encryption(volume.header, volume.passphrase,
                                      *volume.below)
            yield image

    def read(self, volume, offset, length):
        """What is in a volume, decrypted by librbd."""
        with self.decrypted(volume) as image:
            return image.read(offset, length)

    def write(self, volume, offset, data):
        """Put something into a volume, encrypted by librbd."""
        with self.decrypted(volume) as image:
            image.write(offset, data)

    def extend(self, volume, size):
        """Make a volume larger, as our Cinder driver does."""
        with self.pool.open(volume.id) as image:
            resizing.resize(image, size)
        volume.size = size

    def assert_nothing_left(self, *infos):
        for info in infos:
            self.assertNotIn(attachment.KEY, info["data"])
            self.assertEqual([], self.secrets(info["serial"]))

    # Servers

    def record(self, uuid):
        """Nova's record of a server."""
        return records.record(uuid)

    def boot(self, info, script, connect=True):
        """Boot a server from a volume, as Nova's spawn does.

        :returns: the guest, and Nova's record of it
        """
        if connect:
            self.driver._connect_volume(self.context, info, None)
        disk = self.disk(info)
        booted = self.guest(disk, script)
        self.persist(booted)
        return booted, self.record(booted.uuid)

    def disk(self, info, device="vda"):
        """The XML of a disk, as Nova makes it."""
        return self.config(info, device).to_xml()

    def config(self, info, device="vda"):
        """A disk, as Nova configures it."""
        return swap.disk_config(self.driver, self.record(
            uuidutils.generate_uuid()), info, device)

    def persist(self, booted):
        """Define the guest, as all of Nova's are."""
        domain = booted.domain
        connection = domain.connect()
        connection.defineXML(domain.XMLDesc())
        self.addCleanup(self.undefine, booted)

    def undefine(self, booted):
        booted.destroy()
        connection = self.libvirt()
        for domain in connection.listAllDomains():
            if domain.UUIDString() == booted.uuid:
                domain.undefineFlags(
                    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE)


def _daemons():
    """Nova 34's threads would keep a process of tests from ending."""
    try:
        from nova import thread_pool_factory
    except ImportError:
        return contextlib.nullcontext()
    return mock.patch.object(thread_pool_factory, "spawn", _spawn)


def _spawn(function, *arguments, **options):
    threading.Thread(target=function, args=arguments, kwargs=options,
                     daemon=True).start()


class Background(threading.Thread):
    """A call that goes on while a test does something else."""

    def __init__(self, function, *arguments, **options):
        super().__init__(daemon=True)
        self._call = (function, arguments, options)
        self.error = None
        self.start()

    def run(self):
        function, arguments, options = self._call
        try:
            function(*arguments, **options)
        except Exception as error:
            self.error = error

    def finish(self, patience=120):
        """Wait for it; what it raised is raised here."""
        self.join(patience)
        if self.is_alive():
            raise AssertionError("it does not end")
        if self.error is not None:
            raise self.error
