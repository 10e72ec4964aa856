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

"""The contracts of images, clones and block stores, on a real cluster.

The fakes keep the same ones: what is said there of Ceph is true.
"""

from __future__ import annotations

from concurrent import futures
import json
import os
import threading

import fixtures

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import evict
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.image import librbd
from os_brick_rbd_luks.image import rbd_image
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests.contracts import block as blocks
from os_brick_rbd_luks.tests.contracts import clone as clones
from os_brick_rbd_luks.tests.contracts import image as images
from os_brick_rbd_luks.tests.fakes import faults as faulty
from os_brick_rbd_luks.tests import units
from os_brick_rbd_luks.tests import waiting

#: Of the objects of new images; the contracts count on 64 KiB.
ORDER = {"rbd_default_order": "16"}
SPACE = "space"


class ImageTest(images.ImageContract, base.FunctionalTestCase):

    def make_store(self):
        return self.pool, self.name()

    def lock_expires(self, image, lock):
        with fixtures.MonkeyPatch(f"{header_lock.__name__}.LOCK_DURATION", 1):
            lock.renew()

        def lockers():
            return json.loads(base.run(
                "rados", "-c", self.conf, "--id", self.user, "-p", "volumes",
                "lock", "info", f"rbd_header.{image.identity()}",
                header_lock.LOCK_NAME, "--format", "json").stdout)["lockers"]

        waiting.until(lockers, "the end of the lock",
                      lambda found: not found)
        return True


class WatchTest(base.FunctionalTestCase):
    """The cluster of the tests, as real ones: else it would blocklist guests.
    """

    def test_outlasts_a_late_sign_of_life(self):
        with cluster.connect(self.conf, "admin") as connection:
            handle = connection._handle
            code, out, text = handle.osd_command(0, json.dumps(
                {"prefix": "config get", "var": "osd_client_watch_timeout",
                 "format": "json"}), b"")
            self.assertEqual(0, code, text)
            timeout = int(json.loads(out)["osd_client_watch_timeout"])
            self.assertLessEqual(
                float(handle.conf_get("objecter_tick_interval")),
                timeout / 3)


class GuestTest(base.FunctionalTestCase):
    """Changes of an image whose exclusive lock a guest takes back at once."""

    def setUp(self):
        super().setUp()
        self.image = self.name()
        self.pool.create(self.image, 16 * units.MIB).__exit__()
        self.ended = threading.Event()
        executor = futures.ThreadPoolExecutor(1)
        self.addCleanup(executor.shutdown)
        self.addCleanup(self.ended.set)
        self.guest = executor.submit(self.write)

    def write(self):
        """A hundred times a second, over a connection of its own.

        :returns: how often
        """
        written = 0
        with cluster.connect(self.conf, "admin") as connection, \
                connection.pool("volumes") as pool, \
                pool.open(self.image) as image:
            while not self.ended.wait(0.01):
                image.write(8 * units.MIB, bytes(4096))
                written += 1
        return written

    def test_notes_and_data(self):
        with self.pool.open(self.image, read_only=True) as image:
            waiting.until(image.watchers, "the guest")
        for number in range(300):
            with self.pool.open(self.image) as image:
                image.set_note("first", f"{number}")
                image.write(0, b"h" * 4096)
                image.set_note("second", f"{number}")
                self.assertEqual(
                    {"first": f"{number}", "second": f"{number}"},
                    image.notes())
        with self.pool.open(self.image) as image:
            for key in ("first", "second", "second"):
                image.set_note(key, None)
            self.assertEqual({}, image.notes())
        self.ended.set()
        # It went on to the end, and was there all the time.
        self.assertGreater(self.guest.result(), 100)


class PoolTestCase(base.FunctionalTestCase):
    """Has a pool of its own, which is empty at first, and a namespace.

    :cvar pool_name: of the pool
    :cvar weak: a user that may do all there, but blocklist nobody; his key
    """

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = os.environ.get("RBD_LUKS_TEST_CEPH")
        if not folder:
            return
        cls.pool_name = f"contract-{os.getpid()}"
        rbd = librbd.bindings()
        connection = cluster.connect(os.path.join(folder, "ceph.conf"),
                                     "admin")
        handle = connection.__enter__()._handle
        cls.addClassCleanup(connection.__exit__, None, None, None)

        def command(prefix, **arguments):
            code, out, text = handle.mon_command(json.dumps(
                {"prefix": prefix, "format": "json", **arguments}), b"")
            assert not code, text
            return out

        command("osd pool create", pool=cls.pool_name, pg_num=8)
        cls.addClassCleanup(command, "osd pool delete", pool=cls.pool_name,
                            pool2=cls.pool_name,
                            yes_i_really_really_mean_it=True)
        user = f"client.{cls.pool_name}"
        made, = json.loads(command("auth get-or-create", entity=user, caps=[
            "mon", "allow r", "osd", "allow *"]))
        cls.addClassCleanup(command, "auth del", entity=user)
        cls.weak = cls.pool_name, made["key"]
        with handle.open_ioctx(cls.pool_name) as ioctx:
            rbd.RBD().pool_init(ioctx, True)
            rbd.RBD().namespace_create(ioctx, SPACE)

    def open_stores(self):
        """The pool and the namespace, empty."""
        self.addCleanup(self._remove_all)
        return self.connected(), self.connected(namespace=SPACE)

    def connected(self, user="admin", namespace="", **options):
        """The pool, by a client of its own."""
        connection = cluster.connect(self.conf, user,
                                     options={**ORDER, **options})
        handle = connection.__enter__()
        self.addCleanup(connection.__exit__, None, None, None)
        opened = handle.pool(self.pool_name, namespace)
        pool = opened.__enter__()
        self.addCleanup(opened.__exit__, None, None, None)
        return pool

    def _remove_all(self):
        """Leave nothing for the next test; clones before their parents."""
        rbd = librbd.bindings()
        with cluster.connect(self.conf, "admin") as connection, \
                connection.pool(self.pool_name) as pool, \
                connection.pool(self.pool_name, SPACE) as space:
            left = [(store, name) for store in (pool, space)
                    for name in store.images()]
            while left:
                before = len(left)
                for store, name in [*left]:
                    with store.open(name) as image:
                        if any(image.children(snapshot)
                               for snapshot in image.snapshots()):
                            continue
                        for snapshot in image.snapshots():
                            image.remove_snapshot(snapshot)
                    rbd.RBD().remove(store._ioctx, name)
                    left.remove((store, name))
                self.assertLess(len(left), before, left)


class CloneTest(clones.CloneContract, PoolTestCase):

    def make_stores(self):
        return self.open_stores()


class BlockTest(blocks.BlockContract, PoolTestCase):

    def make_stores(self):
        return self.open_stores()

    def watch(self, name):
        other = self.connected()
        image = other.open(name)
        self.addCleanup(image._image.close)
        return f"client.{other._handle.get_instance_id()}"

    def watch_for_ever(self, name):
        user, key = self.weak
        self.store = self.connected(user, key=key)
        self.useFixture(fixtures.MonkeyPatch(f"{evict.__name__}.WAIT", 0.3))
        return self.watch(name)


class FaultsTest(base.FunctionalTestCase):
    """Faults by method, around a real pool and its images."""

    def test_error_after_the_effect_and_another_client(self):
        name, other = self.name(), self.open_pool()

        def change():
            with other.open(name) as image:
                image.write(1, b"o")

        planned = faulty.Faults(
            faulty.Fault("create", after=True, error=KeyboardInterrupt()),
            faulty.Fault("write", 2, meanwhile=change),
            faulty.Fault("write", 3, after=True,
                         error=exception.ImageFull(action="write")))
        pool = planned.around(self.pool)
        self.assertRaises(KeyboardInterrupt, pool.create, name, 1 << 20)
        with pool.open(name) as image:
            self.assertIsInstance(image, rbd_image.RBDImage)
            image.write(0, b"1")
            image.write(2, b"2")
            self.assertRaises(exception.ImageFull, image.write, 3, b"3")
        planned.assert_happened()
        with self.pool.open(name, read_only=True) as image:
            self.assertEqual(b"1o23", image.read(0, 4))
