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

"""Records in a folder, and in memory."""

from __future__ import annotations

import os
import signal
import stat

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import record_store
from os_brick_rbd_luks.tests.contracts import record_store as contract
from os_brick_rbd_luks.tests.fakes import record_store as fakes


class MemoryContractTest(contract.RecordsContract, testtools.TestCase):

    def make_records(self):
        return fakes.MemoryRecords()


class FolderTestCase(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.path = self.useFixture(fixtures.TempDir()).path

    def folder(self):
        return record_store.Folder(self.path)

    def write(self, name, data):
        folder = self.folder()
        with folder.lock():
            folder.write("pool", name, data)

    def files(self):
        """Names of all files, the lock's apart."""
        return sorted(name for _path, _folders, names in os.walk(self.path)
                      for name in names if "lock" not in name)


class FolderContractTest(contract.RecordsContract, testtools.TestCase):

    def make_records(self):
        self.path = self.useFixture(fixtures.TempDir()).path
        return record_store.Folder(self.path)

    def again(self):
        return record_store.Folder(self.path)


@ddt.ddt
class FolderTest(FolderTestCase):

    def test_only_for_its_owner(self):
        self.addCleanup(os.umask, os.umask(0))
        self.write("a", b"data")
        folder = os.path.join(self.path, "pool")
        modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (
            folder, os.path.join(folder, *self.files()))]
        self.assertEqual([0o700, 0o600], modes)

    def test_no_folder(self):
        error = self.assertRaises(exception.ImageNotFound, record_store.Folder,
                                  self.path + "/no")
        self.assertIn(self.path + "/no", str(error))

    def test_file_is_no_folder(self):
        path = os.path.join(self.path, "file")
        with open(path, "wb"):
            pass
        self.assertRaises(exception.ImageIOError, record_store.Folder, path)

    def test_what_others_put_there(self):
        """A mounted file system has such a folder, which nobody may read."""
        self.write("a", b"data")
        for name in (b"lost+found", b"pool/README",
                     b"pool/b c.rbd-luks-header", b"\xff\xfe",
                     b"pool/\xff.rbd-luks-header"):
            os.makedirs(os.path.join(os.fsencode(self.path), name))
        folder = self.folder()
        self.assertEqual(["pool"], folder.groups())
        self.assertEqual(["a"], folder.names("pool"))

    def test_full_disk(self):
        def fsync(_descriptor):
            raise OSError(28, "No space left on device")

        with fixtures.MonkeyPatch("os.fsync", fsync):
            self.assertRaises(exception.FileSystemFull, self.write, "a",
                              b"data")
        self.assertEqual([], self.files())

    def test_on_disk_before_it_has_its_name(self):
        calls = []

        def noted(name):
            original = getattr(os, name)

            def call(*args):
                calls.append(name)
                return original(*args)
            return fixtures.MonkeyPatch(f"os.{name}", call)

        self.write("a", b"data")
        with noted("fsync"), noted("rename"):
            self.write("b", b"data")
        self.assertEqual(["fsync", "rename", "fsync"], calls)

    @ddt.data(*((name, number) for name, count in (
        ("open", 3), ("mkdir", 1), ("fsync", 3), ("rename", 1))
        for number in range(1, count + 1)))
    @ddt.unpack
    def test_killed(self, name, number):
        """At each call that changes the folder: all or nothing is there."""
        self.killed_at(name, number)
        found = self.folder().names("pool")
        self.assertIn(found, ([], ["a"]))
        for record in found:
            self.assertEqual(b"data" * 1000, self.folder().read(
                "pool", record, 9000))
        with self.folder().lock():
            pass
        self.assertEqual(found, [name.partition(".")[0]
                                 for name in self.files()])
        self.write("b", b"more")
        self.assertEqual([*found, "b"], self.folder().names("pool"))

    def killed_at(self, name, number):
        """Write "a" in a process that is killed before a call."""
        child = os.fork()
        if not child:
            try:
                self.die_at(name, number)
                self.write("a", b"data" * 1000)
            finally:
                os._exit(1)
        _child, status = os.waitpid(child, 0)
        self.assertTrue(os.WIFSIGNALED(status), (name, number))
        self.assertEqual(signal.SIGKILL, os.WTERMSIG(status))

    def die_at(self, name, number):
        original, calls = getattr(os, name), []
        # The first call of open is that of the constructor, the second that
        # of the lock.
        number += 2 * (name == "open")

        def call(*args, **kwargs):
            calls.append(name)
            if len(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*args, **kwargs)

        setattr(os, name, call)
