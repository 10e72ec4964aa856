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

"""Copies while the cluster is ill."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.ceph.core import copies
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

#: Seconds that the cluster of copies.OtherClusterTestCase keeps a watch.
WATCH = 5

#: Seconds that a client waits for an operation, in the test of a long outage.
OPERATION = 3


class OutageTest(copies.SlowCopyTestCase, copies.OtherClusterTestCase):

    def setUp(self):
        super().setUp()
        self.conf = self.other_conf
        self.move_to(self.open_pool())
        with open(os.path.join(self.other, "run", "osd.0.pid")) as stream:
            self.osd = int(stream.read())
        self.addCleanup(os.kill, self.osd, signal.SIGCONT)

    def assert_copied(self):
        with open(self.source, "rb") as stream:
            self.assert_same_in_qemu(stream.read(), self.image)

    @contextlib.contextmanager
    def stopped(self):
        """The OSD does not answer meanwhile."""
        os.kill(self.osd, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.osd, signal.SIGCONT)

    def answers(self):
        try:
            self.pool.images()
        except exception.ImageError:
            return False
        return True

    def unwatched(self, name):
        # An OSD that was stopped may keep others waiting yet, as above.
        try:
            with self.pool.open(name, read_only=True) as image:
                return not image.watchers()
        except exception.ImageTimedOut:
            return False

    def test_short(self):
        """Longer than a watch lasts.

        A busy machine lets an OSD take its time when it goes on.
        """
        process, _child = self.start_import(conf=(
            "rados_osd_op_timeout = 100", "rados_mon_op_timeout = 100"))
        with self.stopped():
            # It waits all the while, and does not give up.
            self.assertRaises(subprocess.TimeoutExpired, process.wait,
                              WATCH + 1)
        self.end(process, 0)
        self.assert_copied()
        self.assert_nothing_made(partial.PREFIX + self.image)

    @selection.full
    def test_long(self):
        """Longer than anybody waits for an operation."""
        process, _child = self.start_import(conf=(
            f"rados_osd_op_timeout = {OPERATION}",
            f"rados_mon_op_timeout = {OPERATION}"))
        with self.stopped(), contextlib.suppress(subprocess.TimeoutExpired):
            # QEMU of Debian 13 closes an image only when the OSD goes on.
            process.wait(4 * OPERATION)
        errors = self.end(process, 4)
        self.assertIn(f"volumes/{self.image}: ", errors)
        self.assertIn("timed out", errors)
        waiting.until(self.answers, "an answer of the OSD")
        name = partial.PREFIX + self.image
        self.assertNotIn(self.image, self.pool.images())
        if name in self.pool.images():
            self.assertIn("cannot remove the half-made image", errors)
            waiting.until(lambda: self.unwatched(name),
                          "the end of the watches")
        self.import_(self.source, "--force")
        self.assert_copied()


class FullPoolTest(copies.SlowCopyTestCase, copies.OtherClusterTestCase):
    """The pool reaches its quota in the middle.

    In a cluster of its own: with each new map of the OSDs, such as another
    test's blocklisting makes, a client begins anew to wait for what a full
    pool holds up.
    """

    def setUp(self):
        super().setUp()
        self.conf = self.other_conf

    @selection.full
    @selection.limit(600)
    def test_import(self):
        self.user = "admin"
        name = f"quota-{self.image}"
        self.admin_command(prefix="osd pool create", pool=name, pg_num=1)
        self.addCleanup(
            self.admin_command, prefix="osd pool delete", pool=name,
            pool2=name, yes_i_really_really_mean_it=True)
        self.move_to(self.open_pool(name, "admin"))
        librbd.bindings().RBD().pool_init(self.pool._ioctx, False)
        self.quota(name, 16 * units.MIB)
        self.target = f"{name}/{self.image}"
        process, _child = self.start_import(conf=(
            "rados_osd_op_timeout = 5",))
        # One timeout follows the other, 45 s in all.
        errors = self.end(process, 4, patience=240)
        self.assertIn(f"{self.target}: ", errors)
        self.assertIn("could not be copied", errors)
        self.assertNotIn(self.image, self.pool.images())
        left = [partial.PREFIX + self.image]
        # librbd removes nothing from a pool that reached its quota.
        self.assertIn(self.pool.images(), ([], left))
        if self.pool.images() == left:
            self.assertIn("cannot remove the half-made image", errors)
            self.assertIn("--force", self.import_(self.source, code=5))
        self.quota(name, 0)
        waiting.until(lambda: not self.is_full(name), "room in the pool")
        self.import_(self.source, "--force", "--iterations", "1000")
        self.assertEqual([self.image], self.pool.images())
        with open(self.source, "rb") as stream:
            self.assert_same_in_qemu(stream.read(), self.image, pool=name)

    def is_full(self, name):
        pools = self.admin_command(prefix="osd dump")["pools"]
        return any("full" in pool["flags_names"] for pool in pools
                   if pool["pool_name"] == name)

    def quota(self, name, size):
        self.admin_command(prefix="osd pool set-quota", pool=name,
                           field="max_bytes", val=str(size))
