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

"""Upstream's volume manager with our driver, a cluster and keys in memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os

from castellan.common.objects import symmetric_key
from castellan import key_manager
from cinder import context
from cinder.tests.unit import fake_constants
from oslo_config import cfg

from os_brick_rbd_luks.headers import header_io
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.layers import decryption
from os_brick_rbd_luks.layers import plaintext
from os_brick_rbd_luks.tests.fakes import cinder_ceph
from os_brick_rbd_luks.tests.fakes import keystore
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import volumes
from os_brick_rbd_luks.volume import pending_keys

PROVIDERS = volumes.PROVIDERS

#: Of the calls that an operation makes, every so many fails in a walk over
#: them: an odd number, since they come in pairs.
STRIDE = 7


def data(gib=1, value=b"A"):
    """The first bytes of a disk, some in its middle and the last ones."""
    size = gib * units.GIB
    return {0: value * 4096, size // 2 + 4096: value * 8192,
            size - 512: value * 512}


class Keys:
    """The keys of one test."""

    def __init__(self, context):
        keystore.VAULT.reset()
        self.context = context
        self.manager = key_manager.API(cfg.CONF)
        self._passphrases = {}

    def new(self):
        """A new random key; its id."""
        return self.store(os.urandom(32))

    def store(self, encoded):
        """A key of these bytes; its id."""
        return self.manager.store(self.context, symmetric_key.SymmetricKey(
            "AES", len(encoded) * 8, encoded))

    def copy(self, key_id):
        """A copy of a key, as Cinder's API gives one to a clone; its id."""
        return self.manager.store(self.context, self.manager.get(
            self.context, key_id))

    def passphrase(self, key_id):
        """What opens a volume with that key, also when the key is gone."""
        for known, secret in keystore.VAULT.secrets.items():
            self._passphrases[known] = secret.get_encoded().hex().encode()
        return self._passphrases[key_id]

    def delete(self, key_id):
        """Delete a key."""
        self.manager.delete(self.context, key_id)

    @staticmethod
    def known():
        """Ids of all keys."""
        return set(keystore.VAULT.secrets)

    left = known


class DriverTestCase(volumes.VolumeTestCase):
    """Has a backend with our driver, volume types and keys.

    :cvar release: of Ceph
    :cvar key_manager: for ``[key_manager] backend``
    """

    release = 16
    key_manager = keystore.PATH

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(cinder_ceph.CinderCeph(
            "volumes", "images", "backups", release=self.release))
        self.override_config("backend", self.key_manager, "key_manager")
        self.context = self.make_context()
        self.keys = self.make_keys()
        self.start_service()
        # Of a program, "ceph mon dump", upstream has the monitors.
        self.mock_object(self.driver, "_execute", side_effect=self.execute)

    def make_context(self):
        return context.RequestContext(
            fake_constants.USER_ID, fake_constants.PROJECT_ID,
            auth_token="token", is_admin=True)

    def make_keys(self):
        return Keys(self.context)

    def make_backend(self, *args, **options):
        return super().make_backend(*args, **{
            "rados_connection_retries": 1, "rados_connection_interval": 0,
            **options})

    def keyring(self, user):
        return f"[client.{user}]\nkey = {self.ceph.key}\n"

    def execute(self, *command, **_options):
        """Programs that upstream's driver starts."""
        if command[:3] == ("ceph", "mon", "dump"):
            return json.dumps({"mons": self.ceph.monitors}), ""
        # How Cinder 21 uploads a volume.
        self.assertEqual(("rbd", "export", "--pool"), command[:3])
        pool, name, path = command[3:6]
        with open(path, "wb") as stream:
            stream.write(self.ceph.content(f"{pool}/{name}").whole())
        return "", ""

    @contextlib.contextmanager
    def pool(self, name="volumes"):
        with cluster.connect("", "admin") as connection, \
                connection.pool(name) as pool:
            yield pool

    # What a guest does

    @contextlib.contextmanager
    def view(self, volume, pool="volumes"):
        """A volume as a guest has it, by QEMU (LUKS1) or librbd (LUKS2)."""
        passphrase = self.passphrase(volume)
        with self.ceph.guest(), self.pool(pool) as opened, opened.open(
                volume.name) as image:
            header = header_io.read_header(image)
            if header.type == "luks1" and not header.clone:
                yield plaintext.Plaintext(image, unlocking.unlock_header(
                    image, header, passphrase))
                return
            image.load_encryption(header.type, passphrase, *decryption.below(
                image, header, passphrase))
            yield image

    def write(self, volume, written):
        """Write as a guest: offsets and bytes."""
        with self.view(volume) as view:
            for offset, value in written.items():
                view.write(offset, value)

    def filled(self, provider="luks", size=1, value=b"A", **values):
        """A new volume with data in it."""
        volume = self.create(provider, size, **values)
        self.write(volume, data(size, value))
        return volume

    # What there is

    def check(self, volume, expected=None, pool="volumes"):
        """A volume is what the database says, and nobody else's."""
        volume.refresh()
        self.assert_opens(volume, pool=pool)
        with self.view(volume, pool) as view:
            self.assertEqual(volume.size * units.GIB, view.size())
            for offset, value in (data(volume.size) if expected is None
                                  else expected).items():
                found = view.read(offset, len(value))
                self.assertEqual(len(value), len(found))
                self.assertTrue(value == found, f"other data at {offset}")

    def assert_opens(self, volume, key_id=None, pool="volumes"):
        """This key, the volume's own by default, and no other opens it."""
        self.assertEqual(
            [self.keys.passphrase(key_id or volume.encryption_key_id)],
            self.openers(volume.name, pool))

    def assert_still_opens(self, volume):
        """The key that the database has is one of those that open it."""
        self.assertIn(self.passphrase(volume), self.openers(volume.name))

    def content(self, volume, pool="volumes"):
        """A volume's image as the cluster keeps it."""
        return self.ceph.content(f"{pool}/{volume.name}")

    def keys_of_images(self, pool="volumes"):
        """Ids of the keys that images note to be deleted with them."""
        found = set()
        with self.pool(pool) as opened:
            for name in opened.images():
                with opened.open(name, read_only=True) as image:
                    found.update(pending_keys.read(image))
        return found

    def assert_no_key_leaked(self, *owners):
        """Each key is a volume's, or noted on an image that goes with it."""
        named = {getattr(owner, "encryption_key_id", owner)
                 for owner in owners}
        self.assertEqual(set(), named - self.keys.left())
        self.assertEqual(set(), self.keys.left() - named
                         - self.keys_of_images())

    def assert_nothing_is_open(self):
        """All connections and images were closed."""
        self.assertEqual([], [image.name for image in self.ceph.images])
        self.assertEqual([], self.ceph.connected)

    # Failures, each in turn

    def each_call_fails(self, operation, check, error="Timeout",
                        may_work=False):
        """Let each of our calls of the cluster fail, one in each run.

        :param operation: does it; called again until nothing fails
        :param check: called after each run, with whether it worked and the
            name of the call that failed
        :param may_work: nothing that fails there makes it fail
        """
        failed = seen = 0
        for number in itertools.count(0, STRIDE):
            with self.ceph.fail(number, error):
                try:
                    operation()
                except Exception:
                    worked = False
                else:
                    worked = True
                done, name = not self.ceph.has_failed, None
                if not done:
                    name = self.ceph.calls[number]
            if done:
                self.assertTrue(worked, "it fails without any fault")
                break
            failed, seen = failed + (not worked), seen + 1
            check(worked, name)
        self.assertGreater(seen if may_work else failed, 0)

    def each_key_call_fails(self, operation, check):
        """The same of the key manager's calls."""
        vault, failed = keystore.VAULT, []
        for number in itertools.count():
            vault.calls, vault.fail_at = [], number
            try:
                operation()
            except Exception:
                worked = False
            else:
                worked = True
            finally:
                vault.fail_at = None
            if len(vault.calls) <= number:
                self.assertTrue(worked, "it fails without any fault")
                break
            failed.append(vault.calls[number])
            check(worked, failed[-1])
        self.assertNotEqual([], failed)
        return failed
