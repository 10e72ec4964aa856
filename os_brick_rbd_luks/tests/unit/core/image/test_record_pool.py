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
"""Records in a pool, and what a killed run leaves of them."""

from __future__ import annotations

import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import record_pool
from os_brick_rbd_luks.tests.contracts import record_store as contract
from os_brick_rbd_luks.tests.fakes import ceph


class Killed(BaseException):
    """The process, at that moment."""


class RecordPoolTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph("volumes", "headers"))

    def open(self):
        """As one more client has it."""
        connection = cluster.connect()
        connected = connection.__enter__()
        self.addCleanup(connection.__exit__, None, None, None)
        opened = connected.records("headers")
        self.addCleanup(opened.__exit__, None, None, None)
        return opened.__enter__()


class RecordPoolContractTest(contract.RecordsContract, RecordPoolTestCase):
    """As any other place."""

    def make_records(self):
        return self.open()

    def again(self):
        return self.open()


class RecordPoolTest(RecordPoolTestCase):

    def setUp(self):
        super().setUp()
        self.records = self.open()

    def write(self, name, data=b"data"):
        with self.records.lock():
            self.records.write("pool", name, data)

    def objects(self):
        return sorted(self.ceph.things["headers"])

    def fail(self, call, error=None):
        self.ceph.faults[call] = error or Killed()

    def test_more_than_a_page(self):
        self.useFixture(fixtures.MonkeyPatch(
            f"{record_pool.__name__}._PAGE", 2))
        names = [f"{number:02}" for number in range(7)]
        for name in names:
            self.write(name)
        self.write("other")
        self.assertEqual([*names, "other"], self.open().names("pool"))
        self.assertEqual(["pool"], self.open().groups())

    def test_killed_while_it_writes(self):
        """Nobody finds half of it, and the next one takes its place."""
        for call, left in (("write_full", []), ("operate_write_op", [
                f"{record_pool.PREFIX}/pool/a"])):
            self.fail(call)
            self.assertRaises(Killed, self.write, "a")
            self.assertEqual([], self.open().names("pool"))
            self.assertEqual([*sorted([record_pool.PREFIX, *left])],
                             self.objects())
        self.write("a", b"other")
        self.assertEqual(b"other", self.open().read("pool", "a", 9))

    def test_killed_while_it_removes(self):
        for call, names in (("operate_write_op", ["a"]),
                            ("remove_object", [])):
            if not self.open().names("pool"):
                self.write("a")
            self.fail(call)
            with self.records.lock():
                self.assertRaises(Killed, self.records.remove, "pool", "a")
            self.assertEqual(names, self.open().names("pool"))
        self.write("a", b"other")
        self.assertEqual(b"other", self.open().read("pool", "a", 9))

    def test_lock_is_renewed(self):
        """As long as there is anything to do."""
        now = [0]
        self.records._clock = lambda: now[0]
        with self.records.lock():
            for number in range(20):
                now[0] += header_lock.LOCK_DURATION // 2
                self.ceph.clock.advance(header_lock.LOCK_DURATION // 2)
                self.records.write("pool", str(number), b"data")
                self.assertRaises(exception.ImageLocked,
                                  self.open().lock().__enter__)

    def test_lock_that_has_ended(self):
        """Another one may have it: nothing is written any more."""
        now = [0]
        self.records._clock = lambda: now[0]
        with self.records.lock():
            now[0] += 2 * header_lock.LOCK_DURATION
            self.ceph.clock.advance(2 * header_lock.LOCK_DURATION)
            other = self.open()
            with other.lock():
                self.assertRaises(exception.ImageLocked, self.records.write,
                                  "pool", "a", b"data")
            self.assertEqual([record_pool.PREFIX], self.objects())

    def test_erasure_coded(self):
        """It cannot have an index; that is said before anything is written."""
        self.ceph.erasure_coded.add("headers")
        with self.records.lock():
            error = self.assertRaises(
                exception.InvalidParameter, self.records.write, "pool", "a",
                b"data")
        self.assertIn("headers", str(error))
        self.assertIn("replicated", str(error))
        self.assertEqual([record_pool.PREFIX], self.objects())

    def test_no_pool(self):
        with cluster.connect() as connected:
            self.assertRaises(exception.ImageNotFound,
                              connected.records("missing").__enter__)

    def test_no_right(self):
        self.ceph.pools["headers"].rights.read_only = True
        self.assertRaises(exception.ImageAccessDenied, self.write, "a")
