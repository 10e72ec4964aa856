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
"""Rotations in a world in which anything may end at any call.

The service's user has a role in the tenant's project, as the default way of
the command has it.
"""

from __future__ import annotations

import contextlib

import fixtures

from os_brick_rbd_luks.cinder_cmd import service_user
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.unit.cinder import people
from os_brick_rbd_luks.volume import deep
from os_brick_rbd_luks.volume import rotation


class Plugin:
    """What signs a user in: it has a lock, of which there is no copy."""

    def __deepcopy__(self, memo):
        raise TypeError("cannot pickle '_thread.lock' object")


class Death(BaseException):
    """The process is killed: nothing that it would do then is done."""


def service(project_id=None):
    """A request of Cinder's user, in a project or in its own."""
    made = service_user.Request(
        "service", project_id or "project-service",
        auth_token="token-of-service", is_admin=True, overwrite=False,
        user_auth_plugin=Plugin())
    made.roles = ["member"]
    return made


class RotationTestCase(people.PeopleTestCase):

    #: Cinder's own base: locks are those of the coordination.
    MOCK_TOOZ = False

    def setUp(self):
        super().setUp()
        self.rotation = rotation.Rotation(service)
        # Whoever is in the middle was killed a while ago.
        self.patch("os_brick_rbd_luks.volume.rotation.GRACE", 0)

    def rotated(self, volume, how=None):
        """Rotate a volume, both steps; the keys before and after."""
        how = how or self.rotation
        begun = how.begin(self.driver, volume.id)
        # It may be another image by now.
        volume.refresh()
        self.assert_opened_by(volume, begun.old_key, begun.new_key)
        how.settle(self.driver, volume.id)
        volume.refresh()
        return begun.old_key, volume.encryption_key_id

    def volume_key(self, volume):
        """What encrypts a volume's data."""
        volume.refresh()
        with self.pool() as pool, pool.open(
                volume.name, read_only=True) as image:
            return unlocking.unlock(image, self.keys.passphrase(
                volume.encryption_key_id)).volume_key

    def names(self):
        """Names of all images of the pool."""
        with self.pool() as pool:
            return set(pool.images())

    def assert_opened_by(self, volume, *key_ids):
        """These keys open a volume, and no others."""
        self.assertEqual(
            sorted(self.keys.passphrase(key_id) for key_id in key_ids),
            sorted(self.openers(volume.name)))

    def assert_settled(self, volume):
        """Exactly the key that the database names opens it, and is left."""
        volume.refresh()
        self.assert_opened_by(volume, volume.encryption_key_id)
        self.assertEqual(set(), self.keys_of_images())

    def attached(self, volume):
        """A server has it, and goes on to write to it."""
        volume.begin_attach("rw")
        volume.refresh()
        self.assertEqual(1, len(volume.volume_attachment))
        volume.status, volume.attach_status = "in-use", "attached"
        volume.save()
        return volume

    # Ends

    @contextlib.contextmanager
    def killed_at(self, number):
        """Let the process be killed at that of its calls, counted from 0.

        Of the cluster, the key manager and the database; whatever it would do
        after that is not done. What it has locked or opened ends with it.

        :returns: the names of its calls
        """
        seen = []

        def called(name):
            seen.append(name)
            if len(seen) > number:
                raise Death(name)

        count = self.ceph.count
        swap, free = rotation.Swap.save, deep.set_free

        def counted(rados, name):
            if rados.is_ours:
                called(name)
            count(rados, name)

        def saved(this, key_id):
            called("before save")
            swap(this, key_id)
            called("after save")

        def freed(record):
            called("before it is free")
            free(record)
            called("after it is free")

        self.server.on_call = called
        try:
            with fixtures.MonkeyPatch(
                    "os_brick_rbd_luks.volume.deep.set_free", freed), \
                    fixtures.MonkeyPatch(
                    "os_brick_rbd_luks.volume.rotation.Swap.save", saved), \
                    fixtures.MockPatchObject(self.ceph, "count", counted):
                yield seen
        except Death:
            self.ceph.locks.clear()
        finally:
            self.server.on_call = None
