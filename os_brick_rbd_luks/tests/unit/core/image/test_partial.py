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

"""A new image appears complete or not at all, whatever went wrong."""

from __future__ import annotations

import contextlib
import logging

import ddt
import fixtures
import testtools

from os_brick_rbd_luks import exception
from os_brick_rbd_luks.image import cluster
from os_brick_rbd_luks.image import partial
from os_brick_rbd_luks.tests.fakes import ceph
from os_brick_rbd_luks.tests.fakes import faults
from os_brick_rbd_luks.tests.fakes import store as stores
from os_brick_rbd_luks.tests import units

PARTIAL = "rbd-luks-partial.new"


@ddt.ddt
class PartialTest(testtools.TestCase):

    def setUp(self):
        super().setUp()
        self.log = self.useFixture(fixtures.FakeLogger(level=logging.DEBUG))
        self.store = stores.MemoryStore(name="volumes")

    def make(self, name):
        return self.store.create(name, units.MIB)

    def leave_complete(self, name):
        self.make(name).__exit__()

    def run_new(self, make=None, work=lambda image: None, **options):
        with partial.new(self.store, "new", make or self.make,
                         **options) as image:
            self.assertEqual("volumes/new", image.name)
            self.assertIs(self.store.contents[PARTIAL], image.content)
            work(image)

    def leave(self, *watchers):
        """What a killed run leaves."""
        with self.store.other_client().create(PARTIAL, units.MIB) as image:
            image.write(0, b"old")
        self.store.contents[PARTIAL].watchers[:] = watchers

    def test_new(self):
        def work(image):
            self.assertEqual([PARTIAL], self.store.images())
            image.write(0, b"data")

        self.run_new(work=work)
        self.assertEqual(["new"], self.store.images())
        with self.store.open("new") as image:
            self.assertEqual(b"data", image.read(0, 4))

    @ddt.data(False, True)
    def test_exists(self, restart):
        """Also what an interrupted run left stays then."""
        self.leave_complete("new")
        self.leave()
        error = self.assertRaises(exception.ImageExists, self.run_new,
                                  restart=restart)
        self.assertIn("volumes/new", str(error))
        self.assertEqual(["new", PARTIAL], self.store.images())

    def test_half_made(self):
        self.leave()
        error = self.assertRaises(exception.HalfMade, self.run_new)
        self.assertEqual(f"volumes/{PARTIAL}", error.partial)
        self.assertEqual([PARTIAL], self.store.images())

    def test_half_made_and_restart(self):
        self.leave()

        def work(image):
            self.assertFalse(image.has_data())

        self.run_new(work=work, restart=True)
        self.assertEqual(["new"], self.store.images())

    @ddt.data(False, True)
    def test_another_run_is_at_it(self, restart):
        """Its image stays, and that client may go on."""
        self.leave("client.9 at 10.0.0.7:0/9")
        error = self.assertRaises(exception.ImageLocked, self.run_new,
                                  restart=restart)
        self.assertIn("client.9 at 10.0.0.7:0/9", str(error))
        self.assertIn(PARTIAL, str(error))
        self.assertEqual([PARTIAL], self.store.images())
        self.assertNotIn("evict", self.store.steps.done)

    @ddt.data(ZeroDivisionError(), KeyboardInterrupt(), SystemExit(1),
              exception.CopyFailed(reason="x"))
    def test_failure_leaves_nothing(self, error):
        def work(image):
            # As a killed child's watch.
            image.content.watchers.append("client.9 at x")
            raise error

        self.assertIs(error, self.assertRaises(type(error), self.run_new,
                                               work=work))
        self.assertEqual([], self.store.images())

    def test_failure_at_every_step_leaves_nothing(self):
        """But for the last one: then it is complete."""
        self.run_new()
        *steps, last = self.store.steps.done
        self.assertEqual(("rename", "close"), (steps[-1], last))
        for number, name in enumerate(steps):
            self.store = stores.MemoryStore(name="volumes")
            error = exception.ImageIOError(action=name, reason="x")
            self.store.steps.faults[number] = error
            self.assertIs(error, self.assertRaises(
                exception.ImageIOError, self.run_new))
            self.assertEqual([], self.store.images(), (number, name))

    def test_closing_fails(self):
        """Nothing is lost: all was flushed, and it has its name."""
        def work(image):
            self.store.steps.faults["close"] = exception.ImageIOError(
                action="close", reason="no OSD")

        self.run_new(work=work)
        self.assertEqual(["new"], self.store.images())
        self.assertIn("cannot close: no OSD", self.log.output)

    @ddt.data("create", "claim", "rename", "__exit__")
    def test_signal_when_a_call_has_had_its_effect(self, method):
        """What was made goes, though nobody has got it yet."""
        memory = self.store
        planned = faults.Faults(faults.Fault(method, after=True,
                                             error=KeyboardInterrupt()))
        self.store = planned.around(memory)
        self.assertRaises(KeyboardInterrupt, self.run_unnamed)
        planned.assert_happened()
        self.assertEqual(["new"] if method in ("rename", "__exit__") else [],
                         memory.images())

    def run_unnamed(self):
        with partial.new(self.store, "new", self.make):
            pass

    def test_signal_meets_another_run(self):
        """What that has made is not removed, whatever the signal hides."""
        def make(name):
            with contextlib.suppress(exception.ImageExists):
                self.make(name)
            raise KeyboardInterrupt

        self.store.steps.before["create"] = self.leave
        self.assertRaises(KeyboardInterrupt, self.run_new, make)
        self.assertEqual([PARTIAL], self.store.images())
        self.assertNotIn("remove", self.store.steps.done)

    def test_began_anew_by_another_run(self):
        """Which removed this one's image and made its own; that stays."""
        other = self.store.other_client()

        def other_begins(image):
            del self.store.contents[PARTIAL]
            with other.create(PARTIAL, units.MIB) as made:
                made.write(0, b"theirs")
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.run_new, work=other_begins)
        with self.store.open(PARTIAL) as image:
            self.assertEqual(b"theirs", image.read(0, 6))

    def test_both_have_the_same_image_open(self):
        """The other one has removed it and made it anew, then both open it."""
        def make(name):
            image = self.make(name)
            self.addCleanup(self.store.open(name).__exit__)
            return image

        self.assertRaises(exception.ImageLocked, self.run_new, make)
        self.assertEqual([PARTIAL], self.store.images())
        self.assertNotIn("remove", self.store.steps.done)

    def test_make_fails(self):
        def make(name):
            raise exception.ImageFull(action="create")

        self.assertRaises(exception.ImageFull, self.run_new, make)
        self.assertNotIn("remove", self.store.steps.done)

    def test_made_by_another_run_in_between(self):
        """What make() did not make is not removed."""
        self.store.steps.before["create"] = self.leave
        self.assertRaises(exception.HalfMade, self.run_new)
        self.assertEqual([PARTIAL], self.store.images())

    def test_other_run_ends_in_between(self):
        def other():
            self.store.steps.before["open"] = (
                lambda: self.store.rename(PARTIAL, "new"))

        self.leave()
        self.store.steps.before["create"] = other
        self.assertRaises(exception.ImageExists, self.run_new)
        self.assertEqual(["new"], self.store.images())

    def test_name_is_taken_in_between(self):
        self.assertRaises(exception.ImageExists, self.run_new,
                          work=lambda image: self.leave_complete("new"))
        self.assertEqual(["new"], self.store.images())

    @ddt.data("evict", "remove")
    def test_first_error_is_told(self, step):
        def work(image):
            self.store.steps.faults[step] = exception.ImageIOError(
                action=step, reason="no OSD")
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.run_new, work=work)
        self.assertEqual([PARTIAL] if step == "remove" else [],
                         self.store.images())
        self.assertIn("no OSD", self.log.output)

    def test_discard_of_what_is_not_there(self):
        partial.discard(self.store, "nothing")
        self.assertEqual([], self.store.images())


class RunningTest(testtools.TestCase):
    """Two runs, as librbd shows them to each other."""

    def setUp(self):
        super().setUp()
        self.ceph = self.useFixture(ceph.Ceph())
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)

    def pool(self):
        connection = self.stack.enter_context(cluster.connect(user="cinder"))
        return self.stack.enter_context(connection.pool("volumes"))

    def fill(self, pool, work, **options):
        with partial.new(pool, "new", lambda name: pool.create(
                name, units.MIB), **options) as image:
            work(image)

    def test_open_image_is_a_watcher(self):
        first, second = self.pool(), self.pool()

        def work(image):
            error = self.assertRaises(
                exception.ImageLocked, self.fill, second,
                lambda image: self.fail("both"), restart=True)
            self.assertIn("another run", str(error))
            image.write(0, b"data")

        self.fill(first, work)
        self.assertEqual(["new"], first.images())
        with first.open("new") as image:
            self.assertEqual(b"data", image.read(0, 4))

    def test_killed_child_is_evicted(self):
        pool = self.pool()

        def work(image):
            self.ceph.watchers[f"volumes/{PARTIAL}"] = [
                ceph.Watcher(9, "10.0.0.7:0/9")]
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.fill, pool, work)
        self.assertEqual([], pool.images())
        self.assertEqual(["10.0.0.7:0/9"], [*self.ceph.blocklist])
