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

"""Re-keys killed at random moments: no volume is ever lost."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from unittest import mock

import ddt
import rados
import rbd

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import creating
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import header_lock
from os_brick_rbd_luks.tests.ceph.core import base
from os_brick_rbd_luks.tests import selection
from os_brick_rbd_luks.tests import units

#: Re-keys that are killed in one test. Chunks run in several workers.
KILLS = 10 if selection.QUICK else 30
LUKS2_KILLS = 8 if selection.QUICK else 20
IMAGES = 4

#: Seconds in which a write of a re-key has been done, or not.
MOMENT = 0.01
SIZE = 16 * units.MIB


def rekey(conf, name, old, new, mark):
    """Re-key in a process of its own, saying when it comes to each write.

    Not in a fork of the test: librados would give all children one address,
    and Ceph refuses that of a client it fenced.
    """
    with cluster.connect(conf, "cinder") as handle, handle.pool(
            "volumes") as pool, pool.open(name) as image:
        write = image.write

        def marked(offset, data):
            mark.send(True)
            write(offset, data)

        image.write = marked
        mark.send(True)
        keyslots.replace(image, old, new)


@ddt.ddt
class KilledRekeyTest(base.FunctionalTestCase):
    """Processes that die of SIGKILL, as of a power failure."""

    def setUp(self):
        super().setUp()
        # Breaking a dead client's locks is an administrator's right.
        self.admin = self.open_pool(user="admin")

    def rekey_and_kill(self, name, old, new, marks, delay):
        """Kill a re-key some time after so many marks.

        :returns: whether it was killed before it had ended
        """
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        ready, mark = context.Pipe(duplex=False)
        child = context.Process(target=rekey,
                                args=(self.conf, name, old, new, mark))
        child.start()
        mark.close()
        for _number in range(marks):
            ready.recv()
        # The moment of death within the step, nothing that is waited for.
        time.sleep(delay)
        child.kill()
        child.join()
        self.assertIn(child.exitcode, (0, -signal.SIGKILL))
        return child.exitcode != 0

    def fence(self, name):
        """What Ceph does by itself 30 s after a client died."""
        with self.admin.open(name) as image:
            for owner in image._image.lock_get_owners():
                image._image.lock_break(rbd.RBD_LOCK_MODE_EXCLUSIVE,
                                        owner["owner"])
            key = f"rbd_header.{image._image.id()}"
            self.admin._ioctx.rm_xattr(key, f"lock.{header_lock.LOCK_NAME}")

    def keys_that_open(self, name, *keys):
        found = []
        with self.pool.open(name, read_only=True) as image:
            for key in keys:
                try:
                    unlocking.unlock(image, key)
                except exception.WrongPassphrase:
                    continue
                found.append(key)
        return found

    @ddt.data(*selection.cases(0, full=range(1, 7)))
    def test_no_luks1_volume_is_lost(self, chunk):
        self.kill(chunk, KILLS, base.QUICK)

    @ddt.data(*selection.cases(0, full=range(1, 5)))
    def test_no_luks2_volume_is_lost(self, chunk):
        self.kill(chunk, LUKS2_KILLS, formatting.Options(type="luks2"))

    def marks_of_a_rekey(self, name):
        """How many marks a re-key gives: its begin, and every write."""
        with self.pool.open(name) as image, mock.patch.object(
                image, "write", autospec=True,
                side_effect=image.write) as write:
            keyslots.replace(image, base.KEY, base.NEW_KEY)
            keyslots.replace(image, base.NEW_KEY, base.KEY)
        self.assertEqual(0, write.call_count % 2)
        return 1 + write.call_count // 2

    def kill(self, chunk, kills, options):
        """Kill re-keys of volumes with those options.

        :param chunk: number of the chunk, whose moments are its own
        """
        chance = random.Random(16 + chunk)
        names = [self.name() for _ in range(IMAGES)]
        keys = {}
        for name in names:
            keys[name] = base.KEY
            creating.create(self.pool, name, SIZE, base.KEY, options)
        marks = self.marks_of_a_rekey(names[0])
        killed = changed = 0
        for number in range(kills):
            name = names[number % IMAGES]
            old, new = keys[name], f"{chunk:04d}{number:04d}".encode() * 8
            # Each step in turn.
            died = self.rekey_and_kill(name, old, new, 1 + number % marks,
                                       chance.uniform(0, MOMENT))
            found = self.keys_that_open(name, old, new)
            self.assertNotEqual([], found, f"re-key {number} lost {name}")
            killed += died
            changed += died and found[-1] == new
            keys[name] = found[-1]
            self.fence(name)
            if len(found) == 2:
                with self.pool.open(name) as image:
                    keyslots.remove(image, old)
            self.clear_stale_keyslots(name, keys[name])
        # The moments of death were spread over the whole re-key.
        self.assertGreater(killed, kills // 2)
        self.assertGreater(changed, kills // 20)
        self.assertGreater(killed - changed, kills // 20)

    def clear_stale_keyslots(self, name, key):
        """Remove keyslots whose area was overwritten but whose record a
        killed re-key left behind.
        """
        with self.pool.open(name) as image:
            opened = unlocking.unlock(image, key)
            for slot in opened.header.keyslots:
                if slot.number != opened.keyslot:
                    keyslots.remove_number(image, slot.number, key)

    def test_lock_of_a_dead_client_ends_by_itself(self):
        name = self.name()
        creating.create(self.pool, name, SIZE, base.KEY, base.QUICK)
        self.patch(header_lock, "LOCK_DURATION", 1)
        with self.pool.open(name) as image:
            dead = header_lock.ObjectLock(
                self.open_pool()._ioctx, f"rbd_header.{image._image.id()}")
            dead.acquire()
            other = header_lock.ObjectLock(self.pool._ioctx,
                                           f"rbd_header.{image._image.id()}")
            self.assertRaises(rados.ObjectBusy, other.acquire)
            keyslots.replace(image, base.KEY, base.NEW_KEY)
