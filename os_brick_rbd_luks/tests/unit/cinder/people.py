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

"""The same with a Barbican of the default policy, and its people.

A tenant's request may do what he may, as the policy says it, and an
administrator gets nobody's keys. To Cinder's database both are its
administrators, for whom the tests make volume types.
"""

from __future__ import annotations

import contextlib
import itertools
import logging

from castellan import key_manager
from cinder import context
from cinder.db import api as db
from cinder import objects
import fixtures
from oslo_config import cfg

from os_brick_rbd_luks.tests.fakes import keymanager
from os_brick_rbd_luks.tests.unit.cinder import base


def request(name, *roles):
    """The context of a request by a user of the project of his name."""
    made = context.RequestContext(
        name, f"project-{name}", auth_token=f"token-of-{name}", is_admin=True)
    made.roles = list(roles)
    return made


class Keys(base.Keys):
    """The keys of one test, in Barbican."""

    def __init__(self, context):
        self.server = keymanager.SERVER
        self.server.__init__()
        self.context = context
        self.manager = key_manager.API(cfg.CONF)
        self._passphrases = {}

    def passphrase(self, key_id):
        for known, secret in self.server.secrets.items():
            self._passphrases[known] = (
                secret.managed.get_encoded().hex().encode())
        return self._passphrases[key_id]

    def known(self):
        return self.server.ids()

    left = known


class PeopleTestCase(base.DriverTestCase):
    """Has a tenant, whose volumes they are, and an administrator."""

    key_manager = keymanager.BARBICAN_BACKEND

    def setUp(self):
        super().setUp()
        self.server = keymanager.SERVER
        self.admin = request("admin", "admin")
        self.warnings = self.useFixture(fixtures.FakeLogger(
            "os_brick_rbd_luks", level=logging.WARNING, nuke_handlers=False))

    def make_context(self):
        return request("tenant", "member")

    def make_keys(self):
        return Keys(self.context)

    def as_admin(self, record):
        """A record of Cinder's in a request of the administrator's."""
        return type(record).get_by_id(self.admin, record.id)

    @contextlib.contextmanager
    def away(self, number=0, *names):
        """Let the key manager be away from that call on."""
        fault = self.server.go_away(number, *names)
        try:
            yield fault
        finally:
            self.server.come_back()

    def assert_leaks_are_named(self):
        """Each key is a record's, is noted on an image, or in a warning."""
        known = context.get_admin_context()
        named = {record.encryption_key_id for records in (
            db.volume_get_all(known), db.snapshot_get_all(known),
            objects.BackupList.get_all(known)) for record in records}
        left = self.keys.left() - named - self.keys_of_images()
        self.assertEqual(set(), {
            key_id for key_id in left if key_id not in self.warnings.output})

    def assert_whole(self, volume, *key_ids):
        """The database's key opens it, and is one of these."""
        volume.refresh()
        self.assertIn(volume.encryption_key_id, key_ids)
        self.check(volume)

    def walk(self, make, operation, check):
        """Let the key manager be away from call N on, for every N.

        :param make: makes what one run is about
        :param operation: does it
        :param check: called with that, and whether it worked
        :returns: in how many runs it did not work
        """
        failed = 0
        for number in itertools.count():
            subject = make()
            with self.away(number) as fault:
                try:
                    operation(subject)
                except Exception:
                    worked = False
                else:
                    worked = True
            check(subject, worked)
            self.assert_leaks_are_named()
            self.assert_nothing_is_open()
            failed += not worked
            if not fault.failed:
                break
        self.assertTrue(worked, "it fails without any fault")
        self.assertGreater(number, 0, "it asks for no key")
        return failed
