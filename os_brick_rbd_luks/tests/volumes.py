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

"""Volumes as Cinder's API, manager and database make them with our driver.

Whatever the cluster and the key manager are: tests of the driver on a real
Ceph and on one in memory begin here.
"""

from __future__ import annotations

import itertools
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
from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.layers import sealed
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.volume import driver_opts

OURS = "os_brick_rbd_luks.volume.driver.RBDLuksDriver"
UPSTREAMS = "cinder.volume.drivers.rbd.RBDDriver"
CLASS_PATH = "os_brick_rbd_luks.encryptors.luks.RBDLuksEncryptor"

PROVIDERS = selection.cases("luks", "luks2", full=[CLASS_PATH])

_BACKENDS = itertools.count()


class _Warnings(cinder_fixtures.WarningsFixture):
    """Without a line for each use of what is deprecated in Cinder."""

    def setUp(self):
        super().setUp()
        warnings.simplefilter("ignore")


class VolumeTestCase(test.TestCase):
    """Has volume types, volumes, snapshots and keys.

    Who inherits it says in ``setUp`` where they are, and makes a backend.

    :ivar conf: path of a ceph.conf, or "" for Ceph's default places
    :ivar keys: the keys of this test: ``new``, ``copy``, ``passphrase``,
        ``delete``, ``known`` and ``left``
    :ivar context: of the user's requests
    :ivar backend: the volume manager, and ``driver`` its driver
    """

    conf = ""

    def setUp(self):
        self.useFixture(fixtures.MonkeyPatch(
            "cinder.tests.fixtures.WarningsFixture", _Warnings))
        super().setUp()
        self.temp = self.useFixture(fixtures.TempDir()).path
        # What Cinder wants root for is done here: no helper is started.
        privsep.sys_admin_pctxt.set_client_mode(False)
        # What a host has of multipath and iSCSI is no matter of ours.
        self.patch("cinder.volume.volume_utils."
                   "brick_get_connector_properties",
                   return_value={"host": "here", "multipath": False})
        self.types = {}
        #: Ids of keys, and how many others were met before
        self._met = {}
        #: Ids in the names of images that are no volumes
        self.ids = []

    def start_service(self):
        """Start a service, when it is known with what."""
        self.backend = self.make_backend()
        self.driver = self.backend.driver

    def keyring(self, user):
        """The text of a Ceph user's keyring, if os-brick cannot find it."""

    def pool(self, name="volumes"):
        """Open a pool, as nobody's in particular; a context manager."""
        raise NotImplementedError

    # The service

    def make_backend(self, driver=OURS, pool="volumes", user="cinder",
                     **options):
        """A volume manager, as a service has one for each backend."""
        name = f"backend{next(_BACKENDS)}"
        configuration.Configuration([*rbd.RBD_OPTS, *driver_opts.DRIVER_OPTS],
                                    config_group=name)
        self.set_options(name, rbd_pool=pool, rbd_user=user,
                         rbd_ceph_conf=self.conf, **options)
        made = manager.VolumeManager(volume_driver=driver, service_name=name,
                                     host=f"here@{name}")
        made.driver.do_setup(self.context)
        made.driver.keyring_data = self.keyring(user)
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

    def flattens(self):
        """Whether upstream flattens the clones that are in the way.

        Cinder 21 does not: a snapshot is busy while it has any, and a volume
        that cannot be removed goes to the trash.
        """
        return hasattr(self.driver, "_flatten_children")

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
        snapshot = self.snapshot_record(volume)
        self.driver.create_snapshot(snapshot)
        return snapshot

    def snapshot_record(self, volume, status="available"):
        """What Cinder's API makes of a snapshot before there is one."""
        snapshot = objects.Snapshot(
            self.context, volume_id=volume.id, volume_size=volume.size,
            user_id=volume.user_id, project_id=volume.project_id,
            status=status, volume_type_id=volume.volume_type_id,
            encryption_key_id=volume.encryption_key_id, display_name="s")
        snapshot.create()
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

    def passphrase(self, volume):
        """What opens a volume."""
        return self.keys.passphrase(volume.encryption_key_id)

    def rekey(self, volume):
        """Let a volume have another key and passphrase, as an operator does.

        :returns: the id of its former key
        """
        old, volume.encryption_key_id = (volume.encryption_key_id,
                                         self.keys.new())
        with self.pool() as pool, pool.open(volume.name) as image:
            keyslots.replace(image, self.keys.passphrase(old),
                             self.passphrase(volume))
        volume.save()
        return old

    def openers(self, name, pool="volumes"):
        """The passphrases of an image's keyslots, None of an unknown one."""
        known = self.keys.known()
        for key_id in known:
            self._met.setdefault(key_id, len(self._met))
        # The newest first: else a test that makes hundreds tries them all.
        passphrases = [self.keys.passphrase(key_id) for key_id in
                       sorted(known, key=self._met.__getitem__, reverse=True)]
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
        """The passphrases of the layers below a volume, sealed in it."""
        passphrase = self.passphrase(volume)
        with self.pool() as opened, opened.open(
                volume.name, read_only=True) as image:
            found = unlocking.unlock(image, passphrase)
            return sealed.look(image, found.header).passphrases(found,
                                                                passphrase)

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


class Moves:
    """Of tests of two backends: ``place()`` of one is a host's."""

    def retype(self, volume, type_id, backend=None):
        volume.previous_status, volume.status = "available", "retyping"
        volume.save()
        self.backend.retype(self.context, volume, type_id,
                            self.place(backend or self.backend),
                            migration_policy="on-demand")
        volume.refresh()
        self.assertEqual("available", volume.status)

    def migrate(self, volume, generic):
        volume.previous_status, volume.status = "available", "maintenance"
        volume.save()
        self.backend.migrate_volume(
            self.context, volume, self.place(self.other), generic)
        volume.refresh()
        self.assertEqual("available", volume.status)


class InProcess:
    """What managers ask of each other by RPC."""

    def __init__(self, *managers):
        self._managers = {manager.host: manager for manager in managers}

    def _of(self, volume):
        return self._managers[volume.host.partition("#")[0]]

    def create_volume(self, context, volume, spec, filters, **kwargs):
        self._of(volume).create_volume(context, volume, spec, filters,
                                       **kwargs)

    def delete_volume(self, context, volume, **kwargs):
        self._of(volume).delete_volume(context, volume, **kwargs)

    def initialize_connection(self, context, volume, connector):
        return self._of(volume).initialize_connection(
            context, volume, connector)

    def terminate_connection(self, context, volume, connector, force=False):
        self._of(volume).terminate_connection(
            context, volume.id, connector, force=force)

    def remove_export(self, context, volume, **_kwargs):
        self._of(volume).remove_export(context, volume.id)

    def update_migrated_volume(self, context, volume, new_volume, status):
        self._of(new_volume).update_migrated_volume(
            context, volume, new_volume, status)

    def get_capabilities(self, context, host, _discover):
        # A service discovers them when it starts, which none here does.
        return self._managers[host.partition("#")[0]].get_capabilities(
            context, True)


def _opens(image, passphrase, keyslot):
    try:
        unlocking.unlock(image, passphrase, keyslot)
    except exception.WrongPassphrase:
        return False
    return True
