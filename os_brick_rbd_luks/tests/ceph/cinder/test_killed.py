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

"""A service that is killed while it makes a clone."""

from __future__ import annotations

import os
import sqlite3

from cinder.db import api as db
import ddt
from oslo_config import cfg

from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import killed
from os_brick_rbd_luks.tests import selection


def _engine():
    """Of the tests' database; releases before 29 have it a floor below."""
    if hasattr(db, "get_engine"):
        return db.get_engine()
    from cinder.db.sqlalchemy import api as below
    return below.get_engine()


@ddt.ddt
class KilledTest(base.DriverTestCase):

    def setUp(self):
        super().setUp()
        # The service has to share a database, so this one is in a file.
        self.database = os.path.join(self.temp, "cinder.sqlite")
        options = self.driver.configuration
        self.service = killed.Service(self, {
            "keys": cfg.CONF.default_config_files[0],
            "database": f"sqlite:///{self.database}",
            "options": {name: getattr(options, name) for name in (
                "rbd_pool", "rbd_user", "rbd_ceph_conf")},
            "context": self.context.to_dict()})

    def share(self):
        """Give the service a copy of the database."""
        with sqlite3.connect(self.database) as connection:
            connection.executescript("".join(
                _engine().connect().connection.iterdump()))

    def read_back(self, volume):
        """What the service has stored of a volume."""
        with sqlite3.connect(self.database) as connection:
            volume.encryption_key_id, = connection.execute(
                "SELECT encryption_key_id FROM volumes WHERE id = ?",
                [volume.id]).fetchone()
        volume.save()
        os.unlink(self.database)

    def evict(self, name):
        """As time would: let the killed service have nothing open."""
        with self.pool() as pool:
            if name in pool.images():
                pool.evict(name)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_clone(self, provider):
        source = self.filled(provider)
        killed_at = orphans = 0
        while True:
            volume = self.volume(
                type_id=source.volume_type_id, source_volid=source.id,
                key_id=self.keys.copy(source.encryption_key_id))
            self.share()
            was_killed = self.service.run(
                "create_cloned_volume", volume.id, source.id, step=killed_at)
            self.read_back(volume)
            self.check_one(volume, source)
            if not was_killed:
                self.check(volume)
                break
            killed_at += 1
            self.delete(volume)
            self.assert_images(source)
            # Nothing knows of a key that was made in the moment before.
            for key_id in self.keys.left() - {source.encryption_key_id}:
                self.keys.delete(key_id)
                orphans += 1
        self.assertGreater(killed_at, 8)
        self.assertLessEqual(orphans, 1)

    def check_one(self, volume, source):
        """The volume's key opens it; the source is as it was."""
        for name in (volume.name, source.name):
            self.evict(name)
        self.assertIn(volume.encryption_key_id, self.keys.left())
        self.assertIn(self.passphrase(volume), self.openers(volume.name))
        self.assertEqual([self.passphrase(source)],
                         self.openers(source.name))
