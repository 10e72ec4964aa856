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

"""Tests of Cinder's real services: their clients, and what has to be left.

Every test ends with a look into each pool and into the key manager: there are
no other images, snapshots or keys than before. And whatever the services have
written into their folders for temporary files meanwhile was small, and no
passphrase.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil

import fixtures
from openstack import exceptions
import testtools

from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.tests.services import lab as labs
from os_brick_rbd_luks.tests.services import reader
from os_brick_rbd_luks.tests.services import store
from os_brick_rbd_luks.tests.services import watcher
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

#: Seconds that an operation may take on a busy machine.
PATIENCE = 240

#: What the lab cannot do without, as its users install it.
_SERVERS = ("ceph-mon", "mariadbd", "rabbitmq-server", "qemu-img")

_Lab = functools.lru_cache(None)(labs.Lab)


def passphrase_of(key):
    """What a key of the key manager is to LUKS."""
    return key.hex().encode()


class IntegrationTestCase(testtools.TestCase):
    """Has the lab for itself, and leaves nothing there."""

    #: Bytes that a temporary file of a service may take.
    largest_file = units.MIB

    def setUp(self):
        super().setUp()
        folder = os.environ.get("RBD_LUKS_TEST_LAB")
        if not folder:
            for server in _SERVERS:
                if not shutil.which(server, path="/usr/sbin:/usr/bin"):
                    self.skipTest(f"{server} is not installed")
            self.fail("no lab: run these by tools/test")
        self.lab = _Lab(folder)
        # Other workers of the test runner wait: each looks at all there is.
        lock = os.open(os.path.join(folder, "log"), os.O_RDONLY)
        self.addCleanup(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.user = self.lab.cloud("user")
        self.admin = self.lab.cloud("admin")
        self.temp = self.useFixture(fixtures.TempDir()).path
        #: Each key that the test has met, also when it is gone.
        self.passphrases = {}
        self.providers = {
            name: about["provider"]
            for name, about in self.lab.about["types"].items()}
        self.store = store.Store(self.lab)
        self.before = self.state()
        self.addCleanup(self._expect)
        self._watch()

    # What is there

    @contextlib.contextmanager
    def image(self, volume):
        """A volume's image, to read what is on it."""
        name = self.image_name(volume)
        with self.store.image(self.pool(volume), name) as image:
            yield rbd_image.RBDImage(image, None, name, "client.admin")

    def state(self):
        """All that an operation could leave behind."""
        return {**self.store.images(), **self.secrets()}

    def secrets(self):
        """Ids of the keys in the key manager, by user; and its orders."""
        found = {}
        for name in ("user", "other", "admin"):
            manager = self.lab.cloud(name).key_manager
            found[f"keys of {name}"] = {
                secret.secret_ref.rpartition("/")[2]
                for secret in manager.secrets()}
            found[f"orders of {name}"] = len(list(manager.orders()))
        return found

    def keys(self, user="user"):
        """Ids of the keys of a user's project, that the test has made."""
        name = f"keys of {user}"
        return self.secrets()[name] - self.before[name]

    def forget_keys(self, most):
        """Delete up to so many keys that Cinder's own code leaves."""
        manager = self.user.key_manager
        for order in manager.orders():
            manager.delete_order(order.order_ref.rpartition("/")[2],
                                 ignore_missing=False)
        left = self.keys()
        self.assertLessEqual(len(left), most)
        for key_id in left:
            manager.delete_secret(key_id)

    def eventually(self, expected, found):
        """Fail unless *found* gives that soon: Cinder deletes afterwards."""
        waiting.until(found, repr(expected), lambda now: now == expected,
                      seconds=30, pause=0.5)

    def _expect(self):
        self.eventually(self.before, self.state)

    def _watch(self):
        folder = self.lab.about["image_conversion_dir"]
        self.files = watcher.Watcher(
            folder, os.path.join(self.lab.folder, "tmp"))
        self.addCleanup(self.files.close)
        self.addCleanup(self._check_files)

    def _check_files(self):
        """Fail if there was a large file, or one with a passphrase."""
        self.files.stop()
        for file in self.files.files:
            self.assertLessEqual(file.allocated(), self.largest_file,
                                 file.name)
            content = file.content()
            for passphrase in self.passphrases.values():
                for secret in (passphrase,
                               bytes.fromhex(passphrase.decode())):
                    self.assertNotIn(secret, content, file.name)

    # Keys

    def passphrase(self, key_id, cloud=None):
        """What opens a volume with that key."""
        if key_id not in self.passphrases:
            # The SDK's own way takes the bytes for text.
            answer = (cloud or self.user).key_manager.get(
                f"/secrets/{key_id}/payload",
                headers={"Accept": "application/octet-stream"})
            exceptions.raise_from_response(answer)
            self.passphrases[key_id] = passphrase_of(answer.content)
        return self.passphrases[key_id]

    def key_id(self, volume, cloud=None):
        """The id of a volume's key, which is met from now on."""
        found = self.about(volume, cloud).get("encryption_key_id")
        if found:
            self.passphrase(found, cloud)
        return found

    # Volumes

    def about(self, volume, cloud=None):
        """All that the API says of a volume."""
        answer = (cloud or self.user).block_storage.get(
            f"/volumes/{volume.id}")
        exceptions.raise_from_response(answer)
        return answer.json()["volume"]

    def start(self, volume_type, size=1, cloud=None, **source):
        """Ask for a volume; it is deleted with the test."""
        cloud = cloud or self.user
        volume = cloud.block_storage.create_volume(
            size=size, volume_type=volume_type, **source)
        self.addCleanup(self.delete, volume, cloud)
        return volume

    def create(self, volume_type, size=1, **source):
        """A new volume."""
        return self.ready(self.start(volume_type, size, **source))

    def filled(self, volume_type, size=1, value=0x41):
        """A new volume with data in it."""
        volume = self.create(volume_type, size)
        self.disk(volume).write(reader.filling(size * units.GIB, value))
        return volume

    def ready(self, thing, status="available", cloud=None):
        """Wait until a volume, snapshot or backup has a status.

        :raises AssertionError: it has an error instead
        """
        proxy = (cloud or self.user).block_storage
        kind = type(thing).__name__.lower()
        get = getattr(proxy, f"get_{kind}")

        def is_ready(now):
            if now.status == status:
                return True
            if now.status.startswith("error"):
                raise AssertionError(
                    f"{kind} {now.id}: {now.status}, not {status}: "
                    f"{self.messages(now)}")
            return False

        return waiting.until(lambda: get(thing.id),
                             f"{kind} {thing.id} to be {status}", is_ready,
                             PATIENCE, pause=0.2)

    def settled(self, volume, ends=("success", "error", None)):
        """Wait until a migration is over, and the volume is available.

        :param ends: what the migration's status may be then; while two rows
            of the database are exchanged, it is None for a moment
        :returns: the migration's status
        """
        migration = "os-vol-mig-status-attr:migstat"

        def is_over(found):
            if found["status"].startswith("error"):
                raise AssertionError(f"{volume.id}: {found}")
            return (found["status"] in ("available", "in-use")
                    and found[migration] in ends)

        return waiting.until(lambda: self.about(volume, self.admin),
                             f"{volume.id}, whose migration is over",
                             is_over, PATIENCE, pause=0.2)[migration]

    def messages(self, thing):
        """What Cinder tells the user of a failure."""
        answer = self.admin.block_storage.get("/messages")
        return [message["user_message"]
                for message in answer.json()["messages"]
                if message["resource_uuid"] == thing.id]

    def delete(self, thing, cloud=None):
        """Delete a volume, snapshot, backup or image, and wait for that."""
        cloud = cloud or self.user
        kind = type(thing).__name__.lower()
        proxy = cloud.image if kind == "image" else cloud.block_storage
        asked = False

        def status():
            nonlocal asked
            try:
                now = getattr(proxy, f"get_{kind}")(thing.id).status
            except exceptions.NotFoundException:
                return None
            if now in ("error_deleting", "deleted", "killed"):
                raise AssertionError(f"{kind} {thing.id} is not deleted: "
                                     f"{now} {self.messages(thing)}")
            if not asked:
                # Whoever works on it ends first.
                with contextlib.suppress(exceptions.BadRequestException):
                    getattr(proxy, f"delete_{kind}")(thing.id,
                                                     ignore_missing=True)
                    asked = True
            return now

        waiting.until(status, f"the end of {kind} {thing.id}",
                      lambda now: now is None, PATIENCE, pause=0.2)

    def make_type(self, name, provider=None, **extra_specs):
        """The name of a volume type that goes with the test."""
        proxy = self.admin.block_storage
        made = proxy.create_type(name=name, extra_specs=extra_specs)
        self.addCleanup(proxy.delete_type, made)
        if provider:
            answer = proxy.post(f"/types/{made.id}/encryption", json={
                "encryption": {
                    "provider": provider, "cipher": "aes-xts-plain64",
                    "key_size": 256, "control_location": "front-end"}})
            exceptions.raise_from_response(answer)
        self.providers[name] = provider
        return name

    def provider(self, volume_type):
        """``luks``, ``luks2`` or None."""
        provider = self.providers[volume_type]
        return "luks" if provider and "." in provider else provider

    def image_name(self, volume):
        """The name of a volume's image."""
        found = self.about(volume, self.admin)
        return "volume-" + (
            found["os-vol-mig-status-attr:name_id"] or volume.id)

    def pool(self, volume):
        """The pool where it is just now."""
        # Whichever service has it: HOST@BACKEND#POOL.
        backend = self.host(volume).partition("@")[2].partition("#")[0]
        return self.lab.about["backends"][backend]["pool"]

    def host(self, volume):
        """Cinder's name for what has it."""
        return self.about(volume, self.admin)["os-vol-host-attr:host"]

    def disk(self, volume, cloud=None, passphrase=None):
        """A volume as a guest has it, opened with its key by default."""
        key_id = self.key_id(volume, cloud)
        if key_id and passphrase is None:
            passphrase = self.passphrase(key_id, cloud)
        volume_type = self.about(volume, cloud)["volume_type"]
        return reader.Disk(
            self.lab.ceph_conf, self.pool(volume), self.image_name(volume),
            self.provider(volume_type), passphrase, self.temp)

    def check(self, volume, extents=None, size=None, cloud=None):
        """Fail unless a volume is what the API says, and has its data.

        :param size: in GiB, that the API has to say; 1 by default
        """
        found = self.about(volume, cloud)
        self.assertEqual(size or 1, found["size"])
        self.assertEqual(
            self.provider(found["volume_type"]) is not None,
            found["encrypted"])
        if extents is None:
            extents = reader.filling()
        self.disk(volume, cloud).check(found["size"] * units.GIB, extents)
