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
from os_brick_rbd_luks.tests.ceph.cinder import base
from os_brick_rbd_luks.tests.ceph.cinder import reader
from os_brick_rbd_luks.tests.contracts import cinder_transfer as contract
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units


@ddt.ddt
class TransferTest(contract.TransferContract, base.DriverTestCase):

    @contextlib.contextmanager
    def in_use(self, volume):
        with self.pool() as pool, pool.open(volume.name):
            yield

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_h4_rekeyed_before_it_is_attached(self, provider):
        self.assert_rekeyed(provider)

    @ddt.data(*selection.cases("luks2", full=["luks"]))
    def test_h4_clone(self, provider):
        self.assert_clone_rekeyed(provider)

    def test_h4_rekeying_fails(self):
        # Whatever was done by then, the key in the database opens the volume.
        volume = self.transferred()
        with self.failing():
            self.connect(volume)
        self.assertIn(self.passphrase(volume), self.openers(volume.name))
        self.disk(volume).check(units.GIB, reader.filling(1))
        self.connect(volume)
        self.check(volume)
        self.delete(volume)
        self.assert_nothing_left()

    @contextlib.contextmanager
    def failing(self):
        """Let what comes after the database was changed fail."""
        with mock.patch.object(keyslots, "remove_others", autospec=True,
                               side_effect=exception.ImageIOError(
                                   action="write", reason="no")):
            yield

    def test_h4_source_of_a_clone(self):
        volume = self.transferred()
        clone = self.clone(volume)
        self.connect(clone)
        # The clone's snapshot keeps the header of its time.
        self.connect(volume)
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
