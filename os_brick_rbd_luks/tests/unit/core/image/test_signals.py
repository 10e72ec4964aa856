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

"""A signal that librbd's call delays does not hide what the call made.

The fake's calls are Python, between whose instructions handlers run; librbd's
are C. A call of C that raises a signal, by libc, stands for those here.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import signal

import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import rawfile
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests import units

_RAISE = ctypes.CDLL(None)["raise"]
_RAISE.restype = None


class Interrupted(BaseException):
    """What the handler of the signal raises."""


class SignalTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph())
        self.addCleanup(signal.signal, signal.SIGUSR1, signal.signal(
            signal.SIGUSR1, self.interrupt))

    def interrupt(self, *_args):
        raise Interrupted

    @contextlib.contextmanager
    def pool(self):
        with cluster.connect(user="cinder") as handle, handle.pool(
                "volumes") as pool:
            yield pool

    def test_signal_meets_success(self):
        with self.pool() as pool:
            other = self.ceph.pools["volumes"]
            # Made by librbd, which then returns to a pending signal.
            other.create("new", units.MIB).__exit__()
            self.assertRaises(Interrupted, pool._make, "new", "create",
                              functools.partial(_RAISE, signal.SIGUSR1))
            self.assertEqual([], pool.images())
            self.assertEqual({}, pool.made)

    def test_signal_meets_refusal(self):
        """By a call of C that raises an error while a signal is pending."""
        with self.pool() as pool:
            pool.create("new", units.MIB).__exit__()
            self.assertRaises(
                (Interrupted, exception.ImageExists), pool._make, "new",
                "create", functools.partial(_refused, self.ceph.rbd))
            self.assertEqual(["new"], pool.images())

    def test_no_signal(self):
        with self.pool() as pool:
            pool.create("new", units.MIB).__exit__()
            self.assertEqual(["new"], [*pool.made])


def _refused(rbd):
    try:
        raise rbd.ImageExists("x", errno=errno.EEXIST)
    finally:
        _RAISE(signal.SIGUSR1)


class FileTest(SignalTest):

    def test_file_that_cannot_be_that_large(self):
        """It is gone, although its size came after it was there."""
        import os
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "new")
            self.assertRaises(exception.ImageIOError,
                              rawfile.FileStore().create, path, 2 ** 63)
            self.assertEqual([], os.listdir(folder))
