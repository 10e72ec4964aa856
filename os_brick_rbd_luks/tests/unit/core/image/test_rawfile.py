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

"""Plain files: the contract of images, and what only files have."""

from __future__ import annotations

import errno
import os
import stat
from unittest import mock

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import base
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.contracts import image as contract
from os_brick_rbd_luks.tests import units


class RawFileContractTest(contract.ImageContract, testtools.TestCase):

    def make_store(self):
        folder = self.useFixture(fixtures.TempDir()).path
        return rawfile.FileStore(), os.path.join(folder, "volume-1")

    def lock_expires(self, image, lock):
        return False


@ddt.ddt
class RawFileTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.folder = self.useFixture(fixtures.TempDir()).path
        self.path = os.path.join(self.folder, "volume")
        self.store = rawfile.FileStore()

    def make(self, size=8 * units.MIB):
        image = self.store.create(self.path, size)
        self.addCleanup(image.__exit__, None, None, None)
        return image

    def test_name_is_the_command_s(self):
        self.assertEqual(f"file:{self.path}", self.make().name)

    def test_stripe_period_is_rbd_s_default(self):
        self.assertEqual(4 * units.MIB, self.make().stripe_period())

    def test_no_features(self):
        self.assertEqual(frozenset(), self.make().features())

    def test_new_file_is_sparse_and_private(self):
        self.make(1024 * units.MIB)
        found = os.stat(self.path)
        self.assertLess(found.st_blocks * 512, units.MIB)
        self.assertEqual(0o600, stat.S_IMODE(found.st_mode))

    def test_extents_of_zeros_are_no_data(self):
        image = self.make()
        image.write(0, bytes(4096))
        image.write(base.DEFAULT_OBJECT_SIZE, bytes(65536))
        image.flush()
        self.assertFalse(image.has_data())
        image.write(base.DEFAULT_OBJECT_SIZE + 65535, b"x")
        self.assertTrue(image.has_data())

    def test_data_without_seek_data(self):
        """A block device has no SEEK_DATA: all of it is read."""
        image = self.make()
        real = os.lseek

        def lseek(descriptor, position, whence):
            if whence == os.SEEK_DATA:
                raise OSError(errno.EINVAL, "Invalid argument")
            return real(descriptor, position, whence)

        with mock.patch.object(os, "lseek", autospec=True, side_effect=lseek):
            self.assertFalse(image.has_data())
            image.write(8 * units.MIB - 1, b"x")
            self.assertTrue(image.has_data())

    def test_failed_create_leaves_no_file(self):
        self.useFixture(fixtures.MonkeyPatch("os.ftruncate", mock.Mock(
            side_effect=OSError(errno.ENOSPC, "No space left on device"))))
        error = self.assertRaises(exception.ImageFull, self.store.create,
                                  self.path, units.MIB)
        self.assertIn(self.path, str(error))
        self.assertEqual([], os.listdir(self.folder))

    def test_impossible_size_leaves_no_file(self):
        self.assertRaises(exception.RBDLuksError, self.store.create,
                          self.path, 2 ** 64)
        self.assertEqual([], os.listdir(self.folder))

    @ddt.data((errno.EACCES, exception.ImageAccessDenied),
              (errno.EPERM, exception.ImageAccessDenied),
              (errno.ENOSPC, exception.ImageFull),
              (errno.EIO, exception.ImageIOError),
              (errno.EROFS, exception.ImageIOError))
    @ddt.unpack
    def test_errors_are_ours_and_name_the_file(self, number, expected):
        image = self.make()
        failing = mock.Mock(side_effect=OSError(number, "no luck"))
        for function, call in (
                ("os.pwrite", lambda: image.write(0, b"x")),
                ("os.pread", lambda: image.read(0, 1)),
                ("os.fsync", image.flush),
                ("os.ftruncate", lambda: image.resize(units.MIB)),
                ("os.unlink", lambda: self.store.remove(self.path))):
            with fixtures.MonkeyPatch(function, failing):
                error = self.assertRaises(expected, call)
            self.assertEqual(1, str(error).count(self.path), str(error))

    def test_short_writes_and_reads_are_continued(self):
        image = self.make()
        pwrite, pread = os.pwrite, os.pread
        self.useFixture(fixtures.MonkeyPatch(
            "os.pwrite", lambda file, data, offset: pwrite(
                file, data[:100], offset)))
        self.useFixture(fixtures.MonkeyPatch(
            "os.pread", lambda file, length, offset: pread(
                file, min(length, 77), offset)))
        data = os.urandom(1000)
        image.write(5, data)
        self.assertEqual(data, image.read(5, 1000))

    def test_folder_is_no_image(self):
        self.assertRaises(exception.ImageIOError, self.store.open,
                          self.folder)
        error = self.assertRaises(exception.InvalidParameter,
                                  self.store.open, self.folder,
                                  read_only=True)
        self.assertIn(self.folder, str(error))

    def test_fifo_is_no_image(self):
        os.mkfifo(self.path)
        self.assertRaises(exception.InvalidParameter, self.store.open,
                          self.path)

    def test_files_are_closed(self):
        before = os.listdir("/proc/self/fd")
        with self.store.create(self.path, units.MIB):
            pass
        self.assertRaises(exception.ImageExists, self.store.create,
                          self.path, units.MIB)
        self.assertRaises(exception.InvalidParameter, self.store.open,
                          self.folder, read_only=True)
        with self.store.open(self.path, read_only=True):
            pass
        self.assertEqual(before, os.listdir("/proc/self/fd"))
