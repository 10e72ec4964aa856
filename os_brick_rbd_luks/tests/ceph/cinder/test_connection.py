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
import os
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
from os_brick_rbd_luks.tests import waiting


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


class FlattenTest(base.DriverTestCase):
    """A clone that changes hands is flattened, and is used meanwhile."""

    #: Bytes to copy, so that it takes a second or two.
    DATA = (256 if selection.QUICK else 512) * units.MIB

    def setUp(self):
        super().setUp()
        self.source = self.filled("luks2")
        with self.pool() as pool, pool.open(self.source.name) as image:
            # What it is does not matter to who copies cipher text.
            data = os.urandom(4 * units.MIB)
            for offset in range(32 * units.MIB, self.DATA, len(data)):
                image.write(offset, data)
        self.clone_of_it = self.clone(self.source)

    def accept(self):
        self.driver.accept_transfer(self.context, self.clone_of_it, "user",
                                    "project")

    def is_clone(self):
        with self.pool() as pool, pool.open(
                self.clone_of_it.name, read_only=True) as image:
            return image.parent() is not None

    def assert_alone(self, *snapshots):
        """In the end it is, and has nothing left of its parent."""
        waiting.until(lambda: not self.is_clone(), "the flatten")
        waiting.until(lambda: self.images() == {
            self.source.name: [], self.clone_of_it.name: [*snapshots]},
            "the end of the snapshot")
        self.assertEqual([self.passphrase(self.clone_of_it)],
                         self.openers(self.clone_of_it.name))
        with self.pool() as pool:
            for offset in (32 * units.MIB, self.DATA - 4 * units.MIB):
                pieces = []
                for volume in (self.source, self.clone_of_it):
                    with pool.open(volume.name, read_only=True) as image:
                        pieces.append(image.read(offset, 4 * units.MIB))
                self.assertEqual(*pieces)

    @selection.full
    def test_nobody_has_it(self):
        self.accept()
        self.assert_alone()

    def test_extended_and_snapshotted_meanwhile(self):
        self.accept()
        self.extend(self.clone_of_it, 2)
        snapshot = self.snapshot(self.clone_of_it)
        self.assert_alone(snapshot.name)
        self.delete_snapshot(snapshot)

    def test_guest_meanwhile(self):
        self.accept()
        with self.pool() as pool, pool.open(self.clone_of_it.name) as image:
            image.write(self.DATA + units.MIB, b"guest")
        self.assert_alone()
        with self.pool() as pool, pool.open(self.clone_of_it.name) as image:
            self.assertEqual(b"guest", image.read(self.DATA + units.MIB, 5))

    def test_deleted_meanwhile(self):
        self.accept()
        self.assertTrue(self.is_clone())
        self.delete(self.clone_of_it)
        self.assert_images(self.source)
        self.assert_keys(self.source)


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
