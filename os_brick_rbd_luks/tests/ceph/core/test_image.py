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

"""Images in a real pool: what only they have."""

from __future__ import annotations

import threading

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import units

SIZE = 64 * units.MIB


class RBDImageTest(base.FunctionalTestCase):
    """Snapshots, parents, watchers, namespaces, features."""

    def test_clone_has_its_parents_data(self):
        parent, child = self.name(), self.name()
        with self.pool.create(parent, SIZE) as image:
            image.write(0, b"x")
            image._image.create_snap("s")
        self.clone(parent, "s", child)
        with self.pool.open(child) as image:
            self.assertTrue(image.has_data())

    def test_snapshots_are_named(self):
        name = self.name()
        with self.pool.create(name, SIZE) as image:
            image._image.create_snap("first")
            image._image.create_snap("second")
            self.assertEqual(["first", "second"], image.snapshots())

    def test_the_same_client_may_be_a_watcher_too(self):
        name = self.name()
        with self.pool.create(name, 1 << 20) as image:
            self.assertEqual([], image.watchers())
            with self.pool.open(name, read_only=True):
                self.assertEqual([], image.watchers())
            with self.pool.open(name):
                self.assertEqual(1, len(image.watchers()))

    def test_another_client_is_a_watcher(self):
        name = self.name()
        with self.pool.create(name, SIZE) as image:
            self.assertEqual([], image.watchers())
            with self.open_pool().open(name):
                self.assertEqual(1, len(image.watchers()))
            self.assertEqual([], image.watchers())

    def test_features_have_ceph_s_names(self):
        import rbd
        name = self.name()
        features = (rbd.RBD_FEATURE_LAYERING | rbd.RBD_FEATURE_EXCLUSIVE_LOCK
                    | rbd.RBD_FEATURE_JOURNALING)
        with self.pool.create(name, SIZE, features=features) as image:
            self.assertEqual({"layering", "exclusive-lock", "journaling"},
                             image.features())

    def test_image_without_exclusive_lock(self):
        import rbd
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK,
                        features=rbd.RBD_FEATURE_LAYERING)
        with self.pool.open(name) as image:
            self.assertNotIn("exclusive-lock", image.features())
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            self.assertEqual(base.QUICK.type, unlocking.unlock(
                image, base.NEW_KEY).header.type)
            self.assertRaises(exception.WrongPassphrase, unlocking.unlock,
                              image, base.KEY)

    def test_namespace(self):
        admin = self.open_pool(user="admin")
        import rbd
        space = self.name()
        rbd.RBD().namespace_create(admin._ioctx, space)
        self.addCleanup(rbd.RBD().namespace_remove, admin._ioctx, space)
        target = f"volumes/{space}/inner"
        key = self.file(base.KEY)
        self.addCleanup(self.rbd, "rm", target)
        self.rbd_luks("create", target, "--size", "16M", "--passphrase-file",
                      key, "--iterations", "1000")
        shown = self.rbd_luks("info", target)
        self.assertEqual((target, 16 << 20),
                         (shown["image"], shown["decrypted_size"]))
        rows = self.rbd_luks("audit", f"volumes/{space}")
        self.assertEqual([target], [row["image"] for row in rows])


class LiveVolumeTest(base.FunctionalTestCase):
    """A volume whose guest is running, here another client that writes."""

    def test_rekey_disturbs_no_writer(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        stop, errors, writes = threading.Event(), [], [0]
        guest = self.open_pool()

        def write():
            with guest.open(name) as image:
                while not stop.is_set():
                    try:
                        image.write(8 << 20, bytes(4096))
                        writes[0] += 1
                    except Exception as error:
                        errors.append(error)
                        return

        thread = threading.Thread(target=write)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)
        key = base.KEY
        with self.pool.open(name) as image:
            for number in range(20):
                new = str(number).encode() * 32
                keyslots.replace(image, key, new)
                key = new
        stop.set()
        thread.join()
        self.assertEqual([], errors)
        self.assertGreater(writes[0], 20)
        with self.pool.open(name) as image:
            unlocking.unlock(image, key)

    def test_clients_that_add_keys_at_once_lose_none(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        from os_brick_rbd_luks import exception
        keys = [str(number).encode() * 32 for number in range(1, 7)]
        failures = []

        def add(key):
            try:
                with self.open_pool().open(name) as image:
                    while True:
                        try:
                            keyslots.add(image, base.KEY, key)
                            return
                        except exception.HeaderChanged:
                            continue
            except Exception as error:
                failures.append(error)

        threads = [threading.Thread(target=add, args=(key,)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], failures)
        with self.pool.open(name) as image:
            opened = {unlocking.unlock(image, key).keyslot for key in keys}
        self.assertEqual(set(range(1, 7)), opened)
