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

"""Derivations that take memory wait for each other, and are bounded."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading

import ddt

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.headers import derivations
from os_brick_rbd_luks.headers import formatting
from os_brick_rbd_luks.headers import keyslots
from os_brick_rbd_luks.headers import unlocking
from os_brick_rbd_luks.luks import kdfs
from os_brick_rbd_luks.luks import limits
from os_brick_rbd_luks.luks.luks2 import header as luks2
from os_brick_rbd_luks.tests.unit.core.headers import base
from os_brick_rbd_luks.tests import units

KIB = 256
COST = kdfs.Argon2Cost(1, KIB, 1)
ARGON2 = kdfs.Argon2("argon2id", COST, bytes(16))
PBKDF2 = kdfs.Pbkdf2("sha256", 1000, bytes(32))


class DerivationsTestCase(base.OperationsTestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(derivations.bound, derivations.Bounds())

    def volume(self, *costs):
        """LUKS2 with a keyslot for each cost, PBKDF2 if it is None."""
        passphrases = (base.OLD, base.NEW, base.OTHER)
        image = self.make_image(20 * units.MIB)
        formatting.format_new(image, base.OLD, formatting.Options(
            type="luks2", argon2=costs[0]))
        for passphrase, cost in zip(passphrases[1:], costs[1:]):
            keyslots.add(image, base.OLD, passphrase, argon2=cost)
        return image


@ddt.ddt
class AtATimeTest(DerivationsTestCase):

    @ddt.data(1, 2, 3)
    def test_no_more_than_that(self, count):
        """Each waits until all others have come, and they cannot."""
        derivations.bound(derivations.Bounds(at_a_time=count))
        running, most, changed = [], [], threading.Condition()
        image, original = self.volume(COST), luks2.Luks2Header.open_keyslot

        def open_keyslot(header, *args):
            with changed:
                running.append(None)
                most.append(len(running))
                changed.notify_all()
                # All that may run are here, or nobody else comes.
                changed.wait_for(lambda: max(most) >= count, 60)
            key = original(header, *args)
            with changed:
                running.pop()
            return key

        self.patch_open(open_keyslot)
        threads = [threading.Thread(target=unlocking.unlock,
                                    args=(image, base.OLD))
                   for _number in range(3 * count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual((3 * count, count), (len(most), max(most)))

    def patch_open(self, function):
        original = luks2.Luks2Header.open_keyslot
        luks2.Luks2Header.open_keyslot = function
        self.addCleanup(setattr, luks2.Luks2Header, "open_keyslot", original)

    def test_place_is_given_back_by_one_that_fails(self):
        derivations.bound(derivations.Bounds(at_a_time=1))
        image = self.volume(COST)
        for _number in range(3):
            self.assertRaises(exception.WrongPassphrase, unlocking.unlock,
                              image, b"wrong")
        self.assertEqual(0, unlocking.unlock(image, base.OLD).keyslot)

    @ddt.data(("unlock", unlocking.unlock),
              ("others", lambda image, passphrase: unlocking.also_opened(
                  image, unlocking.unlock(image, base.OLD, 0), passphrase)))
    @ddt.unpack
    def test_each_try_has_a_place(self, _name, attempt):
        image, original = self.volume(COST, COST), (
            luks2.Luks2Header.open_keyslot)
        tried = []

        def open_keyslot(header, number, *args):
            tried.append((number, derivations._places._free.qsize()))
            return original(header, number, *args)

        derivations.bound(derivations.Bounds(at_a_time=1))
        self.patch_open(open_keyslot)
        attempt(image, base.NEW)
        self.assertIn((1, 0), tried)
        self.assertEqual({0}, {free for _number, free in tried})

    def test_without_memory_none_waits(self):
        derivations.bound(derivations.Bounds(at_a_time=1))
        with derivations.place(ARGON2), derivations.place(PBKDF2), \
                derivations.place(None):
            self.assertEqual(0, unlocking.unlock(self.make_volume(),
                                                 base.OLD).keyslot)

    def test_the_same_bounds_again(self):
        """They do not let more derive than they say."""
        derivations.bound(derivations.Bounds(at_a_time=1))
        places = derivations._places
        derivations.bound(derivations.Bounds(at_a_time=1))
        self.assertIs(places, derivations._places)

    @ddt.data("before", "behind")
    def test_green_threads(self, when):
        """Native threads wait, whenever eventlet has made others green."""
        try:
            import eventlet  # noqa: F401
        except ImportError:
            self.skipTest("eventlet is not installed")
        patch = "eventlet.monkey_patch()"
        code = f"""
import eventlet
{patch if when == "before" else ""}
from os_brick_rbd_luks.headers import derivations
from os_brick_rbd_luks.luks import kdfs
{patch if when == "behind" else ""}
from eventlet import tpool
derivations.bound(derivations.Bounds(at_a_time=1))
argon2 = kdfs.Argon2("argon2id", kdfs.Argon2Cost(1, 256, 1), bytes(16))
running, most = [], []
def derive():
    with derivations.place(argon2):
        running.append(None)
        most.append(len(running))
        argon2.derive(b"p", 32)
        running.pop()
pool = eventlet.GreenPool()
for _number in range(20):
    pool.spawn(tpool.execute, derive)
with eventlet.Timeout(60):
    pool.waitall()
print(len(most), max(most))
"""
        done = subprocess.run([sys.executable, "-W", "ignore", "-c", code],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(("20 1", 0), (done.stdout.strip(), done.returncode),
                         done.stderr)


@ddt.ddt
class MemoryTest(DerivationsTestCase):

    def bound(self, memory_kib=KIB):
        derivations.bound(derivations.Bounds(memory_kib=memory_kib))

    def test_as_much_as_is_allowed(self):
        self.bound()
        self.assertEqual(0, unlocking.unlock(self.volume(COST),
                                             base.OLD).keyslot)

    @ddt.data(None, 0)
    def test_more(self, keyslot):
        """It is not tried, not even if it is asked for."""
        image = self.volume(dataclasses.replace(COST, memory_kib=KIB + 8))
        self.bound()
        error = self.assert_untouched(
            image, lambda: unlocking.unlock(image, base.OLD, keyslot),
            exception.HeaderLimitExceeded)
        self.assertEqual(("Argon2 memory in KiB", KIB + 8, KIB),
                         (error.field, error.value, error.limit))

    def test_others_are_tried(self):
        image = self.volume(dataclasses.replace(COST, memory_kib=KIB + 8),
                            None, COST)
        self.bound()
        for number, passphrase in ((1, base.NEW), (2, base.OTHER)):
            self.assertEqual(number,
                             unlocking.unlock(image, passphrase).keyslot)
        # It may be that one's.
        self.assertRaises(exception.HeaderLimitExceeded, unlocking.unlock,
                          image, base.OLD)

    def test_not_where_else_it_opens_either(self):
        """It is said that it was not tried."""
        image = self.volume(None, dataclasses.replace(
            COST, memory_kib=KIB + 8), COST)
        self.bound()
        self.assertEqual(((), (1,)), unlocking.also_opened(
            image, unlocking.unlock(image, base.OLD), base.OLD))

    def test_all_of_the_others_are_wrong(self):
        image = self.volume(COST, None)
        self.bound()
        self.assertRaises(exception.WrongPassphrase, unlocking.unlock, image,
                          b"wrong")

    @ddt.data({"memory_kib": 127}, {"at_a_time": 0}, {"at_a_time": 1025},
              {"memory_kib": limits.MAX_ARGON2_MEMORY_KIB + 1})
    def test_bounds_that_are_none(self, values):
        before = derivations._places
        self.assertRaises(exception.InvalidParameter, derivations.bound,
                          derivations.Bounds(**values))
        self.assertIs(before, derivations._places)
