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

"""Upstream's libvirt driver in process, with hosts and a cluster in memory.

The same as ``tests/ceph/nova/base.py`` has with the real ones: the driver is
Nova's, with our side loaded, and so are all its configuration objects.
"""

from __future__ import annotations

import base64
import logging
import os
import uuid

from castellan.common import exception as castellan_exception
from castellan.common.objects import symmetric_key
import fixtures
from lxml import etree
from nova import conf
from nova import objects
from nova import rpc
from nova.virt import virtapi
import testtools

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.nova import blockcopy
from os_brick_rbd_luks.nova import libvirt_driver
from os_brick_rbd_luks.nova import loading
from os_brick_rbd_luks.nova import swap
from os_brick_rbd_luks.services import opts
from os_brick_rbd_luks.tests import connections
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import guests
from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import nova as records
from os_brick_rbd_luks.tests import nova_volumes
from os_brick_rbd_luks.tests import units

SIZE = 8 * units.MIB

#: A server, without its disks.
DOMAIN = """\
<domain type="kvm"><uuid>{}</uuid><name>instance-1</name>
<devices>{}</devices></domain>
"""


class NovaTestCase(nova_volumes.Volumes, testtools.TestCase):
    """Has a compute host, and a driver that thinks Cinder has the volumes."""

    #: of Ceph
    release = 16

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.INFO))
        self.ceph = self.useFixture(ceph.Ceph(release=self.release))
        self.host = self.useFixture(guests.Host(self.ceph, "qemu:///here"))
        self.temp = self.useFixture(fixtures.TempDir()).path
        self.addCleanup(keymanager.SECRETS.clear)
        conf.CONF([], project="nova", default_config_files=[])
        objects.register_all()
        opts.options(conf.CONF)
        self.useFixture(fixtures.EnvironmentVariable(
            "OS_LOCK_PATH", self.temp))
        for group, name, value in (
                ("key_manager", "backend", keymanager.BACKEND),
                ("libvirt", "virt_type", "qemu"),
                ("libvirt", "connection_uri", self.host.uri),
                (opts.GROUP, "libvirt_uri", self.host.uri),
                ("oslo_concurrency", "lock_path", self.temp),
                (None, "state_path", self.temp),
                (None, "instances_path", self.temp)):
            self.set_option(name, value, group)
        # Where Nova tells others that libvirt is away.
        for name in ("LEGACY_NOTIFIER", "NOTIFIER"):
            self.useFixture(fixtures.MockPatchObject(rpc, name))
        self.useFixture(fixtures.MonkeyPatch(
            f"{blockcopy.__name__}._INTERVAL", 0))
        # As operators define it.
        self.ceph_uuid = self.host.keep(
            "client.cinder", base64.b64decode(self.ceph.key),
            kind="ceph").uuid
        self.context = object()
        self.cinder = records.Cinder()
        loading.register()
        self.addCleanup(loading.unregister)
        self.driver = self.make_driver()
        self.passphrases = set()
        self.addCleanup(self._check_log)

    def _check_log(self):
        for passphrase in self.passphrases:
            self.assertNotIn(passphrase.decode(), self.log.output)

    def set_option(self, name, value, group=opts.GROUP):
        conf.CONF.set_override(name, value, group)
        self.addCleanup(conf.CONF.clear_override, name, group)

    def make_driver(self):
        """Our driver, as nova-compute makes it."""
        made = libvirt_driver.RBDLuksLibvirtDriver(virtapi.VirtAPI())
        made._volume_api = self.cinder
        # The database of Nova is no matter of ours.
        made._build_device_metadata = lambda *_arguments: None
        # What Nova does in a thread of its own. Release 34 has a part for it.
        getattr(made._host, "_event_handler",
                made._host)._queue_event = made.emit_event
        return made

    # Volumes

    def new_key(self):
        """A new key in the key manager: id and passphrase."""
        key, key_id = os.urandom(32), str(uuid.uuid4())
        keymanager.SECRETS[key_id] = symmetric_key.SymmetricKey(
            "AES", 256, key)
        self.passphrases.add(key.hex().encode())
        return key_id, key.hex().encode()

    def break_keys(self):
        """From now on the key manager refuses all."""
        self._keys = dict(keymanager.SECRETS)
        for key_id in keymanager.SECRETS:
            keymanager.SECRETS[key_id] = castellan_exception.Forbidden()

    def restore_keys(self):
        """It refuses none any more."""
        keymanager.SECRETS.update(self._keys)

    @property
    def pool(self):
        return self.ceph.pools["volumes"]

    def make(self, provider="luks", size=SIZE):
        """A new volume; a plain one without a provider."""
        return self.new_volume(str(uuid.uuid4()), provider, size)

    def info(self, volume, **data):
        """What Cinder's ``initialize_connection`` gives."""
        return connections.info(
            f"volumes/{volume.id}", volume.id, secret_uuid=self.ceph_uuid,
            encrypted=bool(volume.provider), **data)

    def raw_size(self, volume):
        """Bytes of a volume's image."""
        return self.pool.contents[volume.id].size

    def decrypted_size(self, volume):
        """Bytes that a guest would see of a volume."""
        if not volume.header:
            return self.raw_size(volume)
        with self.pool.open(volume.id, read_only=True) as image:
            return image.size() - header_io.read_header(image).data_offset

    # Servers

    def connect(self, volume, **options):
        """Connect a volume; its connection."""
        info = self.info(volume)
        self.driver._connect_volume(self.context, info, None, **options)
        return info

    def disconnect(self, info, **options):
        self.driver._disconnect_volume(self.context, info, None, **options)

    def boot(self, info):
        """Boot a server from a volume that is connected; Nova's record."""
        made = records.record(str(uuid.uuid4()))
        self.domain = self.host.boot(DOMAIN.format(
            made.uuid, self.config(info).to_xml()))
        return made

    def config(self, info, device="vda"):
        """A disk, as Nova configures it."""
        return swap.disk_config(
            self.driver, records.record(str(uuid.uuid4())), info, device)

    def start(self, provider, size=SIZE):
        """A server on a new volume: what is then in libvirt is noted."""
        self.old = self.make(provider, size)
        self.old_info = self.connect(self.old)
        self.instance = self.boot(self.old_info)
        self.before = self.definition(), dict(self.host.volumes())

    def definition(self):
        """The server as it runs and as it is defined."""
        return tuple(etree.tostring(element, encoding="unicode")
                     for element in (self.domain.live, self.domain.config))

    def assert_unchanged(self):
        """Neither libvirt's secrets nor the server are other than before."""
        self.assertEqual(self.before, (self.definition(),
                                       self.host.volumes()))

    def assert_nothing_left(self, *infos):
        """No mark, and no secret of these volumes, nor of their layers."""
        for info in infos:
            self.assertNotIn(attachment.KEY, info["data"])
            self.assertEqual([], [usage for usage in self.host.volumes()
                                  if usage.startswith(info["serial"])])


class MigrationTestCase(NovaTestCase):
    """Has a second compute host."""

    def setUp(self):
        super().setUp()
        self.other_host = self.useFixture(guests.Host(
            self.ceph, "qemu:///there"))
        with self.there():
            self.other_driver = self.make_driver()

    def there(self):
        """What is done in this context is done on the other host."""
        return _Options({("libvirt", "connection_uri"): self.other_host.uri,
                         (opts.GROUP, "libvirt_uri"): self.other_host.uri})


class _Options:
    """Options that have other values for a while."""

    def __init__(self, values):
        self._values = values

    def __enter__(self):
        self._before = {key: conf.CONF[key[0]][key[1]]
                        for key in self._values}
        self._set(self._values)

    def __exit__(self, *_exc_info):
        self._set(self._before)

    @staticmethod
    def _set(values):
        for (group, name), value in values.items():
            conf.CONF.set_override(name, value, group)
