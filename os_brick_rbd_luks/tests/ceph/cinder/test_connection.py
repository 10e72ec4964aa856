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

"""Connections, and what has to happen before somebody gets one."""

from __future__ import annotations

import contextlib
from unittest import mock

import ddt

from os_brick_rbd_luks import attachment
from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.layers import chain
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


@ddt.ddt
class TransferTest(base.DriverTestCase):

    def transferred(self, provider="luks"):
        """A volume that another user has accepted, as the API does it."""
        volume = self.filled(provider)
        self.driver.accept_transfer(self.context, volume, "user", "project")
        old = volume.encryption_key_id
        volume.encryption_key_id = self.keys.copy(old)
        volume.save()
        self.keys.delete(old)
        return volume

    def connect(self, volume, status):
        volume.status = status
        volume.save()
        self.driver.initialize_connection(volume, {"host": "here"})

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_h4_rekeyed_before_it_is_attached(self, provider):
        volume = self.transferred(provider)
        known = self.passphrase(volume)
        self.connect(volume, "reserved")
        volume.refresh()
        self.assertNotEqual(known, self.passphrase(volume))
        self.check(volume)
        self.assert_keys(volume)
        # Once.
        key_id = volume.encryption_key_id
        self.connect(volume, "attaching")
        volume.refresh()
        self.assertEqual(key_id, volume.encryption_key_id)

    def test_h4_not_for_cinder_itself(self):
        volume = self.transferred()
        key_id = volume.encryption_key_id
        for status in ("backing-up", "uploading", "retyping"):
            self.connect(volume, status)
        volume.refresh()
        self.assertEqual(key_id, volume.encryption_key_id)
        self.check(volume)

    def test_h4_not_with_snapshots(self):
        volume = self.transferred()
        key_id = volume.encryption_key_id
        snapshot = self.snapshot(volume)
        self.connect(volume, "reserved")
        volume.refresh()
        self.assertEqual(key_id, volume.encryption_key_id)
        self.delete_snapshot(snapshot)
        self.connect(volume, "reserved")
        volume.refresh()
        self.assertNotEqual(key_id, volume.encryption_key_id)
        self.check(volume)
        self.assert_keys(volume)

    def test_h4_not_while_somebody_has_it_open(self):
        volume = self.transferred()
        key_id = volume.encryption_key_id
        with self.pool() as pool, pool.open(volume.name):
            self.connect(volume, "reserved")
        volume.refresh()
        self.assertEqual(key_id, volume.encryption_key_id)
        self.check(volume)

    @ddt.data("keep_only", "write")
    def test_h4_rekeying_fails(self, step):
        # Whatever was done by then, the key in the database opens the volume.
        volume = self.transferred()
        with self.failing(step):
            self.connect(volume, "reserved")
        volume.refresh()
        self.assertIn(self.passphrase(volume), self.openers(volume.name))
        self.disk(volume).check(units.GIB, reader.filling(1))
        self.connect(volume, "reserved")
        self.check(volume)
        self.delete(volume)
        self.assert_nothing_left()

    @contextlib.contextmanager
    def failing(self, step):
        """Let what comes after the database was changed fail."""
        owner = {"keep_only": keyslots, "write": chain}[step]
        with mock.patch.object(owner, step, autospec=True,
                               side_effect=exception.ImageIOError(
                                   action="write", reason="no")):
            yield

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_h4_clone(self, provider):
        # The keys that its layers need are no matter of its passphrase.
        source = self.filled(provider)
        clone = self.clone(source)
        below = self.below(clone)
        old = clone.encryption_key_id
        self.driver.accept_transfer(self.context, clone, "user", "project")
        self.connect(clone, "reserved")
        clone.refresh()
        self.assertNotEqual(old, clone.encryption_key_id)
        self.assertEqual(below, self.below(clone))
        self.check(clone)
        self.check(source)
        self.assert_keys(source, clone, *filter(None, below))
        self.delete(clone)
        self.assert_keys(source)

    def test_h4_source_of_a_clone(self):
        volume = self.transferred()
        clone = self.clone(volume)
        self.connect(clone, "reserved")
        # The clone's snapshot keeps the header of its time.
        self.connect(volume, "reserved")
        volume.refresh()
        self.check(volume)
        self.check(clone)
        self.assert_keys(volume, clone)


@ddt.ddt
class ConnectionTest(base.DriverTestCase):

    @ddt.data("luks", "luks2")
    def test_marked(self, provider):
        volume = self.create(provider)
        connection = self.driver.initialize_connection(
            volume, {"host": "here"})
        facts = attachment.read(connection)
        self.assertEqual((provider, units.GIB), (facts.format, facts.size))
        self.assertNotIn(self.passphrase(volume).decode(), repr(connection))

    def test_extended_while_somebody_has_it_open(self):
        volume = self.filled()
        disk = self.disk(volume)
        with self.pool() as pool, pool.open(volume.name) as image:
            image.write(0, image.read(0, 512))  # takes the exclusive lock
            self.extend(volume, 2)
        self.assertEqual(2, volume.size)
        disk.check(2 * units.GIB, [])
