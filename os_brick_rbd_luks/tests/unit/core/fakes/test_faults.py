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

"""Faults by method: each kind, around stores in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import cluster
from os_brick_rbd_luks.tests.fakes import faults as faulty
from os_brick_rbd_luks.tests.fakes import image as images
from os_brick_rbd_luks.tests.fakes import libvirt
from os_brick_rbd_luks.tests.fakes import store as stores

SIZE = 65536
FULL = exception.ImageFull(action="write")

_KILLED = """
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import faults
import sys
store = faults.Faults(faults.Fault(
    "write", nth=2, after=sys.argv[2] == "after", kill=True)).around(
        rawfile.FileStore())
with store.create(sys.argv[1], 4096) as image:
    image.write(0, b"1")
    image.write(1, b"2")
    image.write(2, b"3")
"""


@ddt.ddt
class FaultsTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.store = stores.MemoryStore()
        self.store.create("v", SIZE).__exit__()

    def around(self, *planned):
        self.faults = faulty.Faults(*planned)
        self.addCleanup(self.faults.assert_happened)
        return self.faults.around(self.store)

    def content(self):
        return self.store.contents["v"].read(0, 4)

    @ddt.data((False, b"a\0c\0"), (True, b"abc\0"))
    @ddt.unpack
    def test_error_at_the_nth_call(self, after, expected):
        """Instead of the call, or when it was done."""
        store = self.around(faulty.Fault("write", 2, after, error=FULL))
        with store.open("v") as image:
            image.write(0, b"a")
            self.assertIs(FULL, self.assertRaises(
                exception.ImageFull, image.write, 1, b"b"))
            image.write(2, b"c")
        self.assertEqual(expected, self.content())
        self.assertEqual(3, self.faults.calls["write"])

    @ddt.data((False, b"\0\0\0\0"), (True, b"a\0\0\0"))
    @ddt.unpack
    def test_nothing_works_after_death(self, after, expected):
        store = self.around(faulty.Fault("write", after=after, error=FULL,
                                         dies=True))
        image = store.open("v")
        for call in (lambda: image.write(0, b"a"), image.flush, image.size,
                     lambda: image.read(0, 1), lambda: store.open("v")):
            self.assertIs(FULL, self.assertRaises(exception.ImageFull, call))
        self.assertEqual(expected, self.content())

    @ddt.data("create", "clone", "rename", "remove")
    def test_signal_inside_a_call_of_the_store(self, call):
        """After its effect, before it returns; nothing is left open."""
        with self.store.open("v") as image:
            image.create_snapshot("s")
        self.store.create("w", SIZE).__exit__()
        parent = self.store.parent("v", "s")
        arguments = {"create": ("new", SIZE), "clone": (parent, "new"),
                     "rename": ("w", "new"), "remove": ("w",)}[call]
        store = self.around(faulty.Fault(call, after=True,
                                         error=KeyboardInterrupt()))
        self.assertRaises(KeyboardInterrupt, getattr(store, call),
                          *arguments)
        self.assertEqual({"create": ["new", "v", "w"],
                          "clone": ["new", "v", "w"], "rename": ["new", "v"],
                          "remove": ["v"]}[call], self.store.images())
        self.assertEqual({0}, {content.handles for content
                               in self.store.contents.values()})

    def test_error_for_some_calls_and_for_ever(self):
        store = self.around(
            faulty.Fault("write", 2, error=FULL, times=2),
            faulty.Fault("flush", error=FULL, times=None))
        with store.open("v") as image:
            failed = []
            for number in range(4):
                try:
                    image.write(number, b"x")
                except exception.ImageFull:
                    failed.append(number)
                self.assertRaises(exception.ImageFull, image.flush)
        self.assertEqual([1, 2], failed)

    def test_delay(self):
        slept = []
        store = self.around(faulty.Fault("open", delay=30.0))
        with fixtures.MonkeyPatch("time.sleep", slept.append):
            store.open("v").__exit__(None, None, None)
        self.assertEqual([30.0], slept)

    @ddt.data(False, True)
    def test_second_client_at_that_moment(self, after):
        def other():
            with self.store.open("v") as image:
                seen.append(image.read(0, 1))
                image.write(0, b"o")

        seen = []
        store = self.around(faulty.Fault("write", 1, after, meanwhile=other))
        with store.open("v") as image:
            image.write(0, b"x")
        self.assertEqual(([b"x"], b"o") if after else ([b"\0"], b"x"),
                         (seen, self.content()[:1]))

    @ddt.data(("before", b"1\0\0"), ("after", b"12\0"))
    @ddt.unpack
    def test_kill(self, when, expected):
        path = os.path.join(self.useFixture(fixtures.TempDir()).path, "file")
        done = subprocess.run([sys.executable, "-c", _KILLED, path, when],
                              timeout=60, check=False)
        self.assertEqual(-signal.SIGKILL, done.returncode)
        with rawfile.FileStore().open(path) as image:
            self.assertEqual(expected, image.read(0, 3))

    def test_lock_that_is_lost(self):
        store = self.around(faulty.Fault("renew", error=exception.ImageLocked(
            holders="another")))
        with store.open("v") as image, image.lock() as lock:
            self.assertRaises(exception.ImageLocked, lock.renew)

    def test_cluster_and_its_stores(self):
        memory = cluster.MemoryCluster("volumes")
        planned = faulty.Faults(faulty.Fault("create", error=FULL))
        with planned.around(memory).connect() as connection, \
                connection.pool("volumes") as pool:
            self.assertRaises(exception.ImageFull, pool.create, "v", SIZE)
            pool.create("v", SIZE).__exit__()
        planned.assert_happened()
        self.assertEqual(["v"], memory.pools["volumes"].images())

    def test_libvirt(self):
        """Any object: here one that this package did not make."""
        daemon = self.useFixture(libvirt.Daemon())
        import libvirt as binding
        planned = faulty.Faults(faulty.Fault(
            "listAllSecrets", after=True,
            error=libvirt.libvirtError("end of file", 38)))
        connection = planned.around(binding.open("qemu:///system"))
        self.assertRaises(binding.libvirtError, connection.listAllSecrets)
        self.assertEqual([], connection.listAllSecrets())
        connection.close()
        self.assertEqual(["open", "list", "list", "close"], daemon.calls)

    def test_it_passes_for_what_it_is_around(self):
        store = self.around()
        with store.open("v") as image:
            self.assertIsInstance(image, images.MemoryImage)
            self.assertEqual("memory/v", image.name)
            self.assertFalse(hasattr(image, "no_such_method"))
            image.name = "other"
            self.assertEqual("other", image._thing.name)
        self.assertIsInstance(store, stores.MemoryStore)
        self.assertRaises(ValueError, image.read, 0, 1)

    def test_fault_that_never_happened(self):
        planned = faulty.Faults(faulty.Fault("write", 2))
        with planned.around(self.store).open("v") as image:
            image.write(0, b"x")
        error = self.assertRaises(AssertionError, planned.assert_happened)
        self.assertIn("never happened", str(error))
