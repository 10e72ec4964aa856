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

"""Upstream's volume manager with our driver, a real cluster and real keys."""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings

from cinder import context
from cinder.db import api as db
from cinder import objects
from cinder import privsep
from cinder.tests import fixtures as cinder_fixtures
from cinder.tests.unit import test
from cinder.volume import configuration
from cinder.volume.drivers import rbd
from cinder.volume import manager
from cinder.volume import volume_types
import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.operations import chain
from os_brick_rbd_luks.operations import header_io
from os_brick_rbd_luks.operations import unlock
from os_brick_rbd_luks.tests.ceph.cinder import keys
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.ceph.core import base as functional
from os_brick_rbd_luks.tests import qemu

GIB = reader.GIB
OURS = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"
UPSTREAMS = "cinder.volume.drivers.rbd.RBDDriver"
CLASS_PATH = "os_brick_rbd_luks.encryptors.luks.RBDLuksEncryptor"

#: Providers of volume types, as an operator may write them.
PROVIDERS = ("luks", "luks2", CLASS_PATH)

_BACKENDS = itertools.count()


class _Warnings(cinder_fixtures.WarningsFixture):
    """Without a line for each use of what is deprecated in Cinder."""

    def setUp(self):
        super().setUp()
        warnings.simplefilter("ignore")


class DriverTestCase(test.TestCase):
    """Has a backend with our driver, volume types and keys."""

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            "cinder.tests.fixtures.WarningsFixture", _Warnings))
        super().setUp()
        for name in ("RBD_LUKS_TEST_CEPH", "RBD_LUKS_TEST_KEYS"):
            if name not in os.environ:
                self.fail(f"no {name}: run these by tools/test")
        self.folder = os.environ["RBD_LUKS_TEST_CEPH"]
        self.conf = os.path.join(self.folder, "ceph.conf")
        self.temp = self.useFixture(fixtures.TempDir()).path
        keys.Keys.read_settings(os.environ["RBD_LUKS_TEST_KEYS"])
        self.keys = keys.Keys(self, os.path.join(self.temp, "keys"))
        self.context = self.keys.context
        # Only root runs this: what Cinder wants root for needs no helper.
        privsep.sys_admin_pctxt.set_client_mode(False)
        # What a host has of multipath and iSCSI is no matter of ours.
        self.patch("cinder.volume.volume_utils."
                   "brick_get_connector_properties",
                   return_value={"host": "here", "multipath": False})
        connection = cluster.connect(self.conf, "admin")
        self._cluster = connection.__enter__()
        self.addCleanup(connection.__exit__, None, None, None)
        self.types = {}
        #: Ids in the names of images that are no volumes
        self.ids = []
        self.addCleanup(self._remove_images)
        self.backend = self.make_backend()
        self.driver = self.backend.driver

    # The service

    def make_backend(self, driver=OURS, pool="volumes", user="cinder",
                     **options):
        """A volume manager, as a service has one for each backend."""
        name = f"backend{next(_BACKENDS)}"
        configuration.Configuration(rbd.RBD_OPTS, config_group=name)
        self.set_options(name, rbd_pool=pool, rbd_user=user,
                         rbd_ceph_conf=self.conf, **options)
        made = manager.VolumeManager(volume_driver=driver, service_name=name,
                                     host=f"here@{name}")
        made.driver.do_setup(self.context)
        # For os-brick, whose only other place is /etc/ceph.
        with open(os.path.join(
                self.folder, f"ceph.client.{user}.keyring")) as stream:
            made.driver.keyring_data = stream.read()
        made.driver.set_initialized()
        made.stats = {"allocated_capacity_gb": 0, "pools": {}}
        objects.Service(self.context, host=made.host, topic="cinder-volume",
                        binary="cinder-volume").create()
        return made

    def set_options(self, group, **options):
        """Options of a backend."""
        for name, value in options.items():
            self.override_config(name, value, group)

    def option(self, **options):
        """Options of the test's own backend."""
        self.set_options(self.driver.configuration.config_group, **options)

    # Volume types and volumes

    def volume_type(self, provider="luks", key_size=256,
                    cipher="aes-xts-plain64", **extra_specs):
        """The id of a volume type; of a plain one without a provider."""
        wanted = (provider, key_size, cipher, *extra_specs.items())
        if wanted not in self.types:
            created = volume_types.create(
                self.context, f"type{len(self.types)}", extra_specs)
            if provider:
                db.volume_type_encryption_create(
                    self.context, created.id,
                    {"provider": provider, "cipher": cipher,
                     "key_size": key_size, "control_location": "front-end"})
            self.types[wanted] = created.id
        return self.types[wanted]

    def volume(self, provider="luks", size=1, key_id=None, type_id=None,
               backend=None, **values):
        """A volume in the database, and its key."""
        type_id = type_id or self.volume_type(provider)
        if key_id is None and volume_types.is_encrypted(
                self.context, type_id):
            key_id = self.keys.new()
        backend = backend or self.backend
        volume = objects.Volume(self.context, **{
            "size": size, "host": f"{backend.host}#pool",
            "user_id": self.context.user_id, "status": "creating",
            "project_id": self.context.project_id,
            "availability_zone": "nova", "attach_status": "detached",
            "volume_type_id": type_id, "encryption_key_id": key_id,
            **values})
        volume.create()
        return volume

    def create(self, provider="luks", size=1, **values):
        """A new volume, by way of upstream's flow."""
        return self.build(self.volume(provider, size, **values))

    def filled(self, provider="luks", size=1, value=0x41, **values):
        """A new volume with data in it."""
        volume = self.create(provider, size, **values)
        self.disk(volume).write(reader.filling(size, value))
        return volume

    def build(self, volume, backend=None, **request):
        """Let the manager make what *volume* says, from what *request* says.
        """
        spec = objects.RequestSpec(
            self.context, volume_id=volume.id, **request)
        (backend or self.backend).create_volume(
            self.context, volume, spec, {}, allow_reschedule=False)
        volume.refresh()
        self.assertEqual("available", volume.status)
        return volume

    def clone(self, source, size=None, **values):
        """A clone of a volume, with a copy of its key, as the API makes it.
        """
        volume = self.volume(
            size=size or source.size, type_id=source.volume_type_id,
            key_id=self.keys.copy(source.encryption_key_id),
            source_volid=source.id, **values)
        return self.build(volume, source_volid=source.id)

    def snapshot(self, volume):
        """A snapshot of a volume."""
        snapshot = objects.Snapshot(
            self.context, volume_id=volume.id, volume_size=volume.size,
            user_id=volume.user_id, project_id=volume.project_id,
            status="available", volume_type_id=volume.volume_type_id,
            encryption_key_id=volume.encryption_key_id, display_name="s")
        snapshot.create()
        self.driver.create_snapshot(snapshot)
        return snapshot

    def from_snapshot(self, snapshot, size=None, **values):
        """A volume of a snapshot, likewise."""
        volume = self.volume(
            size=size or snapshot.volume_size,
            type_id=snapshot.volume_type_id, snapshot_id=snapshot.id,
            key_id=self.keys.copy(snapshot.encryption_key_id), **values)
        return self.build(volume, snapshot_id=snapshot.id)

    def extend(self, volume, size):
        """Extend a volume as the manager does."""
        self.driver.extend_volume(volume, size)
        volume.size = size
        volume.save()

    def delete(self, volume, backend=None):
        """Delete a volume, and before that its key, as the API does."""
        if volume.encryption_key_id and volume.use_quota:
            self.keys.delete(volume.encryption_key_id)
        (backend or self.backend).delete_volume(self.context, volume)

    def delete_snapshot(self, snapshot):
        """Delete a snapshot."""
        self.driver.delete_snapshot(snapshot)
        snapshot.destroy()

    # What is there

    @contextlib.contextmanager
    def pool(self, name="volumes"):
        """A pool, as nobody's in particular."""
        with self._cluster.pool(name) as pool:
            yield pool

    def passphrase(self, volume):
        """What opens a volume."""
        return self.keys.passphrase(volume.encryption_key_id)

    def disk(self, volume, pool="volumes"):
        """A volume as a guest has it."""
        with self.pool(pool) as opened, opened.open(
                volume.name, read_only=True) as image:
            kind = header_io.read_header(image).type
            # QEMU's own driver, which reads LUKS1, knows no layers.
            below = ([] if kind == "luks1" else
                     chain.needed(image, opened.encryption_release()))
        return reader.Disk(
            self.conf, pool, volume.name, kind,
            [self.keys.passphrase(key_id) for key_id in (
                volume.encryption_key_id, *below)], self.temp)

    def check(self, volume, extents=None, pool="volumes"):
        """A volume is what the database says, and nobody else's."""
        volume.refresh()
        extents = reader.filling(volume.size) if extents is None else extents
        self.disk(volume, pool).check(volume.size * GIB, extents)
        self.assertEqual([self.passphrase(volume)], self.openers(
            volume.name, pool))

    def openers(self, name, pool="volumes"):
        """The passphrases of an image's keyslots, None of an unknown one."""
        passphrases = {self.keys.passphrase(key_id)
                       for key_id in self.keys.known()}
        with self.pool(pool) as opened, opened.open(
                name, read_only=True) as image:
            return [next((passphrase for passphrase in passphrases if _opens(
                image, passphrase, slot.number)), None)
                for slot in header_io.read_header(image).keyslots]

    def is_luks2(self, volume):
        """Whether it has a header of LUKS2."""
        with self.pool() as opened, opened.open(
                volume.name, read_only=True) as image:
            return header_io.read_header(image).type == "luks2"

    def below(self, volume):
        """Ids of the keys of the layers below a volume."""
        with self.pool() as opened, opened.open(
                volume.name, read_only=True) as image:
            return chain.read(image)

    def is_ours(self, name):
        """Whether an image is the test's."""
        # Those that a manager has made meanwhile have records, too.
        everything = context.get_admin_context(read_deleted="yes")
        ids = [volume.id for volume in db.volume_get_all(everything)]
        return any(found in name for found in (*self.ids, *ids))

    def images(self, pool="volumes"):
        """The test's images, and the snapshots of each."""
        found = {}
        with self.pool(pool) as opened:
            for name in opened.images():
                if self.is_ours(name):
                    with opened.open(name, read_only=True) as image:
                        found[name] = image.snapshots()
        return found

    def assert_images(self, *volumes, pool="volumes", **others):
        """There are images of these volumes, without snapshots, and others.

        :param others: ``images``, a dict of names and snapshots
        """
        expected = {volume.name: [] for volume in volumes}
        expected.update(others.get("images", {}))
        self.assertEqual(expected, self.images(pool))

    def assert_keys(self, *owners):
        """The keys of these volumes, or ids, are all that are left."""
        self.assertEqual(
            {getattr(owner, "encryption_key_id", owner) for owner in owners},
            self.keys.left())

    def assert_nothing_left(self):
        """All has gone."""
        self.assert_images()
        self.assert_keys()

    def _remove_images(self):
        for pool in ("volumes", "images"):
            with self.pool(pool) as opened:
                for _pass in range(9):
                    left = [name for name in opened.images()
                            if self.is_ours(name)]
                    for name in left:
                        with contextlib.suppress(exception.RBDLuksError):
                            _remove(opened, name)
                    if not left:
                        break
                else:
                    self.fail(f"cannot remove {left}")


def _opens(image, passphrase, keyslot):
    try:
        unlock.unlock(image, passphrase, keyslot)
    except exception.WrongPassphrase:
        return False
    return True


def _remove(pool, name):
    with pool.open(name) as image:
        for snapshot in image.snapshots():
            if not image.children(snapshot):
                image.remove_snapshot(snapshot)
    pool.remove(name)


def make_like_upstream(target, size, passphrase, extents=(),
                       clean=lambda: None):
    """Make a volume as upstream's driver does, its payload at 4040 sectors.

    :param target: a path, or what QEMU calls an image in Ceph
    :param clean: removes what a failed attempt left of it
    """
    def create():
        return functional.run(
            "qemu-img", "create", "-q", "-f", "luks", "--object",
            "secret,id=s,file=/dev/stdin", "-o", "key-secret=s,cipher-alg="
            "aes-256,cipher-mode=xts,ivgen-alg=plain64,iter-time=10", target,
            str(size), stdin=passphrase, check=False)

    qemu.patiently(create, clean)
    if extents:
        flags = [flag for extent in extents
                 for flag in ("-c", extent.command("write"))]
        functional.run(
            "qemu-io", "--object", "secret,id=s,file=/dev/stdin",
            "--image-opts", *flags,
            f"driver=luks,key-secret=s,file.filename={target}",
            stdin=passphrase)
