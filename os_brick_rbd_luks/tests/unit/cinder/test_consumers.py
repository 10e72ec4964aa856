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

"""A key that a volume needs is not deleted by anybody but Cinder."""

from __future__ import annotations

from castellan.common import exception as castellan_exception
import ddt

from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.fakes import our_keymanager
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests.unit.cinder import moving
from os_brick_rbd_luks.tests.unit.cinder import people

#: Somebody else who has registered for a key.
IMAGE = {"service": "glance", "resource_type": "image", "resource_id": "1"}


@selection.needs("consumers")
class ConsumersTestCase(people.PeopleTestCase):

    key_manager = our_keymanager.BACKEND

    def setUp(self):
        super().setUp()
        # What everybody but Cinder's services has.
        self.castellans = keymanager.BarbicanKeyManager()

    def consumers(self, key_id):
        return self.castellans.get(self.context, key_id).consumers

    def assert_consumed(self, *volumes):
        """By the volume that a key is of, by nobody else; no others are."""
        self.assertEqual(
            {volume.encryption_key_id: [{
                "service": "cinder", "resource_type": "volume",
                "resource_id": volume.id}] for volume in volumes},
            {key_id: secret.consumers
             for key_id, secret in self.server.secrets.items()
             if secret.consumers})

    def lose(self, volume):
        """A tenant who tidies up."""
        self.castellans.delete(self.context, volume.encryption_key_id)


@ddt.ddt
class ConsumersTest(ConsumersTestCase):

    @ddt.data("luks", "luks2")
    def test_every_volume_has_its_key(self, provider):
        volume = self.create(provider)
        clone = self.clone(volume)
        made = self.from_snapshot(self.snapshot(volume))
        self.assert_consumed(volume, clone, made)
        for one in (volume, clone, made):
            error = self.assertRaises(
                (castellan_exception.KeyManagerError, ValueError),
                self.lose, one)
            self.assertIn("has consumers", str(error))
            self.assert_opens(one)
        self.assertEqual("", self.warnings.output)

    def test_deleted_with_its_key(self):
        volume = self.create()
        clone = self.clone(volume)
        for one in (volume, clone):
            self.delete(one)
        self.assert_keys()

    def test_transferred(self):
        volume = self.create()
        former = volume.encryption_key_id
        self.driver.accept_transfer(self.context, volume, "tenant",
                                    volume.project_id)
        volume.status = "reserved"
        volume.save()
        self.driver.initialize_connection(volume, {"host": "here"})
        self.assertNotEqual(former, volume.encryption_key_id)
        self.assert_consumed(volume)
        self.assert_keys(volume)

    def test_let_go(self):
        volume = self.create()
        self.driver.unmanage(volume)
        self.assertEqual([], self.consumers(volume.encryption_key_id))
        self.lose(volume)

    def test_somebody_else_needs_the_key(self):
        volume = self.create()
        self.castellans.add_consumer(
            self.context, volume.encryption_key_id, IMAGE)
        self.assertRaises(
            (castellan_exception.KeyManagerError, ValueError),
            self.keys.manager.delete, self.context, volume.encryption_key_id)
        self.assert_opens(volume)

    @ddt.data("create", "clone")
    def test_it_fails(self, how):
        """That is no reason to have no volume."""
        with self.away(0, "add_consumer"):
            volume = self.create()
            if how == "clone":
                volume = self.clone(volume)
        self.check(volume, {})
        self.assert_consumed()
        self.assertIn("as a consumer of key", self.warnings.output)

    def test_barbican_has_no_consumers(self):
        self.patch(f"{keymanager.__name__}.BarbicanKeyManager.add_consumer",
                   side_effect=NotImplementedError("microversion"))
        self.check(self.create(), {})
        self.assertEqual("", self.warnings.output)

    def test_who_may_not_register(self):
        """An administrator moves what is not his."""
        volume = self.create()
        self.driver.unmanage(volume)
        volume._context = self.admin
        with self.driver._encrypted(volume) as ours:
            ours.announce_key()
        self.assert_consumed()
        self.assertEqual("", self.warnings.output)


class CastellansTest(people.PeopleTestCase):
    """With castellan's own, Cinder's API could delete no such key."""

    def test_not_registered(self):
        self.clone(self.create())
        self.assertNotIn("add_consumer", self.server.calls)


class RetypeTest(ConsumersTestCase, moving.MovingTestCase):

    @selection.full
    def test_retype(self):
        """It has a key of the temporary volume, whose place it takes."""
        volume = self.filled("luks2")
        before = volume.encryption_key_id
        self.retype(volume, self.volume_type("luks2", key_size=128))
        self.assertNotEqual(before, volume.encryption_key_id)
        self.check(volume)
        self.assert_consumed(volume)
        self.assert_keys(volume)
