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

"""Who besides a volume's project may read its key."""

from __future__ import annotations

from castellan.common import exception as castellan_exception
import ddt

from os_brick_rbd_luks.tests.unit.cinder import people


@ddt.ddt
class ReadersTest(people.PeopleTestCase):

    def setUp(self):
        super().setUp()
        self.service = people.request("service", "service")

    def made(self, how):
        """A volume that the driver makes in that way, in a tenant's request.
        """
        volume = self.create("luks")
        if how == "clone":
            return self.clone(volume)
        if how == "from_snapshot":
            return self.from_snapshot(self.snapshot(volume))
        if how == "transferred":
            before = volume.encryption_key_id
            self.driver.accept_transfer(self.context, volume, "tenant",
                                        volume.project_id)
            volume.status = "reserved"
            volume.save()
            self.driver.initialize_connection(volume, {"host": "here"})
            # Else it would be the key that was shared when it was made.
            self.assertNotEqual(before, volume.encryption_key_id)
        return volume

    def read(self, volume, context):
        return self.keys.manager.get(context, volume.encryption_key_id)

    @ddt.data("create", "clone", "from_snapshot", "transferred")
    def test_named_users(self, how):
        self.option(rbd_luks_key_readers=["service", "another"])
        volume = self.made(how)
        key = self.read(volume, self.context)
        self.assertEqual(key.get_encoded(), self.read(
            volume, self.service).get_encoded())
        # To read it only, and nobody else.
        for call, context in ((self.keys.manager.delete, self.service),
                              (self.keys.manager.get,
                               people.request("stranger", "member"))):
            self.assertRaises(castellan_exception.KeyManagerError, call,
                              context, volume.encryption_key_id)
        self.check(volume, {})
        self.assertEqual("", self.warnings.output)

    def test_nobody_by_default(self):
        volume = self.made("clone")
        self.assertNotIn("share", self.server.calls)
        self.assertRaises(castellan_exception.KeyManagerError, self.read,
                          volume, self.service)

    @ddt.data("create", "clone")
    def test_it_fails(self, how):
        """That is for an operator to mend, and no reason to fail."""
        self.option(rbd_luks_key_readers=["service"])
        with self.away(0, "share"):
            volume = self.made(how)
        self.check(volume, {})
        self.assertIn(volume.encryption_key_id, self.warnings.output)
        self.assertIn("openstack acl user add", self.warnings.output)
